"""ResNet-20 and ResNet-56 for 32x32 images (He et al., 2016, section 4.2), with pretrained weights."""

from __future__ import annotations

import safetensors.torch
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

from sim.benchmark_data import read_data_file

__all__ = ["ResNet", "pretrained_resnet"]

#: Blocks in each of the three stages, by the number of layers with weights.
_BLOCKS = {20: 3, 56: 9}


class _Block(nn.Module):
    """Two 3x3 convolutions around which the input is added; a wider output leaves out every other pixel."""

    def __init__(self, channels_in: int, channels: int):
        super().__init__()
        self.stride = channels // channels_in
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride=self.stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        if self.stride != 1:  # no weights: the new channels are zero, half before and half after the old
            zeros = (y.shape[1] - x.shape[1]) // 2
            x = functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, zeros, zeros))
        return functional.relu(y + x)


class ResNet(nn.Module):
    """images[n, 3, 32, 32] -> logits[n, 10]. ``depth`` is 20 or 56."""

    def __init__(self, depth: int):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        stages = []
        for channels_in, channels in ((16, 16), (16, 32), (32, 64)):
            first = _Block(channels_in, channels)
            rest = [_Block(channels, channels) for _ in range(_BLOCKS[depth] - 1)]
            stages.append(nn.Sequential(first, *rest))
        self.layer1, self.layer2, self.layer3 = stages
        self.linear = nn.Linear(64, 10)

    def forward(self, images: Tensor) -> Tensor:
        x = functional.relu(self.bn1(self.conv1(images)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.linear(x.mean((2, 3)))

    def fold_batch_norm(self) -> ResNet:
        """Fold batch norms into the convolutions before them, in place: the same function, rounding aside."""
        self.eval()
        for module in (self, *(each for each in self.modules() if isinstance(each, _Block))):
            for conv, norm in (("conv1", "bn1"), ("conv2", "bn2")):
                if hasattr(module, conv):
                    setattr(module, conv, fuse_conv_bn_eval(getattr(module, conv), getattr(module, norm)))
                    setattr(module, norm, nn.Identity())
        return self


def pretrained_resnet(depth: int) -> ResNet:
    """The network as its authors trained it, batch norm still apart, in eval mode.

    Raises :class:`sim.data.DataError` where the weights are not to be had.
    """
    weights = safetensors.torch.load(read_data_file(f"resnet{depth}-cifar10.safetensors", download=False))
    for name in [each for each in weights if each.endswith("running_mean")]:
        weights[name.replace("running_mean", "num_batches_tracked")] = torch.tensor(0)
    model = ResNet(depth)
    model.load_state_dict(weights)
    return model.eval().requires_grad_(False)
