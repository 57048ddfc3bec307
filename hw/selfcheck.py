"""A self-checking testbench in plain Verilog, with its vectors, for whoever has no Python.

It drives the four streams of an array with a few jobs, pauses at random on each, and compares every
row of results. The expected codes are those of :func:`golden.arith.dot`.
"""

from __future__ import annotations

import random
from dataclasses import fields
from typing import NamedTuple

import numpy as np

from golden.arith import Words, dot, dot_events
from golden.config import ConfigError, FloatFormat, Format, MacConfig, Offsets
from golden.datapath import offset_ranges, with_offsets
from golden.random_words import RandomWords, key
from hw.array import SystolicArray
from hw.mac import EVENTS
from hw.random_words import key_name, stochastic_stages

__all__ = ["offset_words", "testbench_text"]

SEED = 1
MAX_ROWS = 4  # activation vectors in a job
MAX_PASSES = 12  # in a job, however long a chunk is


class _Job(NamedTuple):
    x: np.ndarray  #: Activation codes [m, k].
    w: np.ndarray  #: Weight codes [k, n].
    mac: MacConfig  #: With the biases of this job.
    random: RandomWords  #: Of stochastic roundings. The job has row 0 and column 0 of its product.


class _Stream(NamedTuple):
    """The beats of one stream, as they stand in the Verilog."""

    name: str
    width: int  #: Bits of a beat.
    beats: list[int]


def offset_words(array: SystolicArray, mac: MacConfig) -> dict[str, int]:
    """What the offset registers of a job are loaded with: the offsets of ``mac``, clamped."""
    ranges = offset_ranges(array.config.silicon.config)
    return {
        f"{field.name}_offset": getattr(ranges, field.name).clamp(getattr(mac.offsets, field.name))
        for field in fields(Offsets)
        if f"{field.name}_offset" in array.job.payload.shape().members
    }


def testbench_text(array: SystolicArray, name: str, mac: MacConfig) -> str:
    """Verilog-2005 of module ``name_tb``, which tests module ``name``, the Verilog of ``array``."""
    streams = _streams(array, _jobs(array, mac))
    beats, timing = sum(len(stream.beats) for stream in streams), array.timing
    parts = {
        "name": name,
        "declarations": "".join(_declaration(stream) for stream in streams),
        "ports": ",\n    ".join(
            f".{stream.name}__{port}({stream.name}_{port})"
            for stream in streams
            for port in ("payload", "valid", "ready")
        ),
        "contents": "".join(
            f"    {stream.name}_beats[{i}] = {stream.width}'h{beat:x};\n"
            for stream in streams
            for i, beat in enumerate(stream.beats)
        ),
        "senders": "".join(_sender(stream, i) for i, stream in enumerate(streams[:-1])),
        "results_top": streams[-1].width - 1,
        "results": len(streams[-1].beats),
        "quiet_cycles": 4 * (timing.latency + timing.sum_wait) + 100,
        "cycles": 20 * beats + 100 * (timing.latency + timing.sum_wait) + 1000,
    }
    return _TESTBENCH.format_map(parts)


