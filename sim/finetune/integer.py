"""ResNet-20 with integer operands whose scales are learned, and its sums as exactly as asked.

Operands are as in brevitas' published networks: weights of the hidden layers int4 without -8, one scale
for each output channel; activations uint4, one scale for each tensor; the first layer takes the 8-bit pixels
and int8 weights, the last one uint8 means and int8 weights. Batch norm stays apart and is trained.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from sim.backends import Conv2dGeometry
from sim.finetune.integer_sums import ExactSums, Sums
from sim.networks.resnet import ResNet

__all__ = [
    "HIDDEN_BITS",
    "OUTER_BITS",
    "ActivationQuantizer",
    "IntegerConv2d",
    "IntegerResNet",
    "Quantized",
    "WeightQuantizer",
]

#: Of weights and activations in hidden layers, and in the first and the last one.
HIDDEN_BITS, OUTER_BITS = 4, 8

#: Candidates for a scale: these shares of the one that clips nothing.
_SHARES = torch.linspace(0.05, 1.0, 39)

#: The share of a channel's sums that may be out of range, on calibration images and where they are watched;
#: and what the scale of its weights grows by in a step where it is more.
_OUT_OF_RANGE, _COARSER = 1e-3, 1.02

#: Elements of an activation that candidates are compared on.
_SAMPLED = 1 << 16


class Quantized(NamedTuple):
    """Values that are integers times a scale."""

    values: Tensor
    scale: Tensor  #: One number, or one for each output channel, shaped to divide the values.


class _Rounded(torch.autograd.Function):
    """values -> scale * integer, with the gradients of learned step sizes (Esser et al., ICLR 2020)."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, scale: Tensor, low: int, high: int) -> Tensor:
        units = values / scale
        integers = units.round().clamp_(low, high)
        ctx.save_for_backward(units, integers, scale)
        ctx.ends = low, high
        return integers * scale

    @staticmethod
    def backward(ctx: Any, gradient: Tensor):
        units, integers, scale = ctx.saved_tensors
        low, high = ctx.ends
        inside = (units >= low) & (units <= high)
        of_values = gradient * inside
        of_scale = gradient * integers - of_values * units
        # As many elements share a scale as there are fewer scales: their gradients would add up.
        damped = (units.numel() / scale.numel() * high) ** -0.5
        return of_values, of_scale.sum_to_size(scale.shape) * damped, None, None


class _Integers(torch.autograd.Function):
    """Values that are integers times a scale -> the integers; gradients count the scale as a constant."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(scale)
        return (values / scale).round_()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor):
        return gradient / ctx.saved_tensors[0], None


def integers(quantized: Quantized) -> Tensor:
    """What an integer product takes."""
    return _Integers.apply(quantized.values, quantized.scale.detach())


def _best_scale(rows: Tensor, low: int, high: int) -> Tensor:
    """For each row the scale with the least squared error: float[n, 1]."""
    largest = rows.abs().amax(1, keepdim=True).clamp(min=1e-8) / high
    best, least = largest, torch.full_like(largest, torch.inf)
    for share in _SHARES.tolist():
        scale = share * largest
        error = (rows - (rows / scale).round().clamp(low, high) * scale).square().sum(1, keepdim=True)
        best, least = torch.where(error < least, scale, best), torch.minimum(error, least)
    return best


class ActivationQuantizer(nn.Module):
    """ReLU and rounding in one: unsigned integers of some bits times a learned scale."""

    def __init__(self, bits: int):
        super().__init__()
        self.high = 2**bits - 1
        self.scale = nn.Parameter(torch.ones(()))
        self.calibrating = False

    def forward(self, values: Tensor) -> Quantized:
        if self.calibrating:
            picked = values.detach().relu().flatten()
            picked = picked[:: max(1, len(picked) // _SAMPLED)]
            self.scale.data = _best_scale(picked[None], 0, self.high)[0, 0]
        return Quantized(_Rounded.apply(values, self.scale, 0, self.high), self.scale)


class WeightQuantizer(nn.Module):
    """Signed integers of some bits, without the lowest, times a learned scale for each output channel."""

    def __init__(self, weight: Tensor, bits: int):
        super().__init__()
        self.high = 2 ** (bits - 1) - 1
        self.weight = nn.Parameter(weight.detach().clone())
        scale = _best_scale(weight.detach().flatten(1), -self.high, self.high)
        self.scale = nn.Parameter(scale.reshape(-1, *[1] * (weight.ndim - 1)))

    def forward(self) -> Quantized:
        """The weights as they stand."""
        return Quantized(_Rounded.apply(self.weight, self.scale, -self.high, self.high), self.scale)


class IntegerConv2d(nn.Module):
    """A convolution of integers, added up as ``sums`` says, times the scales of its operands.

    Where the sums are watched, training keeps them in range: a channel of which more than a few are out of it
    in one step has coarser weights in the next.

    ``weights``: a module that gives the weights as :class:`Quantized`.
    """

    def __init__(self, weights: nn.Module, sums: Sums, *, stride: int):
        super().__init__()
        self.weights, self.sums = weights, sums
        self.calibrating = False
        if sums.watched:
            self.register_buffer("coarser", torch.ones_like(weights.scale.data))
        self.geometry = Conv2dGeometry(stride=(stride, stride), padding=(1, 1), dilation=(1, 1), groups=1)

    def _fit(self, x: Quantized) -> None:
        """Coarsen the weights of a channel until its sums, but for a few, are in the accumulator's range."""
        most = self.sums.most
        if most is None or not isinstance(self.weights, WeightQuantizer):
            return
        sums = ExactSums()(integers(x), integers(self.weights()), self.geometry)
        sums = sums.abs().transpose(0, 1).flatten(1)
        reached = sums.kthvalue(math.ceil((1 - _OUT_OF_RANGE) * sums.shape[1])).values
        self.weights.scale.data *= (reached / most).clamp(min=1).reshape(self.weights.scale.shape)

    def forward(self, x: Quantized) -> Tensor:
        if self.calibrating:
            self._fit(x)
        watched = self.training and self.sums.watched
        if watched:
            self.weights.scale.data *= self.coarser
        w = self.weights()
        total = self.sums(integers(x), integers(w), self.geometry)
        if watched:
            crowded = self.sums.out_of_range > _OUT_OF_RANGE
            self.coarser.copy_(torch.where(crowded, _COARSER, 1.0).reshape(w.scale.shape))
        return total * (x.scale * w.scale).detach().reshape(-1, 1, 1)


