"""The CPU kernels beside golden: operands worth comparing on, and the comparison."""

import torch

from golden import accumulate as golden
from golden.codes import decode
from golden.config import FloatFormat
from sim.kernels import product
from sim.kernels.plan import plan_matmul


def operands(config, rows, length, columns, generator):
    """Values of the operand formats: any, or of the upper half of the exponents so that sums overflow."""

    def draw(number, shape):
        codes = torch.randint(0, 2**number.code_bits, shape, generator=generator)
        if isinstance(number, FloatFormat) and torch.rand((), generator=generator) < 0.5:
            codes |= (number.max_exp_code // 2) << number.man_bits
        zero = torch.rand(shape, generator=generator) < 0.1
        return decode(torch.where(zero, 0, codes), number)

    return draw(config.x, (rows, length)), draw(config.w, (length, columns))


def assert_equals_golden(a, b, config, order=None):
    plan, _ = plan_matmul(config, a.shape[-1])
    expected = golden.matmul(a, b, config, order)
    values, _ = product.multiply(a, b, config, plan, order, count=False)
    counted_values, counted = product.multiply(a, b, config, plan, order, count=True)
    assert torch.equal(values, expected), config.name
    assert torch.equal(counted_values, expected), config.name
    assert not (values.signbit() & (values == 0)).any(), "a zero has sign 0"
    assert counted == golden.events(a, b, config, order), config.name
