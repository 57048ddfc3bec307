"""The weight-stationary systolic array with its streams."""

from __future__ import annotations

from amaranth import Cat, Module, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Member, Out

from golden.config import ArrayConfig
from hw.column import Column, load_layout, offset_members, token_layout
from hw.delay import delayed

__all__ = ["K_PASSES_BITS", "SystolicArray"]

K_PASSES_BITS = 16


def _job_layout(config: ArrayConfig, offsets: dict[str, Member]) -> data.StructLayout:
    """One tile of a matrix product."""
    return data.StructLayout(
        {"k_passes": K_PASSES_BITS, "m_rows": range(config.depth + 1)}
        | {name: member.shape for name, member in offsets.items()}
    )


def _results_layout(config: ArrayConfig) -> data.StructLayout:
    """One row of the result."""
    code = unsigned(config.silicon.config.outer_accumulator.format.code_bits)
    return data.StructLayout({"codes": data.ArrayLayout(code, config.cols), "last": 1})


class SystolicArray(wiring.Component):
    """Multiplies tiles of matrices: a[m_rows, K] @ b[K, cols], bit for bit.

    A job is ``k_passes`` passes. A pass takes ``rows`` beats of weights, then ``m_rows`` beats of
    activations; the weights of the next pass follow the last activation down the array, which does not
    drain in between. ``config.passes`` passes make a chunk, a job's last chunk may have fewer; the last
    pass brings the results. Where K is not a multiple of ``rows`` the sender fills up with zero codes.
    The arithmetic is that of :func:`golden.arith.dot`.

    Activations enter through a skew, ``acc_latency`` cycles from row to row, and go right one column a
    cycle; partial sums go down. Back-pressure on ``results`` freezes the whole array, so every ``ready``
    follows ``results.ready`` combinationally; a sender that pauses leaves a bubble. A job is taken when
    the last activation of the one before is in or, where offsets are registers, its last result is at
    the foot; weights are taken ahead of their job. Reset abandons everything.

    Parameters
    ----------
    config : ArrayConfig
        Silicon, rows, columns, stages, depth.

    Attributes
    ----------
    latency : int
        Cycles from an activation vector of the last pass to the row of results, without stalls.
    pass_gap, job_gap : int
        Cycles without activations between two passes and between two jobs, without stalls.

    Members
    -------
    job : In(stream of StructLayout)
        What to do next: ``k_passes`` from 1 to 2**16 - 1, ``m_rows`` from 1 to ``depth``, and those of
        ``product_offset``, ``acc_offset`` and ``outer_offset`` that are not wired in.
    weights : In(stream of ArrayLayout(weight code, cols))
        Row 0 of the pass first.
    activations : In(stream of ArrayLayout(activation code, rows))
        A vector a beat; the same vectors in each pass, each with its own part of K.
    results : Out(stream of StructLayout)
        ``codes``, an ArrayLayout(outer code, cols), a row a beat in the order of the activations, and
        ``last`` with the last one of the job.
    """

    def __init__(self, config: ArrayConfig):
        self.config = config
        mac = config.silicon.config
        self.columns = [Column(config) for _ in range(config.cols)]
        self.acc_lag, self.acc_latency = self.columns[0].acc_lag, self.columns[0].acc_latency
        self._depth_cycles = config.rows * self.acc_latency  # partial sums go down in so many cycles
        self.latency = self.acc_lag + self._depth_cycles + config.cols + 1
        # Weights of row r are due r cycles after the first, behind an activation that comes there
        # r * acc_latency cycles after it entered. A partial sum that re-enters must have been stored.
        if config.passes > 1:
            self._weight_wait = self._depth_cycles - config.rows + 1
        else:
            self._weight_wait = max(0, (config.rows - 1) * (self.acc_latency - 1) - 1)
        self.pass_gap = self.job_gap = config.rows + self._weight_wait
        if offset_members(self.columns[0]):
            self.job_gap = max(self.pass_gap, self.latency - 1)
        super().__init__(
            {
                "job": In(stream.Signature(_job_layout(config, offset_members(self.columns[0])))),
                "weights": In(stream.Signature(data.ArrayLayout(unsigned(mac.w.code_bits), config.cols))),
                "activations": In(stream.Signature(data.ArrayLayout(unsigned(mac.x.code_bits), config.rows))),
                "results": Out(stream.Signature(_results_layout(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        self._en = Signal()
        self._offsets = {
            name: Signal(member.shape, name=name) for name, member in offset_members(self.columns[0]).items()
        }
        m.d.comb += self._en.eq(~self.results.valid | self.results.ready)

        load, token = self._control(m)
        right = self._columns(m, load, token)

        # The last column's sum is a register behind its token; those left of it wait for it.
        codes = [
            self._delayed(m, column.result, self.config.cols - 1 - i, f"result_{i}", reset_less=True)
            for i, column in enumerate(self.columns)
        ]
        done = Signal(right.shape())
        with m.If(self._en):
            m.d.sync += done.eq(right)
        m.d.comb += [
            self.results.valid.eq(done.valid & done.emits),
            self.results.payload.codes.eq(Cat(codes)),
            self.results.payload.last.eq(done.last),
        ]
        return m

    def _control(self, m: Module) -> tuple[data.View, data.View]:
        """Handshakes and counters: what enters the array in this cycle."""
        config, job = self.config, self.job.payload
        busy, loaded = Signal(), Signal()
        weight_row = Signal(range(config.rows))
        index, last_index = Signal(range(config.depth)), Signal(range(config.depth))
        later_passes = Signal(K_PASSES_BITS)
        chunk_pass = Signal(range(config.passes))
        first_chunk = Signal()
        # Enabled cycles until the vector that entered last has left the foot of the last column.
        in_flight = Signal(range(self.latency - 1))

        load, token = Signal(load_layout(config)), Signal(token_layout(config))
        idle = in_flight == 0 if self._offsets else 1
        m.d.comb += [
            self.job.ready.eq(self._en & ~busy & idle),
            self.weights.ready.eq(self._en & ~loaded & (in_flight <= self.latency - 2 - self._weight_wait)),
            self.activations.ready.eq(self._en & busy & loaded),
            load.valid.eq(self.weights.valid & self.weights.ready),
            load.row.eq(weight_row),
            token.valid.eq(self.activations.valid & self.activations.ready),
            token.index.eq(index),
            token.opens.eq(chunk_pass == 0),
            token.closes.eq((chunk_pass == config.passes - 1) | token.emits),
            token.starts.eq(first_chunk),
            token.emits.eq(later_passes == 0),
            token.last.eq(index == last_index),
        ]
        with m.If(self.job.valid & self.job.ready):
            m.d.sync += [
                busy.eq(1),
                later_passes.eq(job.k_passes - 1),
                last_index.eq(job.m_rows - 1),
                first_chunk.eq(1),
            ]
            m.d.sync += [register.eq(job[name]) for name, register in self._offsets.items()]
        with m.If(load.valid):
            m.d.sync += weight_row.eq(weight_row + 1)
            with m.If(weight_row == config.rows - 1):
                m.d.sync += [weight_row.eq(0), loaded.eq(1)]
        with m.If(self._en & (in_flight != 0)):
            m.d.sync += in_flight.eq(in_flight - 1)
        with m.If(token.valid):
            m.d.sync += [in_flight.eq(self.latency - 2), index.eq(index + 1)]
            with m.If(token.last):
                m.d.sync += [index.eq(0), loaded.eq(0), later_passes.eq(later_passes - 1)]
                m.d.sync += chunk_pass.eq(chunk_pass + 1)
                with m.If(token.closes):
                    m.d.sync += [chunk_pass.eq(0), first_chunk.eq(0)]
                with m.If(token.emits):
                    m.d.sync += busy.eq(0)
        return load, token

    def _columns(self, m: Module, load: data.View, token: data.View) -> data.View:
        """The columns side by side; gives the token that leaves the foot of the last."""
        weights, activations = self.weights.payload, self.activations.payload
        x = Cat(
            self._delayed(m, activations[row], 1 + row * self.acc_latency, f"x_{row}", reset_less=True)
            for row in range(self.config.rows)
        )
        load = self._delayed(m, load, 1, "load")
        top = self._delayed(m, token, self.acc_lag, "top")
        foot = self._delayed(m, top, self._depth_cycles, "foot")
        for i, column in enumerate(self.columns):
            m.submodules[f"column_{i}"] = column
            weight = self._delayed(m, weights[i], 1 + i, f"weight_{i}", reset_less=True)
            m.d.comb += [
                column.en.eq(self._en),
                column.x.eq(x),
                column.weight.eq(weight),
                column.load.eq(load),
                column.foot.eq(foot),
            ]
            m.d.comb += [getattr(column, name).eq(register) for name, register in self._offsets.items()]
            x, load, foot = column.x_right, column.load_right, column.foot_right
            if self.config.passes > 1:
                m.d.comb += column.top.eq(top)
                top = column.top_right
        return foot

    def _delayed(self, m: Module, word: Value, cycles: int, name: str, *, reset_less: bool = False) -> Value:
        return delayed(m, word, cycles=cycles, en=self._en, reset_less=reset_less, name=name)