class _Block(nn.Module):
    """A residual block; what goes around it are the integers that go into it."""

    def __init__(self, block: nn.Module, convolution):
        super().__init__()
        self.stride = block.stride
        self.conv1 = convolution(block.conv1)
        self.bn1 = block.bn1
        self.act1 = ActivationQuantizer(HIDDEN_BITS)
        self.conv2 = convolution(block.conv2)
        self.bn2 = block.bn2
        self.act2 = ActivationQuantizer(HIDDEN_BITS)

    def forward(self, x: Quantized) -> Quantized:
        y = self.act1(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        around = x.values
        if self.stride != 1:  # as in sim.networks.resnet
            zeros = (y.shape[1] - around.shape[1]) // 2
            around = functional.pad(around[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, zeros, zeros))
        return self.act2(y + around)


class IntegerResNet(nn.Module):
    """A trained :class:`ResNet`, its batch norms apart, with integer operands.

    Parameters
    ----------
    float_model : ResNet
        Its batch norms and last bias become this network's own.
    weights : callable
        A hidden layer's float weight -> a module that gives it as :class:`Quantized`, such as
        :class:`WeightQuantizer`.
    sums : callable
        Makes the :class:`Sums` of a hidden layer.
    images : Tensor
        Training images that the activations' scales start from.
    """

    def __init__(self, float_model: ResNet, *, weights, sums, images: Tensor):
        super().__init__()

        def convolution(conv: nn.Conv2d) -> IntegerConv2d:
            return IntegerConv2d(weights(conv.weight), sums(), stride=conv.stride[0])

        self.first = WeightQuantizer(float_model.conv1.weight, OUTER_BITS)
        self.bn1 = float_model.bn1
        self.act1 = ActivationQuantizer(HIDDEN_BITS)
        stages = (float_model.layer1, float_model.layer2, float_model.layer3)
        self.layer1, self.layer2, self.layer3 = (
            nn.Sequential(*(_Block(block, convolution) for block in stage)) for stage in stages
        )
        self.pooled = ActivationQuantizer(OUTER_BITS)
        self.last = WeightQuantizer(float_model.linear.weight, OUTER_BITS)
        self.bias = nn.Parameter(float_model.linear.bias.detach().clone())
        self.to(images.device).calibrate(images)

    def forward(self, images: Tensor) -> Tensor:
        y = functional.conv2d(images, self.first().values, padding=1)
        x = self.act1(self.bn1(y))
        x = self.layer3(self.layer2(self.layer1(x)))
        means = self.pooled(x.values.mean((2, 3)))
        return functional.linear(means.values, self.last().values, self.bias)

    @torch.no_grad()
    def calibrate(self, images: Tensor) -> None:
        """Set scales, those of the first layer first.

        An activation's is that of the least squared error; weights whose sums would leave a narrow
        accumulator get a coarser one.
        """
        self.eval()
        calibrated = [
            each for each in self.modules() if isinstance(each, ActivationQuantizer | IntegerConv2d)
        ]
        for each in calibrated:
            each.calibrating = True
        self(images)
        for each in calibrated:
            each.calibrating = False

    @property
    def hidden(self) -> dict[str, IntegerConv2d]:
        """The convolutions whose sums are narrow, by name."""
        return {name: each for name, each in self.named_modules() if isinstance(each, IntegerConv2d)}
