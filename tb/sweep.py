"""Combinational components on every input there is, millions of them, without Python in the loop."""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from amaranth.lib import wiring
from numpy.typing import NDArray

from hw.verilog import verilog_text
from tb import simulator
from tb.bank import Bank, Port

__all__ = ["sweep"]

#: Counts through all inputs; each component sees the counter's low bits. Writes words of 32 bits.
_PROGRAM = """
module {name};
  reg [{counter_bits}:0] n;
  wire [{output_bits}-1:0] outputs;
  {name}_bank bank(.inputs({{{inputs}}}), .outputs(outputs));
  integer file;
  initial begin
    file = $fopen("outputs.bin", "wb");
    for (n = 0; !n[{counter_bits}]; n = n + 1) begin
      #1;
      $fwrite(file, "%u", outputs);
    end
    $fclose(file);
    $finish;
  end
endmodule
"""


def sweep(lanes: Mapping[str, wiring.Component], name: str) -> dict[str, dict[str, NDArray]]:
    """All ports of each lane, inputs and outputs, nonnegative int64, one element per input.

    Inputs run in the order in which the ports, the first lowest, count up. All lanes share one
    Verilated program, kept by content under ``name``.
    """
    bank = Bank(lanes)
    bits = {lane: sum(port.width for port in bank.in_ports if port.lane == lane) for lane in lanes}
    counter_bits = max(bits.values())
    output_bits = bank.out_ports[-1].offset + bank.out_ports[-1].width
    program = _PROGRAM.format(
        name=name,
        counter_bits=counter_bits,
        output_bits=output_bits,
        inputs=", ".join(f"n[{bits[lane] - 1}:0]" for lane in reversed(lanes)),
    )
    binary = simulator.build_program(verilog_text(bank, f"{name}_bank") + program, name)
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([binary], cwd=folder, check=True, stdout=subprocess.DEVNULL)
        words = np.fromfile(Path(folder, "outputs.bin"), dtype="<u4").reshape(2**counter_bits, -1)
    ports: dict[str, dict[str, NDArray]] = {lane: {} for lane in lanes}
    for lane in lanes:
        n, at = np.arange(2 ** bits[lane], dtype=np.int64), 0
        for port in bank.in_ports:
            if port.lane == lane:
                ports[lane][port.name] = n >> at & (2**port.width - 1)
                at += port.width
        for port in bank.out_ports:
            if port.lane == lane:
                ports[lane][port.name] = _field(words[: len(n)], port)
    return ports


def _field(words: NDArray, port: Port) -> NDArray:
    """A field of at most 62 bits out of rows of 32-bit words."""
    value = np.zeros(len(words), dtype=np.int64)
    for word in range(port.offset // 32, (port.offset + port.width - 1) // 32 + 1):
        shift = 32 * word - port.offset
        part = words[:, word].astype(np.int64)
        value |= part << shift if shift >= 0 else part >> -shift
    return value & (2**port.width - 1)
