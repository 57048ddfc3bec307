"""Matrix products on the simulated hardware, whole numpy arrays at a time.

    array = VerilatedArray(config, trace=None)
    product = array.matmul_codes(x, w, mac, RandomWords(seed=0, call=0))
    product.codes, product.cycles

:class:`VerilatedArray` drives a bare array by its jobs, :class:`VerilatedTile` a tile as software would, by
its registers. A library is built once for each configuration, which takes from half a minute to some
minutes, and kept under build/.
"""

from hw.verilated_array import FIRST_WORDS, Product, VerilatedArray
from hw.verilated_bench import Bench, Run, SimulationError, Stalls, Waves
from hw.verilated_library import TRACES, BuildError, Channel, Design, stream_channels
from hw.verilated_tile import VerilatedTile

__all__ = [
    "FIRST_WORDS",
    "TRACES",
    "Bench",
    "BuildError",
    "Channel",
    "Design",
    "Product",
    "Run",
    "SimulationError",
    "Stalls",
    "VerilatedArray",
    "VerilatedTile",
    "Waves",
    "stream_channels",
]
