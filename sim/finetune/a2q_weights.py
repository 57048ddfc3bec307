"""Weights that cannot overflow an accumulator: brevitas' A2Q and A2Q+, with their own training aids.

A2Q: Colbert, Pappalardo, Petri-Koenig, ICCV 2023, arXiv 2308.13504. A2Q+: Colbert, Pappalardo, Petri-Koenig,
Umuroglu, ICML 2024, arXiv 2401.10432. Quantizers, bounds and the initialization by Euclidean projection are
brevitas' code; the regularizer is that of its published training script, with its weight.
"""

from __future__ import annotations

from importlib.util import find_spec

import torch
from torch import Tensor, nn

from golden.config import ConfigError
from sim.finetune.integer import HIDDEN_BITS, Quantized

__all__ = ["REGULARIZER_WEIGHT", "AccumulatorAwareWeights", "apply_projection", "need_brevitas"]

#: As in brevitas_examples.imagenet_classification.a2q.utils.train_for_epoch.
REGULARIZER_WEIGHT = 1e-3


def need_brevitas() -> None:
    """Raise :class:`ConfigError` where brevitas is not installed."""
    if find_spec("brevitas") is None:
        raise ConfigError(
            "A2Q and A2Q+ are brevitas' quantizers, and brevitas is not installed; install fmaq[integer]"
        )


class AccumulatorAwareWeights(nn.Module):
    """A convolution's weights by brevitas: no sum of products with uint4 overflows, in any order.

    Parameters
    ----------
    weight : Tensor
        float32 [o, c, kh, kw], to start from.
    bits : int
        Of the accumulator, in two's complement.
    zero_centered : bool
        A2Q+: each channel's mean is taken off, and the bound on its norm is wider. Else A2Q.
    """

    def __init__(self, weight: Tensor, *, bits: int, zero_centered: bool):
        super().__init__()
        need_brevitas()
        from brevitas import config
        from brevitas.nn import QuantConv2d
        from brevitas.quant import Int8AccumulatorAwareWeightQuant as A2q
        from brevitas.quant import Int8AccumulatorAwareZeroCenterWeightQuant as A2qPlus
        from brevitas.quant_tensor import IntQuantTensor

        config.REINIT_ON_STATE_DICT_LOAD = False  # else a checkpoint's parameters are not the optimizer's
        quantizer = A2qPlus if zero_centered else A2q
        channels, channels_in, *kernel = weight.shape
        self.conv = QuantConv2d(
            channels_in,
            channels,
            tuple(kernel),
            bias=False,
            weight_quant=quantizer.let(
                accumulator_bit_width=bits, bit_width=None, scaling_min_val=1e-8, pre_scaling_min_val=1e-8
            ),
            weight_bit_width=HIDDEN_BITS,
        )
        self.conv.weight.data = weight.detach().cpu().clone()
        self.conv.weight_quant.init_tensor_quant()  # whose scales start from the weights
        self.register_buffer("input_bits", torch.tensor(float(HIDDEN_BITS)), persistent=False)
        self._tensor = IntQuantTensor

    def forward(self) -> Quantized:
        """The weights as they stand. They need to know of their input that it is uint4, and no more."""
        one, zero = torch.ones_like(self.input_bits), torch.zeros_like(self.input_bits)
        inputs = self._tensor(one, one, zero, self.input_bits, False, self.training)
        weight = self.conv.weight_quant(self.conv.weight, inputs)
        return Quantized(weight.value, weight.scale)

    def excess(self) -> Tensor:
        """The regularizer: what the learned norms exceed their bounds by, over all channels."""
        scaling = self.conv.weight_quant.tensor_quant.pre_scaling_impl
        weight = self.conv.weight
        scale = scaling.scaling_impl(weight)
        norm = scaling.restrict_clamp_scaling(scaling.value).abs()
        bound = scaling.calc_max_l1_norm(self.input_bits, False)
        return torch.relu(norm - bound * scale).sum()


def apply_projection(model: nn.Module, images: Tensor) -> None:
    """EP-init of the A2Q+ paper: weights projected onto the ball that their accumulator allows."""
    need_brevitas()
    from brevitas_examples.imagenet_classification.a2q.ep_init import apply_ep_init

    with torch.no_grad():
        apply_ep_init(model, images)
