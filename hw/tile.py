"""The tile: a systolic array behind AXI4-Stream and AXI4-Lite, for whole matrix products."""

from __future__ import annotations

from amaranth import Cat, ClockDomain, DomainRenamer, Module, Mux, Signal, Value
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from golden.config import FixedFormat
from golden.tile import TileConfig, lane_bits
from hw.array import SystolicArray
from hw.axi import (
    AxiLite,
    RegisterSlice,
    axi_lite_ports,
    axi_stream_ports,
    extended,
    lanes,
    masked_codes,
)
from hw.output_pipeline import OutputChannels, OutputPipeline
from hw.register_file import RegisterFile
from hw.registers import key_names, register_map
from hw.tile_control import ERRORS, ChunkCounter, TileControl, saturating_count
from hw.tile_walk import BeatWalk, BlockWalk

__all__ = ["Tile"]

_WEIGHTS, _ACTIVATIONS, _RESULTS = "s_axis_weights", "s_axis_activations", "m_axis_results"


class Tile(wiring.Component):
    """Multiplies whole matrices, a[M, K] @ b[K, N], bit for bit; see docs/tile.md.

    M is cut into blocks of ``depth`` rows, N into tiles of ``cols`` columns, K into passes of ``rows``
    products; operands come in the order in which the array takes them, and results leave in that order.
    Every AXI output is a register. The arithmetic is that of :func:`golden.arith.dot`, then
    :func:`golden.output.output`.

    Parameters
    ----------
    config : TileConfig
        The array and the output stage.

    Attributes
    ----------
    array : SystolicArray
        Inside.
    registers : tuple of Register
        The register map.

    Members
    -------
    aclk, aresetn : In(1)
        Clock, rising edge; reset, synchronous, active low.
    irq : Out(1)
        A register; see the register INTERRUPT.
    s_axi_* : AXI4-Lite
        The registers.
    s_axis_weights_*, s_axis_activations_* : AXI4-Stream
        Operands.
    m_axis_results_* : AXI4-Stream
        Results.
    """

    def __init__(self, config: TileConfig):
        self.config = config
        self.array = SystolicArray(config.array)
        self.registers = register_map(config)
        mac = config.array.silicon.config
        self._w_lane, self._x_lane = lane_bits(mac.w), lane_bits(mac.x)
        self._result_lane = lane_bits(config.result)
        rows, cols = config.array.rows, config.array.cols
        super().__init__(
            {"aclk": In(1), "aresetn": In(1), "irq": Out(1)}
            | axi_lite_ports("s_axi_")
            | axi_stream_ports(_WEIGHTS, cols * self._w_lane, source=False)
            | axi_stream_ports(_ACTIVATIONS, rows * self._x_lane, source=False)
            | axi_stream_ports(_RESULTS, cols * self._result_lane, source=True)
        )

    def elaborate(self, platform):
        m = Module()
        # Two domains of one clock: `sync` is what software sees; `core` is emptied by a flush, too.
        m.domains.sync, m.domains.core = sync, core = ClockDomain("sync"), ClockDomain("core")
        m.submodules.control = control = TileControl(self.config)
        m.d.comb += [
            sync.clk.eq(self.aclk),
            core.clk.eq(self.aclk),
            sync.rst.eq(~self.aresetn),
            core.rst.eq(~self.aresetn | control.flush),
        ]
        m.submodules.array = DomainRenamer("core")(self.array)

        self.file = self._registers(m, control)
        self._jobs(m, control)
        self._weights(m, control)
        self._activations(m, control)
        self._results(m, control)
        return m

    def _registers(self, m: Module, control: TileControl) -> RegisterFile:
        m.submodules.axi_lite = axi = AxiLite()
        m.submodules.registers = file = RegisterFile(self.registers)
        wiring.connect(m, axi.bus, file.bus)
        for name, member in axi_lite_ports().items():
            port, inner = getattr(self, f"s_axi_{name}"), getattr(axi, name)
            m.d.comb += inner.eq(port) if member.flow == In else port.eq(inner)
        m.d.comb += [
            control.start.eq(file.control_start),
            control.clear.eq(file.control_clear),
            control.m.eq(file.m),
            control.n.eq(file.n),
            control.k.eq(file.k),
            file.busy.eq(control.busy),
            file.status_busy.eq(control.busy),
            file.status_halted.eq(control.halted),
            file.set_status_done.eq(control.done),
            file.unset_status_done.eq(control.begins),
        ]
        errors = []
        for name in ERRORS:
            m.d.comb += getattr(file, f"set_status_{name}").eq(getattr(control, name))
            errors.append(getattr(file, f"status_{name}"))
        m.d.comb += file.status_error.eq(Cat(errors).any())
        m.d.sync += self.irq.eq(
            (file.interrupt_done & file.status_done) | (file.interrupt_error & file.status_error)
        )
        m.d.comb += file.cycles.eq(saturating_count(m, control.begins, control.busy, "cycles"))
        return file

    def _jobs(self, m: Module, control: TileControl) -> None:
        """A job of the array for each block."""
        array, file = self.config.array, self.file
        job = self.array.job
        walk = BlockWalk(array)
        m.submodules.jobs_walk = DomainRenamer("core")(walk)
        self._connect_walk(m, control, walk)
        step = job.valid & job.ready
        m.d.comb += [
            job.valid.eq(walk.active),
            walk.step.eq(step),
            job.payload.k.eq(file.k),
            job.payload.m_rows.eq(walk.rows),
        ]
        keys = key_names(self.config)
        for name in ("product_offset", "acc_offset", "outer_offset", *keys):
            if name in job.payload.shape().members:
                m.d.comb += job.payload[name].eq(getattr(file, name))
        if not keys:
            return
        row, column = Signal(32, name="m_first"), Signal(32, name="n_first")
        with m.If(control.begins):
            m.d.sync += [row.eq(file.m_base), column.eq(file.n_base)]
        with m.Elif(step):
            m.d.sync += row.eq(row + array.depth)
            with m.If(walk.last_of_tile):
                m.d.sync += [row.eq(file.m_base), column.eq(column + array.cols)]
        m.d.comb += [job.payload.m_base.eq(row), job.payload.n_base.eq(column)]

    def _weights(self, m: Module, control: TileControl) -> None:
        array, code_bits = self.config.array, self.config.array.silicon.config.w.code_bits
        walk = BeatWalk(array, beats=array.rows)
        m.submodules.weights_walk = DomainRenamer("core")(walk)
        taken = self._operand(
            m, control, walk, self.array.weights, _WEIGHTS, array.cols, self._w_lane, code_bits
        )
        m.d.comb += control.weights_wrong.eq(taken)

    def _activations(self, m: Module, control: TileControl) -> None:
        array, code_bits = self.config.array, self.config.array.silicon.config.x.code_bits
        walk = BeatWalk(array, beats=None)
        m.submodules.activations_walk = DomainRenamer("core")(walk)
        wrong = self._operand(
            m, control, walk, self.array.activations, _ACTIVATIONS, array.rows, self._x_lane, code_bits
        )
        m.submodules.chunk_counter = chunks = ChunkCounter(array)
        m.d.comb += [
            control.activations_wrong.eq(wrong),
            chunks.begins.eq(control.begins),
            chunks.pass_end.eq(walk.step & walk.last_of_pass),
            chunks.block_end.eq(walk.step & walk.last_of_block),
            self.file.chunks.eq(chunks.count),
        ]

    def _operand(self, m, control, walk: BeatWalk, into, name: str, count: int, lane: int, code_bits: int):
        """A stream of operands into the array; gives whether a beat's tlast is wrong."""
        m.submodules[f"{name}_slice"] = slice_ = RegisterSlice(lanes(count, lane), withdraws=True)
        self._connect_walk(m, control, walk)
        beat = slice_.o.payload
        m.d.comb += [
            slice_.i.valid.eq(getattr(self, f"{name}_tvalid")),
            slice_.i.payload.tdata.eq(getattr(self, f"{name}_tdata")),
            slice_.i.payload.tkeep.eq(getattr(self, f"{name}_tkeep")),
            slice_.i.payload.tlast.eq(getattr(self, f"{name}_tlast")),
            getattr(self, f"{name}_tready").eq(slice_.i.ready),
            slice_.clear.eq(control.flush),
            into.valid.eq(slice_.o.valid & walk.active),
            Value.cast(into.payload).eq(Cat(masked_codes(beat, count, lane, code_bits))),
            # Halted, the sender is let run to its end.
            slice_.o.ready.eq((into.ready & walk.active) | control.halted),
            walk.k.eq(self.file.k),
            walk.step.eq(into.valid & into.ready),
        ]
        return walk.step & (beat.tlast != walk.last)

    def _connect_walk(self, m: Module, control: TileControl, walk: BlockWalk | BeatWalk) -> None:
        m.d.comb += [walk.start.eq(control.begins), walk.m.eq(self.file.m), walk.n.eq(self.file.n)]

    def _results(self, m: Module, control: TileControl) -> None:
        cols, results = self.config.array.cols, self.array.results
        walk = BlockWalk(self.config.array)
        m.submodules.results_walk = DomainRenamer("core")(walk)
        self._connect_walk(m, control, walk)
        taken = results.valid & results.ready
        keep = Signal(cols)
        m.d.comb += [
            walk.step.eq(taken & results.payload.last),
            keep.eq(Cat(i < walk.cols for i in range(cols))),
        ]
        if self.config.array.events:
            for event in ("overflow", "underflow"):
                which = Mux(taken, getattr(results.payload, event) & keep, 0)
                self._count_event(m, control, which, event)

        shape = data.StructLayout({"keep": cols, "last": 1})
        beside = Cat(keep, results.payload.last & walk.last)
        slice_ = RegisterSlice(lanes(cols, self._result_lane), withdraws=False)
        m.submodules[f"{_RESULTS}_slice"] = slice_
        if self.config.output is None:
            m.d.comb += [slice_.i.valid.eq(results.valid), results.ready.eq(slice_.i.ready)]
            codes = results.payload.codes
        else:
            pipeline = self._output(m, control, walk, beside, shape)
            m.d.comb += [
                slice_.i.valid.eq(pipeline.o.valid),
                pipeline.o.ready.eq(slice_.i.ready),
            ]
            codes, beside = pipeline.o.payload.codes, pipeline.o.payload.beside.as_value()
            which = Mux(slice_.i.valid & slice_.i.ready, pipeline.o.payload.overflow & beside[:cols], 0)
            self._count_event(m, control, which, "output_overflow")
        self._send(m, control, slice_, codes, beside)

    def _output(self, m: Module, control, walk: BlockWalk, beside: Value, shape) -> OutputPipeline:
        """The output stage and its parameters."""
        file, results = self.file, self.array.results
        m.submodules.channels = channels = OutputChannels(self.config)
        pipeline = OutputPipeline(self.config, shape)
        m.submodules.output = DomainRenamer("core")(pipeline)
        bias = file.bus.write_data[: self.config.outer.format.code_bits]
        if hasattr(file, "channel_bias_high"):
            bias = Cat(bias, file.channel_bias_high)
        entry = {"bias": bias}
        if self.config.output.multiplier_bits is not None:
            entry |= {"multiplier": file.channel_multiplier, "shift": file.channel_shift}
        m.d.comb += [channels.entry[name].eq(value) for name, value in entry.items()]
        m.d.comb += [
            file.channel.eq(channels.channel),
            file.refuse.eq(channels.full),
            channels.push.eq(file.channel_bias),
            channels.rewind.eq(file.rewind_channel),
            channels.start.eq(control.begins),
            channels.next_tile.eq(walk.step & walk.last_of_tile),
            pipeline.tile.eq(channels.tile),
            pipeline.relu.eq(file.relu),
            pipeline.offset.eq(file.output_offset),
            pipeline.i.valid.eq(results.valid),
            results.ready.eq(pipeline.i.ready),
            pipeline.i.payload.codes.eq(results.payload.codes),
            pipeline.i.payload.beside.eq(beside),
        ]
        return pipeline

    def _send(self, m: Module, control: TileControl, slice_: RegisterSlice, codes, beside: Value) -> None:
        """Codes into lanes, and the last register."""
        cols, lane = self.config.array.cols, self._result_lane
        signed = isinstance(self.config.result, FixedFormat) and self.config.result.signed
        valid, ready = slice_.o.valid, getattr(self, f"{_RESULTS}_tready")
        # A beat that was on offer when the rest was flushed belongs to no product any more.
        stale = Signal()
        taken = valid & ready
        with m.If(taken):
            m.d.sync += stale.eq(0)
        with m.Elif(control.flush & valid):
            m.d.sync += stale.eq(1)
        m.d.comb += [
            slice_.clear.eq(control.flush),
            slice_.i.payload.tdata.eq(Cat(extended(codes[i], lane, signed=signed) for i in range(cols))),
            slice_.i.payload.tkeep.eq(Cat(beside[i].replicate(lane // 8) for i in range(cols))),
            slice_.i.payload.tlast.eq(beside[cols]),
            slice_.o.ready.eq(ready),
            getattr(self, f"{_RESULTS}_tvalid").eq(valid),
            getattr(self, f"{_RESULTS}_tdata").eq(slice_.o.payload.tdata),
            getattr(self, f"{_RESULTS}_tkeep").eq(slice_.o.payload.tkeep),
            getattr(self, f"{_RESULTS}_tlast").eq(slice_.o.payload.tlast),
            control.finished.eq(taken & slice_.o.payload.tlast & ~stale),
        ]
        counted = taken & ~stale & control.busy
        m.d.comb += self.file.result_beats.eq(saturating_count(m, control.begins, counted, "result_beats"))

    def _count_event(self, m: Module, control: TileControl, which: Value, name: str) -> None:
        """Sticky flag and counter of an event that befell these columns in this cycle."""
        cols = self.config.array.cols
        flags, count = Signal(cols, name=f"{name}_flags"), Signal(range(cols + 1), name=f"{name}_now")
        m.d.core += [flags.eq(which), count.eq(sum(flags[i] for i in range(cols)))]
        total = saturating_count(m, control.begins, count, f"{name}s")
        m.d.comb += [
            getattr(self.file, f"set_status_{name}").eq(which.any()),
            getattr(self.file, f"{name}s").eq(total),
        ]