def _jobs(array: SystolicArray, mac: MacConfig) -> list[_Job]:
    """A chunk, chunks with a short last one, and two chunks with other offsets."""
    rows, chunk = array.config.rows, mac.chunk_size
    rng = random.Random(SEED)
    lengths = (chunk, chunk + rows // 2 + 1, 2 * chunk)
    m_rows = (MAX_ROWS, 1, MAX_ROWS - 1)
    macs = (mac, mac, _with_other_offsets(array, mac, rng))
    return [
        _job(array, min(k, MAX_PASSES * rows), min(m, array.config.depth), config, call, rng)
        for call, (k, m, config) in enumerate(zip(lengths, m_rows, macs, strict=True))
    ]


def _job(array: SystolicArray, k: int, m: int, mac: MacConfig, call: int, rng: random.Random) -> _Job:
    """Random codes, some of them zero; row 0 of the result has column 0 overflow if it can."""
    cols = array.config.cols
    x = [[_code(mac.x, rng) for _ in range(k)] for _ in range(m)]
    w = [[_code(mac.w, rng) for _ in range(cols)] for _ in range(k)]
    x[0] = [_largest(mac.x)] * k
    for row in w:
        row[0] = _largest(mac.w)
    return _Job(
        x=np.array(x, dtype=np.int64), w=np.array(w, dtype=np.int64), mac=mac, random=RandomWords(SEED, call)
    )


def _code(number: Format, rng: random.Random) -> int:
    """Any finite number; zero more often than others."""
    code = rng.getrandbits(number.code_bits) if rng.randrange(8) else 0
    if isinstance(number, FloatFormat):
        magnitude = code & (2 ** (number.code_bits - 1) - 1)
        code += min(magnitude, number.max_magnitude_code) - magnitude
    return code


def _largest(number: Format) -> int:
    return number.max_magnitude_code if isinstance(number, FloatFormat) else number.max_integer


def _with_other_offsets(array: SystolicArray, mac: MacConfig, rng: random.Random) -> MacConfig:
    """The MAC with biases that load other words into those offset registers that there are."""
    words = offset_words(array, mac)
    if not words:
        return mac
    ranges = offset_ranges(array.config.silicon.config)
    offsets = {field.name: getattr(mac.offsets, field.name) for field in fields(Offsets)}
    for word, value in words.items():
        field = word.removesuffix("_offset")
        offsets[field] = getattr(ranges, field).clamp(value + rng.choice((-3, -2, -1, 1, 2, 3)))
    try:
        return with_offsets(mac, Offsets(**offsets))
    except ConfigError:  # offsets at the end of what biases can express
        return mac


def _streams(array: SystolicArray, jobs: list[_Job]) -> list[_Stream]:
    """The beats of all jobs: job, weights, activations, and the results to expect."""
    mac, rows, cols = array.config.silicon.config, array.config.rows, array.config.cols
    job_layout, result_layout = array.job.payload.shape(), array.results.payload.shape()
    job_beats, weights, activations, results = [], [], [], []
    for x, w, config, words in jobs:
        m, k = x.shape
        passes = -(-k // rows)
        job = {"k": k, "m_rows": m} | offset_words(array, config) | _random_fields(config, words)
        job_beats.append(job_layout.const(job).as_bits())
        x_padded = np.pad(x, ((0, 0), (0, passes * rows - k)))
        w_padded = np.pad(w, ((0, passes * rows - k), (0, 0)))
        weights += [_packed(row, mac.w) for row in w_padded]
        activations += [
            _packed(x_padded[i, start : start + rows], mac.x)
            for start in range(0, passes * rows, rows)
            for i in range(m)
        ]
        steps = (x.T[:, :, None], w[:, None, :], config, _words(words, m, cols))
        codes = np.broadcast_to(dot(*steps), (m, cols))
        flags = [np.broadcast_to(flag, (m, cols)) for flag in dot_events(*steps)]
        for i, row in enumerate(codes):
            result = {"codes": row.tolist(), "last": i == m - 1}
            if array.config.events:
                result |= {event: _bits(flag[i]) for event, flag in zip(EVENTS, flags, strict=True)}
            results.append(result_layout.const(result).as_bits())
    return [
        _Stream("job", job_layout.size, job_beats),
        _Stream("weights", cols * mac.w.code_bits, weights),
        _Stream("activations", rows * mac.x.code_bits, activations),
        _Stream("results", result_layout.size, results),
    ]


def _random_fields(mac: MacConfig, words: RandomWords) -> dict[str, int]:
    """What a job says about random words, if any of its roundings is stochastic."""
    keys = {
        key_name(stage, name): key(words.seed, words.call, stage, side)
        for stage in stochastic_stages(mac)
        for side, name in enumerate(("row", "column"))
    }
    return {"m_base": 0, "n_base": 0} | keys if keys else {}


def _words(words: RandomWords, m: int, cols: int) -> Words:
    row, column = np.arange(m)[:, None], np.arange(cols)
    return lambda stage, bits, k: words.words(stage, bits, row, column, k)


def _bits(flags: np.ndarray) -> int:
    return sum(int(flag) << i for i, flag in enumerate(flags))


def _packed(codes: np.ndarray, number: Format) -> int:
    """Codes side by side, the first in the lowest bits."""
    return sum(code << (i * number.code_bits) for i, code in enumerate(codes.tolist()))


def _declaration(stream: _Stream) -> str:
    return (
        f"  reg [{stream.width - 1}:0] {stream.name}_beats [0:{len(stream.beats) - 1}];\n"
        f"  wire [{stream.width - 1}:0] {stream.name}_payload;\n"
        f"  wire {stream.name}_valid, {stream.name}_ready;\n"
        f"  integer {stream.name}_count = 0;\n"
    )


def _sender(stream: _Stream, index: int) -> str:
    total = len(stream.beats)
    return _SENDER.format(name=stream.name, total=total, a=2 * index + 2, b=5 * index + 9)


#: Once ``valid`` is up, it waits for ``ready``.
_SENDER = """
  reg {name}_go = 0;
  assign {name}_valid = {name}_go && {name}_count < {total};
  assign {name}_payload = {name}_beats[{name}_valid ? {name}_count : 0];
  always @(posedge clk)
    if (!rst && (!{name}_valid || {name}_ready)) begin
      {name}_go <= noise[{a}] | noise[{b}];
      if ({name}_valid) {name}_count <= {name}_count + 1;
    end
"""

_TESTBENCH = """\
// Self-checking testbench of {name}, with its vectors. Verilog-2005.
//   $ iverilog -o check {name}.v {name}_tb.v && vvp -N check
//   $ verilator --binary --timing -CFLAGS -std=c++20 --top-module {name}_tb \\
//       {name}.vlt {name}.v {name}_tb.v && obj_dir/V{name}_tb
// Prints PASS and ends with status 0, or FAIL and ends, through $stop, with another status.

module {name}_tb;
  reg clk = 0;
  reg rst = 1;
  always #5 clk = !clk;

{declarations}
  {name} dut (
    .clk(clk),
    .rst(rst),
    {ports}
  );

  // Pauses on every stream.
  reg [31:0] noise = 32'h1;
  always @(posedge clk) noise <= {{noise[30:0], noise[31] ^ noise[21] ^ noise[1] ^ noise[0]}};
{senders}
  reg results_go = 0;
  assign results_ready = results_go;
  always @(posedge clk) results_go <= noise[17] | noise[25];

  // Every result is compared; one that waits must not change; none may be left over.
  integer failures = 0;
  integer cycles = 0;
  integer quiet = 0;
  reg waited = 0;
  reg [{results_top}:0] held;
  always @(posedge clk) begin
    cycles <= cycles + 1;
    if (cycles == 3) rst <= 0;
    waited <= !rst && results_valid && !results_ready;
    held <= results_payload;
    if (waited && (!results_valid || results_payload !== held)) begin
      $display("result %0d changed or went away before it was taken", results_count);
      failures <= failures + 1;
    end else if (!rst && results_valid && results_ready) begin
      if (results_count >= {results}) begin
        $display("a result too many: %h", results_payload);
        failures <= failures + 1;
      end else if (results_payload !== results_beats[results_count]) begin
        $display("result %0d: got %h, expected %h", results_count,
                 results_payload, results_beats[results_count]);
        failures <= failures + 1;
      end
      results_count <= results_count + 1;
    end
    if (results_count >= {results}) quiet <= quiet + 1;
    if (quiet == {quiet_cycles} || cycles == {cycles} || failures == 10) begin
      if (failures == 0 && results_count == {results} && quiet == {quiet_cycles}) begin
        $display("PASS: {name}, {results} rows of results");
        $finish;
      end else begin
        $display("FAIL: {name}, %0d of {results} rows of results came, %0d errors", results_count, failures);
        $stop;
      end
    end
  end

  initial begin
{contents}  end
endmodule
"""
