"""The store of sweeps, what items are known by, and how the time left is estimated."""

import json
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from golden.catalog import find
from golden.config import ConfigError
from sim.sweep.code import Fingerprints, import_closure, source_text
from sim.sweep.items import Item, Needs, canonical
from sim.sweep.progress import Estimate, duration
from sim.sweep.space import read_space
from sim.sweep.store import Store, group_of

ROOT = Path(__file__).parent.parent


def item(n: int, code: str = "code") -> Item:
    return Item("accuracy", canonical({"network": "digits", "n": n}), code)


@pytest.fixture
def store(tmp_path):
    with Store(tmp_path / "folder" / "store.sqlite") as made:
        yield made


def test_a_result_is_kept_once(store):
    store.add(item(1), {"b": 1, "a": 2.5}, 3.0)
    store.add(item(1), {"b": 9}, 5.0)
    assert store.results() == {item(1).key: {"a": 2.5, "b": 1}}
    assert item(1) in store and item(2) not in store
    (row,) = store.rows()
    assert row[2:] == (item(1).text, '{"a":2.5,"b":1}')
    assert store.seconds() == {"accuracy digits": 3.0}


def test_keys_depend_on_arguments_and_code_and_not_on_order():
    same = Item("accuracy", canonical(dict(reversed(json.loads(item(1).arguments).items()))), "code")
    assert same.key == item(1).key
    assert len({item(1).key, item(2).key, item(1, "newer").key}) == 3


def test_a_result_that_is_no_number_is_not_kept(store):
    with pytest.raises(ValueError):
        store.add(item(1), {"a": float("nan")}, 0.0)
    assert store.rows() == []
    store.add(item(1), {"a": 1.0}, 0.0)  # and the store goes on


def test_failures_end_with_success(store):
    store.fail(item(1), "no")
    store.fail(item(1), "still no")
    assert store.failures() == {item(1).key: "still no"}
    store.add(item(1), {}, 0.0)
    assert store.failures() == {}


def test_one_writer_a_half(store):
    code = (
        "import sys; from pathlib import Path; from sim.sweep.store import Store\n"
        "from golden.config import ConfigError\n"
        "store = Store(Path(sys.argv[1]))\n"
        "try:\n  with store.writing(sys.argv[2:]): print('mine')\n"
        "except ConfigError as error: print(error)\n"
    )

    def other(*halves: str) -> str:
        command = [sys.executable, "-c", code, str(store.path), *halves]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout

    with store.writing(["accuracy"]):
        assert "another sweep is computing accuracy" in other("cost", "accuracy")
        assert other("cost") == "mine\n"
    assert other("accuracy") == "mine\n"


def test_what_is_no_store_is_one_sentence(tmp_path):
    path = tmp_path / "text"
    path.write_text("This is a text, and no store of anything at all." * 100)
    with pytest.raises(ConfigError, match="no store of sweeps"):
        Store(path)
    with pytest.raises(ConfigError, match="no store of sweeps"):
        Store(path / "below")


def test_readers_see_what_a_writer_has_finished(store):
    store.add(item(1), {"a": 1}, 0.0)
    with sqlite3.connect(store.path) as reader:
        assert reader.execute("SELECT count(*) FROM items").fetchone() == (1,)


class FixedCode:
    """Fingerprints of a code that never changes."""

    @staticmethod
    def accuracy(_config) -> str:
        return "accuracy"

    @staticmethod
    def cost() -> str:
        return "cost"


@pytest.fixture
def needs(tmp_path):
    def make(text: str, **halves) -> Needs:
        path = tmp_path / "space.toml"
        path.write_text('[[network]]\nname = "digits"\n' + text)
        return Needs(read_space(path), FixedCode, **{"cost": True, "accuracy": True} | halves)

    return make


def wanted(needs: Needs, known: dict) -> list[str]:
    """Group and setting or stages of each item of the first point."""
    found = []
    for each in needs.of(needs.space.points[0], known):
        arguments = json.loads(each.arguments)
        found.append((group_of(each), arguments.get("setting", arguments.get("stages"))))
    return found


def test_points_that_differ_in_cost_share_their_accuracy(needs):
    made = needs('[[space]]\nconfigs = "float12"\nstages = [0, 1]\nclock_ns = ["relaxed", 5]\n')
    first, second = (list(made.of(point, {})) for point in made.space.points[:2])
    assert [each.kind for each in first] == ["float32", "accuracy", "accuracy", "cost"]
    assert first[:3] == second[:3] and first[3] != second[3]


