"""A self-checking testbench of a tile in plain Verilog, with its vectors, for whoever has no Python.

It carries out a program of register accesses, sends operands and takes results with pauses, and
compares everything. The expected values are golden's.
"""

from __future__ import annotations

from golden.tile import lane_bits
from hw.tile_product import Beat
from hw.tile_program import Kind, Program

__all__ = ["tile_testbench_text"]


def tile_testbench_text(name: str, program: Program) -> str:
    """Verilog-2005 of module ``name_tb``, which runs a program on module ``name``, a tile."""
    config = program.config
    mac = config.array.silicon.config
    widths = {
        "weights": config.array.cols * lane_bits(mac.w),
        "activations": config.array.rows * lane_bits(mac.x),
        "results": config.array.cols * lane_bits(config.result),
    }
    streams = {stream: getattr(program, stream) for stream in widths}
    contents = [f"    steps[{i}] = 84'h{step:x};\n" for i, step in enumerate(program.steps)]
    for stream, beats in streams.items():
        width = widths[stream]
        contents += [
            f"    {stream}_beats[{i}] = {1 + width // 8 + width}'h{_packed(beat, width):x};\n"
            for i, beat in enumerate(beats)
        ]
    beats = sum(len(each) for each in streams.values())
    # Generous: from a corner of the array to the other, through every register that a MAC may have.
    through = 4 * (config.array.rows + config.array.cols) + 50
    return _TESTBENCH.format(
        name=name,
        **{kind.name: int(kind) for kind in Kind},
        steps=len(program.steps),
        contents="".join(contents),
        senders="".join(
            _SENDER.format(name=stream, width=widths[stream], total=max(1, len(streams[stream])))
            for stream in ("weights", "activations")
        ),
        results=len(program.results),
        results_total=max(1, len(program.results)),
        results_width=widths["results"],
        lane_bytes=lane_bits(config.result) // 8,
        cycles=40 * (beats + len(program.steps)) + (10 + len(program.results)) * through,
        quiet=through,
    )


