"""Denoising as a workload: what is judged is the mean squared error, by the arithmetic that was asked for."""

import numpy as np
import pytest
import torch

from golden.catalog import find
from sim.denoising import (
    REPORT_SIGMA,
    DenoisingTask,
    decibels,
    denoising_network,
    evaluate_denoising,
    plan_of,
    squared_errors,
)


@pytest.fixture(scope="module")
def task():
    """Images of two random stripes, 4 x 4: learnt in a second."""
    generator = torch.Generator().manual_seed(0)
    stripes = (torch.rand(512, 4, 1, generator=generator) > 0.5).float() * torch.ones(4)
    images = stripes.flatten(1)
    network = denoising_network(images[:384], images[384:], sigma=REPORT_SIGMA, seed=0)
    return DenoisingTask(name="stripes", description="", sigma=REPORT_SIGMA, networks=[network])


def test_decibels_of_known_errors():
    assert decibels(np.array([0.01, 0.01])) == pytest.approx(20)
    assert decibels(np.array([0.0, 0.2])) == pytest.approx(10)


def test_the_network_takes_noise_off(task):
    facts = task.to_json()
    assert facts["n"] == 128
    assert facts["noisy_psnr"] == pytest.approx(-20 * np.log10(REPORT_SIGMA), abs=0.3)
    assert facts["float32_psnr"] > facts["noisy_psnr"] + 6


def test_a_wide_accumulator_is_float32_but_for_the_operands(task):
    result = evaluate_denoising(task, find("float32"), shared=None)
    assert result["float32_psnr"] == task.to_json()["float32_psnr"]
    assert abs(result["difference"]) < 0.5
    narrow = evaluate_denoising(task, find("float7"), shared=None)
    assert narrow["interval"][0] <= narrow["difference"] <= narrow["interval"][1] < result["interval"][0]


def test_errors_are_those_of_the_contract(task):
    (network,) = task.networks
    plan = plan_of(network, find("float10"), shared=None)
    fast = squared_errors(network, plan)
    assert (fast == squared_errors(network, plan, backend="golden")).all()
    assert len(plan) == 2
    assert decibels(fast) == evaluate_denoising(task, find("float10"), shared=None)["psnr"]


def test_a_wired_offset_is_that_of_all_layers(task):
    (network,) = task.networks
    plan = plan_of(network, find("float10"), shared=4)
    assert [layer.config.offsets.product for layer in plan] == [4, 4]


def test_the_same_seed_gives_the_same_network():
    images = torch.rand(128, 9, generator=torch.Generator().manual_seed(1))
    once, again = (denoising_network(images, images, sigma=0.1, seed=3).errors for _ in range(2))
    assert (once == again).all()