@pytest.mark.parametrize(
    "clock, measured, chosen",
    [
        # (stages, met, um2) in the order in which they are asked for, after the relaxed one: 100 um2, 12 ns.
        (20, [(0, True, 101)], 0),  # met at once, in the least area
        (7, [(0, False, 190), (1, True, 140), (2, True, 150)], 1),
        (7, [(0, True, 180), (1, True, 140), (2, True, 135)], 2),  # the smallest, not the first
        (7, [(0, True, 180), (1, True, 125)], 1),  # two stages take more
        (4, [(1, False, 180), (2, True, 160)], 2),  # without any it has no chance
        (0.5, [(2, False, 190)], 2),
    ],
)
def test_stages_are_searched_for_the_smallest_that_meets_the_clock(needs, clock, measured, chosen):
    made = needs(f'[[space]]\nconfigs = "float12"\nstages = "search"\nclock_ns = {clock}\n', accuracy=False)
    (point,) = made.space.points
    known = {made.cost(point, None, 0, None).key: {"met": None, "um2": 100, "delay_ps": 12_000}}
    for stages, met, um2 in measured:
        assert made.record(point, known) is None
        asked = [item for item in made.of(point, known) if item.key not in known]
        assert asked == [made.cost(point, None, stages, point.clock_ps)]
        known[asked[0].key] = {"met": met, "um2": um2, "stages": stages, "delay_ps": 9000 - stages}
    assert all(item.key in known for item in made.of(point, known))
    assert made.record(point, known)["stages"] == chosen


def test_a_clock_is_searched_after_what_least_area_takes(needs):
    made = needs('[[space]]\nconfigs = "float12"\nstages = "search"\nclock_ns = 5\n', accuracy=False)
    assert list(made.of(made.space.points[0], {})) == [made.cost(made.space.points[0], None, 0, None)]


def test_a_wired_offset_is_found_first_and_then_built_and_judged(needs):
    made = needs('[[space]]\nconfigs = "float12"\noffsets = "wired"\n')
    (point,) = made.space.points
    assert wanted(made, {}) == [("offset", None)]
    known = {made.offset(point).key: {"offset": 5}}
    names = [
        ("float32 digits", None),
        ("accuracy digits", 5),
        ("accuracy digits", "layer"),
        ("cost sky130hd", 0),
    ]
    assert wanted(made, known) == names
    silicon = made.silicon(point, 5)
    assert silicon.hardwired and silicon.config.offsets.product == 5


def test_fingerprints_follow_what_code_does(tmp_path):
    path = tmp_path / "module.py"
    path.write_text('"""Words."""\n\n# more\ndef f(a):\n    """Says."""\n    return a  # it\n')
    first = source_text(path)
    path.write_text('"""Other words."""\ndef f(a):\n    """Says more."""\n\n    return (a)\n')
    assert source_text(path) == first
    path.write_text('"""Words."""\ndef f(a):\n    """Says."""\n    return a + 1\n')
    assert source_text(path) != first


def test_fingerprints_tell_arithmetic_apart():
    names = ("float12", "float12-rne", "float12-g0", "float11", "fixed12", "int12", "int12-wrap")
    prints = [Fingerprints.accuracy(find(name)) for name in names]
    assert len({*prints, Fingerprints.accuracy(None)}) == len(names) + 1
    assert prints[0] == Fingerprints.accuracy.__wrapped__(find("float12"))


def test_the_cost_of_a_mac_follows_from_its_generator():
    sources = import_closure("sim.sweep.cost", ("hw", "golden"), ("hw.cost.synth",))
    assert {"hw.mac", "hw.adder", "golden.arith", "hw.cost.flow", "hw.cost.record"} <= set(sources)
    assert not {"hw.array", "hw.tile", "hw.cost.synth"} & set(sources)


def test_time_left_is_by_group():
    estimate = Estimate({"cost": 10.0})
    assert estimate.left(Counter(cost=4), 2) == (20.0, True)
    assert estimate.words(Counter(cost=4, accuracy=1), 1) == "more than 40 s"
    estimate.took("cost", 4.0)
    estimate.took("accuracy", 100.0)
    assert estimate.left(Counter(cost=4, accuracy=1), 2) == (58.0, True)
    assert [duration(seconds) for seconds in (3.2, 700, 7300)] == ["3 s", "12 min", "2 h 2 min"]
