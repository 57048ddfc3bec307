"""Accuracy items say what the commands say that judge one configuration."""

import numpy as np
import pytest

from golden.catalog import find
from sim.calibrate import shared_setting
from sim.evaluate import digits_task, evaluate, packed
from sim.sweep import accuracy

NARROW = find("float8")


@pytest.fixture(scope="module")
def task():
    return digits_task(seed=0)


@pytest.fixture(autouse=True)
def one_task(monkeypatch, task):
    """Digits are trained once for all tests here."""
    monkeypatch.setattr(accuracy, "digits_task", lambda *, seed: task)
    accuracy._judge.cache_clear()
    yield
    accuracy._judge.cache_clear()


def measured(setting, images=None) -> dict:
    return accuracy.measure(config=NARROW.name, network="digits", images=images, seed=0, setting=setting)


def test_all_images_are_judged_as_the_report_judges_them(task):
    result, wanted = measured("layer"), evaluate(task, NARROW, shared=None)
    assert result["n"] == 1797
    assert result["correct"] == packed(wanted.correct)
    assert result["layers"] == [layer.config.name for plan in wanted.layers for layer in plan]
    float32 = accuracy.float32(network="digits", images=None, seed=0)
    assert float32["correct"] == packed(wanted.float32_correct)
    assert result["correct"] != float32["correct"]


def test_a_setting_for_the_whole_network_is_the_same_in_all_layers(task):
    samples = [sample for network in task.networks for sample in network.samples]
    shared = shared_setting(samples, NARROW)
    assert measured("network")["setting"] == shared
    assert measured("network")["correct"] == measured(shared)["correct"]
    assert measured(shared - 3)["correct"] != measured(shared)["correct"]
    assert accuracy.shared_offset(config=NARROW.name, networks=["digits"], seed=0) == {"offset": shared}


def test_the_first_images_are_a_part_of_all():
    whole, part = measured("layer"), measured("layer", images=100)
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(whole["correct"]), np.uint8))
    assert part["n"] == 100
    assert part["correct"] == packed(bits[:100].astype(bool))