def _packed(beat: Beat, width: int) -> int:
    return beat.last << (width + width // 8) | beat.keep << width | beat.data


#: Once ``tvalid`` is up, it waits for ``tready``.
_SENDER = """
  reg [{width} + {width}/8:0] {name}_beats [0:{total}-1];
  reg [{width}-1:0] {name}_tdata = 0;
  reg [{width}/8-1:0] {name}_tkeep = 0;
  reg {name}_tlast = 0;
  reg {name}_tvalid = 0;
  wire {name}_tready;
  integer {name}_count = 0; // offered
  integer {name}_limit = 0;
  always @(posedge aclk)
    if (give_up) begin
      {name}_tvalid <= 0;
      {name}_count <= {name}_limit;
    end else if (aresetn && (!{name}_tvalid || {name}_tready)) begin
      if ({name}_count < {name}_limit && (!pauses || $random % 3 != 0)) begin
        {{{name}_tlast, {name}_tkeep, {name}_tdata}} <= {name}_beats[{name}_count];
        {name}_tvalid <= 1;
        {name}_count <= {name}_count + 1;
      end else {name}_tvalid <= 0;
    end
"""

_TESTBENCH = """\
// Self-checking testbench of {name}, with its vectors. Verilog-2005.
// Prints PASS and ends with status 0, or FAIL and ends, through $stop, with another status.
// {name}_README.md has the commands.

module {name}_tb;
  reg aclk = 0;
  reg aresetn = 0;
  always #5 aclk = !aclk;

  reg [11:0] awaddr = 0;
  reg awvalid = 0;
  wire awready;
  reg [31:0] wdata = 0;
  reg wvalid = 0;
  wire wready;
  wire [1:0] bresp;
  wire bvalid;
  reg bready = 0;
  reg [11:0] araddr = 0;
  reg arvalid = 0;
  wire arready;
  wire [31:0] rdata;
  wire [1:0] rresp;
  wire rvalid;
  reg rready = 0;
  wire irq;
  reg pauses = 0;
  reg give_up = 0;
  reg ignore = 0;
{senders}
  wire [{results_width}-1:0] results_tdata;
  wire [{results_width}/8-1:0] results_tkeep;
  wire results_tlast, results_tvalid;
  reg results_tready = 0;

  {name} dut (
    .aclk(aclk), .aresetn(aresetn), .irq(irq),
    .s_axi_awaddr(awaddr), .s_axi_awprot(3'b0), .s_axi_awvalid(awvalid), .s_axi_awready(awready),
    .s_axi_wdata(wdata), .s_axi_wstrb(4'hf), .s_axi_wvalid(wvalid), .s_axi_wready(wready),
    .s_axi_bresp(bresp), .s_axi_bvalid(bvalid), .s_axi_bready(bready),
    .s_axi_araddr(araddr), .s_axi_arprot(3'b0), .s_axi_arvalid(arvalid), .s_axi_arready(arready),
    .s_axi_rdata(rdata), .s_axi_rresp(rresp), .s_axi_rvalid(rvalid), .s_axi_rready(rready),
    .s_axis_weights_tdata(weights_tdata), .s_axis_weights_tkeep(weights_tkeep),
    .s_axis_weights_tlast(weights_tlast), .s_axis_weights_tvalid(weights_tvalid),
    .s_axis_weights_tready(weights_tready),
    .s_axis_activations_tdata(activations_tdata), .s_axis_activations_tkeep(activations_tkeep),
    .s_axis_activations_tlast(activations_tlast), .s_axis_activations_tvalid(activations_tvalid),
    .s_axis_activations_tready(activations_tready),
    .m_axis_results_tdata(results_tdata), .m_axis_results_tkeep(results_tkeep),
    .m_axis_results_tlast(results_tlast), .m_axis_results_tvalid(results_tvalid),
    .m_axis_results_tready(results_tready)
  );

  integer wrong_results = 0;
  integer wrong_steps = 0;
  wire [31:0] failures = wrong_results + wrong_steps;
  integer cycles = 0;
  reg ended = 0;

  // Every result is compared, in the lanes that are kept; one that waits must not change.
  reg [{results_width} + {results_width}/8:0] results_beats [0:{results_total}-1];
  integer results_count = 0;
  reg [31:0] results_limit = 32'hffffffff;
  reg waited = 0;
  reg [{results_width} + {results_width}/8:0] held = 0;
  wire [{results_width} + {results_width}/8:0] result = {{results_tlast, results_tkeep, results_tdata}};
  reg [{results_width} + {results_width}/8:0] expected;
  reg [{results_width}-1:0] kept;
  integer i;
  always @(posedge aclk) begin
    results_tready <= (!pauses || $random % 3 != 0)
                      && (ignore || results_count + (results_tvalid && results_tready) < results_limit);
    waited <= aresetn && results_tvalid && !results_tready && !ignore;
    held <= result;
    if (waited && aresetn && (!results_tvalid || result !== held)) begin
      $display("{name}: result %0d changed or went away before it was taken", results_count);
      wrong_results = wrong_results + 1;
    end
    if (aresetn && results_tvalid && results_tready && !ignore) begin
      if (results_count >= {results}) begin
        $display("{name}: a result too many: %h", result);
        wrong_results = wrong_results + 1;
      end else begin
        expected = results_beats[results_count];
        for (i = 0; i < {results_width}; i = i + 1) kept[i] = expected[{results_width} + i / 8];
        if (result[{results_width} + {results_width}/8:{results_width}]
            !== expected[{results_width} + {results_width}/8:{results_width}]
            || (results_tdata & kept) !== (expected[{results_width}-1:0] & kept)) begin
          $display("{name}: result %0d: got %h, expected %h", results_count, result, expected);
          wrong_results = wrong_results + 1;
        end
      end
      results_count = results_count + 1;
    end
  end

  // The program, a step after the other.
  reg [83:0] steps [0:{steps}-1];
  integer step = 0;
  integer waiting = 0;
  reg asked = 0;
  wire [83:0] now = steps[step < {steps} ? step : 0];
  wire [3:0] kind = now[83:80];
  wire [1:0] response = now[77:76];
  wire [11:0] address = now[75:64];
  wire [31:0] data = now[63:32];
  wire [31:0] mask = now[31:0];
  always @(posedge aclk)
    if (!aresetn) aresetn <= cycles >= 4;
    else if (!ended && step < {steps})
      case (kind)
        {WRITE}: // see that it is taken, or refused
          if (!asked) begin
            awaddr <= address;
            awvalid <= 1;
            wdata <= data;
            wvalid <= 1;
            bready <= 1;
            asked <= 1;
          end else begin
            if (awready) awvalid <= 0;
            if (wready) wvalid <= 0;
            if (bvalid) begin
              bready <= 0;
              asked <= 0;
              step <= step + 1;
              if (bresp !== response) begin
                $display("{name}: step %0d, write of %h to %h: response %b, expected %b", step, data, address,
                         bresp, response);
                wrong_steps <= wrong_steps + 1;
              end
            end
          end
        {READ}, {POLL}: // compare; or read again until it is so
          if (!asked) begin
            araddr <= address;
            arvalid <= 1;
            rready <= 1;
            asked <= 1;
          end else begin
            if (arready) arvalid <= 0;
            if (rvalid) begin
              rready <= 0;
              asked <= 0;
              if (kind == {READ} || ((rdata ^ data) & mask) === 0) step <= step + 1;
              if (kind == {READ} && (rresp !== response || ((rdata ^ data) & mask) !== 0)) begin
                $display("{name}: step %0d, read of %h: %h with response %b, expected %h (mask %h) and %b",
                         step, address, rdata, rresp, data, mask, response);
                wrong_steps <= wrong_steps + 1;
              end
            end
          end
        {SENT}: // all operands that may be sent are taken
          if (weights_count == weights_limit && !weights_tvalid
              && activations_count == activations_limit && !activations_tvalid) step <= step + 1;
        {RESULTS}: // so many results are taken
          if (results_count >= data) step <= step + 1;
        {PAUSE}:
          if (waiting < data) waiting <= waiting + 1;
          else begin
            waiting <= 0;
            step <= step + 1;
          end
        default: begin
          step <= step + 1;
          if (kind == {ALLOW_WEIGHTS}) weights_limit <= data;
          if (kind == {ALLOW_ACTIVATIONS}) activations_limit <= data;
          if (kind == {HOLD}) results_limit <= data;
          if (kind == {PAUSES}) pauses <= data[0];
          if (kind == {GIVE_UP}) give_up <= data[0];
          if (kind == {IGNORE}) ignore <= data[0];
          if (kind == {RESET}) aresetn <= 0;
          if (kind == {IRQ} && irq !== data[0]) begin
            $display("{name}: step %0d, irq is %b", step, irq);
            wrong_steps <= wrong_steps + 1;
          end
        end
      endcase

  // The verdict, when all is done and nothing more comes, or when it takes too long.
  integer quiet = 0;
  always @(posedge aclk) begin
    cycles <= cycles + 1;
    if (step == {steps}) quiet <= quiet + 1;
    if (!ended && (quiet == {quiet} || cycles == {cycles})) begin
      ended <= 1;
      if (failures == 0 && results_count == {results} && quiet == {quiet}) begin
        $display("PASS: {name}, {results} beats of results, %0d cycles", cycles);
        $finish;
      end else begin
        $display("FAIL: {name}, in step %0d of {steps}: %0d of {results} beats of results came, %0d errors",
                 step, results_count, failures);
        $stop;
      end
    end
  end

  initial begin
{contents}  end
endmodule
"""
