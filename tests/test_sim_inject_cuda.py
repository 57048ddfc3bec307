"""Models on a graphics card under accumulate: the bits of the processor, and gradients by the same rule."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from golden.config import ConfigError
from sim.backends import find_backend
from sim.inject import accumulate
from sim.operands import LayerConfig

try:
    BACKEND = find_backend("cuda")
except ConfigError as error:
    pytest.skip(f"no GPU: {error}", allow_module_level=True)


def networks():
    """The same on both devices."""
    torch.manual_seed(0)
    here = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, groups=2),
        nn.Flatten(),
        nn.Linear(288, 5),
    )
    there = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, groups=2),
        nn.Flatten(),
        nn.Linear(288, 5),
    )
    there.load_state_dict(here.state_dict())
    images = torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    return here, there.cuda(), images


@pytest.mark.parametrize("name", ["e4m7", "e4m3", "int12", "fixed16"])
def test_the_same_bits_as_on_the_processor(name):
    here, there, images = networks()
    with torch.no_grad():
        with accumulate(name):
            wanted = here(images)
        with accumulate(name, backend=BACKEND):
            got = there(images.cuda())
    assert got.is_cuda and torch.equal(got.cpu(), wanted)


@pytest.mark.parametrize("inside", [True, False], ids=["backward inside", "backward outside"])
@pytest.mark.parametrize("rule", ["identity", "recursive/of", "immediate/diff"])
def test_training(rule, inside):
    here, there, images = networks()
    with accumulate("e4m3", gradient=rule):
        wanted = here(images)
        wanted.square().sum().backward()
    with accumulate("e4m3", gradient=rule, backend=BACKEND) as mode:
        got = there(images.cuda())
        if inside:
            got.square().sum().backward()
    if not inside:
        got.square().sum().backward()
    assert mode.seen == ["0", "2", "4"]
    assert torch.equal(got.cpu(), wanted)
    for a, b in zip(here.parameters(), there.parameters(), strict=True):
        torch.testing.assert_close(b.grad.cpu(), a.grad, rtol=1e-4, atol=1e-4 * float(a.grad.abs().max()))


def test_a_checkpoint_is_repeated_in_autograds_own_thread():
    _, there, images = networks()
    found = []
    for run in (there, lambda x: checkpoint(there, x, use_reentrant=False)):
        there.zero_grad()
        with accumulate("e4m3", gradient="recursive/of", backend=BACKEND):
            run(images.cuda()).square().sum().backward()
        found.append([each.grad.clone() for each in there.parameters()])
    for a, b in zip(*found, strict=True):
        torch.testing.assert_close(a, b)


def test_scales_by_channel():
    here, there, images = networks()
    scale = torch.tensor([0.5, 1, 2, 1, 4, 0.25, 1, 1], dtype=torch.float64)
    from sim.layers import named_config

    plan = [LayerConfig(config=named_config("e4m7"), x_scale=1.0, w_scale=scale, length=27)]
    outputs = []
    for model, data, backend in ((here, images, "cpu"), (there, images.cuda(), BACKEND)):
        model.zero_grad()
        with accumulate(plan, gradient="recursive/of", backend=backend):
            result = model[0](data)
            result.sum().backward()
        outputs.append((result.detach().cpu(), model[0].weight.grad.cpu()))
    assert torch.equal(outputs[0][0], outputs[1][0])
    torch.testing.assert_close(outputs[0][1], outputs[1][1], rtol=1e-4, atol=1e-3)
