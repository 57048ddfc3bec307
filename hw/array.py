"""The weight-stationary systolic array with its streams."""

from __future__ import annotations

from amaranth import Cat, Const, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Member, Out

from golden.config import ArrayConfig
from hw.column import (
    Column,
    activation_layout,
    load_layout,
    offset_members,
    token_layout,
    weight_layout,
)
from hw.delay import delayed
from hw.random_words import ColumnHalves, RowHalves, key_name, stochastic_stages
from hw.timing import ArrayTiming

__all__ = ["K_BITS", "SystolicArray"]

K_BITS = 24  #: Of the length of a dot product.


def _random_members(config: ArrayConfig) -> dict[str, Member]:
    """What a job says about random words: where it stands in the output, and the keys of the product."""
    stages = stochastic_stages(config.silicon.config)
    keys = [key_name(stage, side) for stage in stages for side in ("row", "column")]
    return {name: In(32) for name in (["m_base", "n_base", *keys] if stages else [])}


def _job_layout(config: ArrayConfig, registers: dict[str, Member]) -> data.StructLayout:
    """One tile of a matrix product."""
    return data.StructLayout(
        {"k": K_BITS, "m_rows": range(config.depth + 1)}
        | {name: member.shape for name, member in registers.items()}
    )


def _results_layout(config: ArrayConfig) -> data.StructLayout:
    """One row of the result."""
    code = unsigned(config.silicon.config.outer_accumulator.format.code_bits)
    events = {"overflow": config.cols, "underflow": config.cols} if config.events else {}
    return data.StructLayout({"codes": data.ArrayLayout(code, config.cols), "last": 1} | events)


