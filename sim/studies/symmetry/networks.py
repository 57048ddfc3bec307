"""ConstNet and LeakyNet: networks that begin with all channels alike (arXiv 2007.01038).

Every filter of a layer is the same as every other, and signals pass unchanged. Unless something tells the
channels apart, they get the same gradients and stay the same.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

__all__ = ["ConstNet", "LeakyNet", "averaging", "filters"]


def averaging(inputs: int, outputs: int, *, size: int, stride: int, factor: float) -> nn.Conv2d:
    """A convolution whose outputs are ``factor`` times the mean of the inputs: the centre tap alone."""
    conv = nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2, bias=False)
    nn.init.zeros_(conv.weight)
    with torch.no_grad():
        conv.weight[:, :, size // 2, size // 2] = factor / inputs
    return conv


def _classifier(channels: int, classes: int) -> nn.Linear:
    """Of the channels' quadrants. Zero, so that no class and no channel is preferred."""
    linear = nn.Linear(4 * channels, classes)
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
    return linear


def _quadrants(x: Tensor) -> Tensor:
    """Means of the quarters of each channel's image: [n, c, h, w] -> [n, 4 c]."""
    return functional.avg_pool2d(x, (x.shape[2] // 2, x.shape[3] // 2)).flatten(1)


class _Block(nn.Module):
    """skip(x) + conv(ReLU(BN(x))), the convolution zero, and the skip averaging where the image shrinks."""

    def __init__(self, channels: int, *, stride: int):
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.conv = averaging(channels, channels, size=3, stride=stride, factor=0)
        shrinks = averaging(channels, channels, size=1, stride=stride, factor=1)
        self.skip = shrinks if stride > 1 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.skip(x) + self.conv(functional.relu(self.norm(x)))


class ConstNet(nn.Module):
    """A residual network whose blocks are zero and whose other convolutions average.

    Images [n, 1, h, w] -> [n, classes]. Blocks of the given strides; then the means of the image's quadrants.
    ``dropout`` acts before those; it may be the identity.
    """

    def __init__(self, *, channels: int, classes: int, strides: tuple[int, ...], dropout: nn.Module):
        super().__init__()
        self.first = averaging(1, channels, size=3, stride=1, factor=1)
        self.blocks = nn.Sequential(*(_Block(channels, stride=stride) for stride in strides))
        self.norm = nn.BatchNorm2d(channels)
        self.dropout = dropout
        self.classifier = _classifier(channels, classes)

    def forward(self, images: Tensor) -> Tensor:
        x = self.blocks(self.first(images))
        return self.classifier(_quadrants(self.dropout(functional.relu(self.norm(x)))))


class LeakyNet(nn.Module):
    """Convolutions and leaky ReLU of slope ``rho``, no skips: averaging by turns times 1 and -1 / rho.

    Two layers are linear: x > 0 becomes x and then -x; x < 0 becomes rho x and then -x. One pair of
    layers for each stride, which is the second layer's.
    """

    def __init__(self, *, channels: int, classes: int, strides: tuple[int, ...], rho: float):
        super().__init__()
        self.rho = rho
        self.layers = nn.ModuleList()
        for i, stride in enumerate(strides):
            inputs = channels if i else 1
            self.layers += [
                averaging(inputs, channels, size=3, stride=1, factor=1),
                averaging(channels, channels, size=3, stride=stride, factor=-1 / rho),
            ]
        self.classifier = _classifier(channels, classes)

    def after_pairs(self, images: Tensor) -> list[Tensor]:
        """What each pair of layers gives: [n, channels, h', w']."""
        outputs = []
        for layer in self.layers:
            images = functional.leaky_relu(layer(images), self.rho)
            outputs.append(images)
        return outputs[1::2]

    def forward(self, images: Tensor) -> Tensor:
        return self.classifier(_quadrants(self.after_pairs(images)[-1]))


def filters(model: nn.Module) -> dict[str, Tensor]:
    """The weights [filters, taps] of each convolution, by its name."""
    return {
        name: module.weight.detach().flatten(1)
        for name, module in model.named_modules()
        if isinstance(module, nn.Conv2d)
    }
