"""Sweeps as they run: nothing lost or doubled by kill -9, failures kept, workers here and on Ray."""

import importlib.util
import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
import sweep_work

from golden.config import ConfigError
from sim.sweep.executors import LocalProcesses, RayCluster
from sim.sweep.store import Store

ROOT = Path(__file__).parent.parent
COUNT = 60


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "store.sqlite") as made:
        yield made


@pytest.fixture(scope="module")
def processes():
    executor = LocalProcesses(2)
    yield executor
    executor.close()


def uninterrupted(folder: Path, items) -> list[tuple]:
    """Rows of a store into which the items went one by one, by no worker."""
    with Store(folder / "uninterrupted.sqlite") as store:
        for item in items:
            name = item.function.partition(":")[2]
            store.add(item, getattr(sweep_work, name)(**json.loads(item.arguments)), 0.0)
        return store.rows()


def children(pid: int) -> list[int]:
    with suppress(OSError):
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    return []


def started(path: Path) -> subprocess.Popen:
    command = [sys.executable, str(ROOT / "tests" / "sweep_work.py"), str(path), str(COUNT), "2"]
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"}
    process = subprocess.Popen(
        command, env=environment, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "begun\n", process.stderr.read()
    return process


def rows_in(path: Path) -> int:
    with Store(path) as store:
        return len(store.rows())


def wait_for_rows(path: Path, more_than: int, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 30
    while rows_in(path) <= more_than and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)


def gone(pid: int) -> bool:
    """Ended, or ended and not yet waited for by whoever adopted it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_kill_9_loses_nothing_and_doubles_nothing(tmp_path):
    path, rng = tmp_path / "store.sqlite", random.Random(5)
    had = 0
    for _ in range(4):  # the sweep itself, at any moment
        process = started(path)
        wait_for_rows(path, had, process)
        time.sleep(rng.uniform(0, 0.15))
        workers = children(process.pid)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close(), process.stderr.close()
        now = rows_in(path)
        assert now > had
        had = now
        deadline = time.monotonic() + 10
        while not all(map(gone, workers)) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert all(map(gone, workers)), "workers outlive the sweep that started them"
    assert had < COUNT, "killed too late to show anything"
    process = started(path)
    wait_for_rows(path, had, process)
    for victim in children(process.pid)[-1:]:  # and one worker of the last
        os.kill(victim, signal.SIGKILL)
    assert process.wait(60) == 0, process.stderr.read()
    process.stdout.close(), process.stderr.close()
    with Store(path) as store:
        assert store.rows() == uninterrupted(tmp_path, sweep_work.squares(COUNT, 0.02))
        assert store.failures() == {}


def test_what_fails_is_kept_with_its_sentence_and_the_others_go_on(store, processes):
    items = sweep_work.items_of("odd_fails", [{"n": n} for n in range(6)])
    failed = sweep_work.sweep(items, store, processes)
    sentences = {json.loads(item.arguments)["n"]: sentence for item, sentence in failed.items()}
    assert sentences == {n: f"ValueError: {n} is odd" for n in (1, 3, 5)}
    assert store.failures() == {item.key: sentence for item, sentence in failed.items()}
    assert len(store.rows()) == 3


def test_a_failure_is_tried_again_and_forgotten(store, processes, tmp_path):
    items = sweep_work.items_of("recovers", [{"flag": str(tmp_path / "flag")}])
    assert sweep_work.sweep(items, store, processes) == {items[0]: "RuntimeError: not yet"}
    assert sweep_work.sweep(items, store, processes) == {}
    assert store.failures() == {}
    assert store.results()[items[0].key] == {"fine": True}


def test_a_worker_that_dies_once_costs_nothing(store, processes, tmp_path):
    items = sweep_work.items_of("dies", [{"flag": str(tmp_path / "flag"), "always": False}])
    items += sweep_work.squares(6, 0.0)
    assert sweep_work.sweep(items, store, processes) == {}
    assert len(store.rows()) == 7


def test_an_item_that_kills_its_worker_fails_and_the_others_do_not(store, processes, tmp_path):
    items = sweep_work.items_of("dies", [{"flag": str(tmp_path / "flag"), "always": True}])
    items += sweep_work.squares(6, 0.0)
    failed = sweep_work.sweep(items, store, processes)
    assert list(failed) == items[:1]
    assert "died" in failed[items[0]]
    assert len(store.rows()) == 6


@pytest.fixture
def ray_address(monkeypatch):
    """The address of a cluster of two nodes, with three workers between them."""
    if importlib.util.find_spec("ray") is None:
        pytest.skip("no program: Ray is not installed")
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{ROOT / 'tests'}")  # its workers import what an item names
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "include_dashboard": False})
    try:
        cluster.add_node(num_cpus=1)
        yield cluster.address
    finally:
        cluster.shutdown()


def test_ray_workers_fill_the_same_store(store, tmp_path, ray_address):
    executor = RayCluster(ray_address, None)
    assert executor.slots == 3
    try:
        items = sweep_work.squares(12, 0.0)
        spread = sweep_work.items_of("of_process", [{"n": n} for n in range(6)])
        mortal = sweep_work.items_of("dies", [{"flag": str(tmp_path / "flag"), "always": False}])
        wrong = sweep_work.items_of("odd_fails", [{"n": 1}])
        failed = sweep_work.sweep([*items, *spread, *mortal, *wrong], store, executor)
    finally:
        executor.close()
    assert failed == {wrong[0]: "ValueError: 1 is odd"}
    rows = [row for row in store.rows() if row[1] == items[0].kind]
    assert rows == uninterrupted(tmp_path, items)
    pids = {store.results()[item.key]["pid"] for item in spread}
    assert len(pids) > 1
    assert os.getpid() not in pids


@pytest.mark.parametrize("address", ["127.0.0.1:9", "nowhere:port", "127.0.0.1:99999"])
def test_a_cluster_that_is_not_there_is_one_sentence(address):
    if importlib.util.find_spec("ray") is None:
        pytest.skip("no program: Ray is not installed")
    with pytest.raises(ConfigError, match="no Ray cluster"):
        RayCluster(address, None)