class SystolicArray(wiring.Component):
    """Multiplies tiles of matrices: a[m_rows, k] @ b[k, cols], bit for bit.

    A job takes ceil(k / rows) passes. A pass takes ``rows`` beats of weights and, after them, ``m_rows``
    beats of activations; meanwhile the weights of the next pass, of this job or of the one after, come
    in behind the last ones in use. ``config.passes`` passes make a chunk, a job's last chunk may have
    fewer; the last pass brings the results. Where k is not a multiple of ``rows`` the sender fills up
    with zero codes. The arithmetic is that of :func:`golden.arith.dot`.

    Activations enter through a skew, ``acc_latency`` cycles from row to row, and go right one column a
    cycle; partial sums go down. Back-pressure on ``results`` freezes the whole array, so every ``ready``
    follows ``results.ready`` combinationally; a sender that pauses leaves a bubble. A job is taken with
    the last activation of the one before or, where its offsets are others, once the last result is at
    the foot; with stochastic rounding always then, and weights only after their job. Reset abandons
    everything. When things happen is stated in :mod:`hw.timing` and :func:`hw.cost.cycles.array_results`.

    Parameters
    ----------
    config : ArrayConfig
        Silicon, rows, columns, stages, depth, events.

    Attributes
    ----------
    timing : ArrayTiming
        How long things take without stalls.

    Members
    -------
    job : In(stream of StructLayout)
        What to do next: ``k`` from 1 to 2**24 - 1, ``m_rows`` from 1 to ``depth``, and those of
        ``product_offset``, ``acc_offset`` and ``outer_offset`` that are not wired in. With stochastic
        rounding ``m_base`` and ``n_base``, the numbers of the first row and column in the output, and
        a key for each stage and side, see :func:`golden.random_words.key`.
    weights : In(stream of ArrayLayout(weight code, cols))
        Row 0 of the pass first.
    activations : In(stream of ArrayLayout(activation code, rows))
        A vector a beat; the same vectors in each pass, each with its own part of k.
    results : Out(stream of StructLayout)
        ``codes``, an ArrayLayout(outer code, cols), a row a beat in the order of the activations, and
        ``last`` with the last one of the job. With events ``overflow`` and ``underflow``, a bit for each
        column: some rounding on the way to this sum did that.
    """

    def __init__(self, config: ArrayConfig):
        self.config = config
        mac = config.silicon.config
        self.columns = [Column(config) for _ in range(config.cols)]
        self.timing = ArrayTiming.of(config)
        self._offsets = offset_members(self.columns[0])
        self._random = _random_members(config)
        super().__init__(
            {
                "job": In(stream.Signature(_job_layout(config, self._offsets | self._random))),
                "weights": In(stream.Signature(data.ArrayLayout(unsigned(mac.w.code_bits), config.cols))),
                "activations": In(stream.Signature(data.ArrayLayout(unsigned(mac.x.code_bits), config.rows))),
                "results": Out(stream.Signature(_results_layout(config))),
            }
        )

    def elaborate(self, platform):
        m = Module()
        self._en = Signal()
        self._registers = {
            name: Signal(member.shape, name=name) for name, member in (self._offsets | self._random).items()
        }
        m.d.comb += self._en.eq(~self.results.valid | self.results.ready)
        if self._random:
            m.submodules.row_halves = self._row_halves = RowHalves(self.config)
            m.submodules.column_halves = self._column_halves = ColumnHalves(self.config)

        load, token = self._control(m)
        right = self._columns(m, load, token)

        # The last column's sum is a register behind its token; those left of it wait for it.
        results = [
            self._delayed(m, result, self.config.cols - 1 - i, f"result_{i}", reset_less=True)
            for i, result in enumerate(map(self._result, self.columns))
        ]
        done = Signal(right.shape())
        with m.If(self._en):
            m.d.sync += done.eq(right)
        code_bits = len(self.columns[0].result)
        m.d.comb += [
            self.results.valid.eq(done.valid & done.emits),
            self.results.payload.codes.eq(Cat(result[:code_bits] for result in results)),
            self.results.payload.last.eq(done.last),
        ]
        if self.config.events:
            m.d.comb += [
                self.results.payload.overflow.eq(Cat(result[code_bits] for result in results)),
                self.results.payload.underflow.eq(Cat(result[code_bits + 1] for result in results)),
            ]
        return m

    def _result(self, column: Column) -> Value:
        return Cat(column.result, column.result_events) if self.config.events else column.result

    def _control(self, m: Module) -> tuple[data.View, data.View]:
        """Handshakes and counters: what enters the array in this cycle."""
        config, job = self.config, self.job.payload
        busy, loaded = Signal(), Signal()
        weight_row = Signal(range(config.rows))
        index, last_index = Signal(range(config.depth)), Signal(range(config.depth))
        k_left = Signal(K_BITS)
        chunk_pass = Signal(range(config.passes))
        first_chunk = Signal()

        load, token = Signal(load_layout(config)), Signal(token_layout(config))
        first, finishes = Signal(), Signal()
        m.d.comb += first.eq(token.valid & (index == 0))
        may_load = self._may_load(m, first)
        may_add = token.opens | self._may_add(m, token, last_index)
        settled = self._settled(m, token)
        if self._random:
            may_load &= self._column_halves.valid & self._weights_due(m, load, weight_row)
            may_add &= self._row_halves.valid
        m.d.comb += [
            finishes.eq(token.valid & token.last & token.emits),
            self.job.ready.eq(self._en & (~busy | finishes) & settled),
            self.weights.ready.eq(self._en & ~loaded & may_load),
            self.activations.ready.eq(self._en & busy & (loaded | (index != 0)) & may_add),
            load.valid.eq(self.weights.valid & self.weights.ready),
            load.row.eq(weight_row),
            token.valid.eq(self.activations.valid & self.activations.ready),
            token.index.eq(index),
            token.opens.eq(chunk_pass == 0),
            token.closes.eq((chunk_pass == config.passes - 1) | token.emits),
            token.starts.eq(first_chunk),
            token.emits.eq(k_left <= config.rows),
            token.last.eq(index == last_index),
        ]
        with m.If(load.valid):
            m.d.sync += weight_row.eq(weight_row + 1)
            with m.If(weight_row == config.rows - 1):
                m.d.sync += [weight_row.eq(0), loaded.eq(1)]
        with m.If(token.valid):
            m.d.sync += index.eq(index + 1)
            with m.If(first):
                m.d.sync += loaded.eq(0)
            with m.If(token.last):
                m.d.sync += [index.eq(0), k_left.eq(k_left - config.rows)]
                m.d.sync += chunk_pass.eq(chunk_pass + 1)
                with m.If(token.closes):
                    m.d.sync += [chunk_pass.eq(0), first_chunk.eq(0)]
                with m.If(token.emits):
                    m.d.sync += busy.eq(0)
        with m.If(self.job.valid & self.job.ready):
            m.d.sync += [busy.eq(1), k_left.eq(job.k), last_index.eq(job.m_rows - 1), first_chunk.eq(1)]
            m.d.sync += [register.eq(job[name]) for name, register in self._registers.items()]
        if self._random:
            self._connect_halves(m, token, load, last_index)
        if "first" in token.shape().members:
            m.d.comb += [token.first.eq(first), token.outer.eq(self._row_halves.outer)]
        self._first = first
        return load, token

    def _may_load(self, m: Module, first: Value) -> Value:
        """The weights in use, or on their way to it, do not stand where the next ones are loaded."""
        wait = Signal(range(self.timing.weight_wait))
        with m.If(first):
            m.d.sync += wait.eq(self.timing.weight_wait - 1)
        with m.Elif(self._en & (wait != 0)):
            m.d.sync += wait.eq(wait - 1)
        return wait == 0

    def _may_add(self, m: Module, token: data.View, last_index: Value) -> Value:
        """The partial sum that a vector adds to is stored.

        It is that of ``m_rows`` vectors ago. With fewer than that many in the last ``sum_wait - 1`` cycles,
        it went in before these.
        """
        if self.config.passes == 1:
            return Const(1)
        window, count = Signal(self.timing.sum_wait - 1), Signal(range(self.timing.sum_wait))
        with m.If(self._en):
            m.d.sync += [
                window.eq(Cat(token.valid, window[:-1])),
                count.eq(count + token.valid - window[-1]),
            ]
        return count <= last_index

    def _settled(self, m: Module, token: data.View) -> Value:
        """What a job may change is at rest."""
        if not self._registers:
            return Const(1)
        # Enabled cycles until the vector that entered last has left the foot of the last column.
        in_flight = Signal(range(self.timing.latency - 1))
        with m.If(token.valid):
            m.d.sync += in_flight.eq(self.timing.latency - 2)
        with m.Elif(self._en & (in_flight != 0)):
            m.d.sync += in_flight.eq(in_flight - 1)
        if self._random:
            return (in_flight == 0) & ~token.valid
        changes = [self.job.payload[name] != register for name, register in self._registers.items()]
        return ((in_flight == 0) & ~token.valid) | ~Cat(changes).any()

    def _weights_due(self, m: Module, load: data.View, weight_row: Value) -> Value:
        """The job has passes whose weights are not yet in: random words tell its weights from others'."""
        k_left = Signal(K_BITS)
        with m.If(load.valid & (weight_row == self.config.rows - 1)):
            m.d.sync += k_left.eq(Mux(k_left > self.config.rows, k_left - self.config.rows, 0))
        with m.If(self.job.valid & self.job.ready):
            m.d.sync += k_left.eq(self.job.payload.k)
        return k_left != 0

    def _connect_halves(self, m: Module, token: data.View, load: data.View, last_index: Value) -> None:
        for halves, taken in ((self._row_halves, token.valid), (self._column_halves, load.valid)):
            m.d.comb += [halves.start.eq(self.job.valid & self.job.ready), halves.taken.eq(taken)]
            m.d.comb += [
                getattr(halves, name).eq(register)
                for name, register in self._registers.items()
                if name in halves.signature.members
            ]
        m.d.comb += self._row_halves.last_index.eq(last_index)

    def _columns(self, m: Module, load: data.View, token: data.View) -> data.View:
        """The columns side by side; gives the token that leaves the foot of the last."""
        x = Cat(
            self._delayed(
                m, self._activation(row), 1 + row * self.timing.acc_latency, f"x_{row}", reset_less=True
            )
            for row in range(self.config.rows)
        )
        swaps = [self._first]
        for row in range(1, self.config.rows):
            swaps.append(self._delayed(m, swaps[-1], self.timing.acc_latency, f"swap_{row}", reset_less=True))
        swap = Cat(swaps)
        top = self._delayed(m, token, self.timing.acc_lag, "top")
        foot = self._delayed(m, top, self.config.rows * self.timing.acc_latency, "foot")
        for i, column in enumerate(self.columns):
            m.submodules[f"column_{i}"] = column
            weight = self._delayed(m, self._weight(i), i, f"weight_{i}", reset_less=True)
            m.d.comb += [
                column.en.eq(self._en),
                column.x.eq(x),
                column.swap.eq(swap),
                Value.cast(column.weight).eq(weight),
                column.load.eq(load),
                column.foot.eq(foot),
            ]
            if column.outer_bits is not None:
                half = self._delayed(m, self._column_halves.outer[i], i, f"outer_{i}", reset_less=True)
                m.d.comb += column.outer_half.eq(half)
            m.d.comb += [getattr(column, name).eq(self._registers[name]) for name in self._offsets]
            x, swap, load, foot = column.x_right, column.swap_right, column.load_right, column.foot_right
            if self.config.passes > 1:
                m.d.comb += column.top.eq(top)
                top = column.top_right
        return foot

    def _activation(self, row: int) -> Value:
        """As :func:`hw.column.activation_layout` says."""
        return self._operand(self.activations.payload, activation_layout(self.config), "row", row)

    def _weight(self, column: int) -> Value:
        """As :func:`hw.column.weight_layout` says."""
        return self._operand(self.weights.payload, weight_layout(self.config), "column", column)

    def _operand(self, codes: data.View, layout: data.StructLayout, side: str, i: int) -> Value:
        """A code and its halves of random words."""
        return Cat(
            codes[i] if name == "code" else getattr(getattr(self, f"_{side}_halves"), name)[i]
            for name, _ in layout
        )

    def _delayed(self, m: Module, word: Value, cycles: int, name: str, *, reset_less: bool = False) -> Value:
        return delayed(m, word, cycles=cycles, en=self._en, reset_less=reset_less, name=name)
