// A weight-stationary processing element in the manner of Gemmini (Genc et al., DAC 2021), restated from its
// description with int8 operands and partial sums of 20 bits, which wrap. Two weights: one works while the
// other is loaded, and `propagate` says which. Its activation goes on through a register of the array.
module mac(clk, en, x, acc, w, propagate, result);
  input clk;
  input en;
  input [7:0] x;
  input [19:0] acc;
  input [7:0] w;
  input propagate;
  output [19:0] result;
  reg signed [7:0] first;
  reg signed [7:0] second;
  reg signed [19:0] result;
  wire signed [7:0] weight = propagate ? second : first;
  always @(posedge clk)
    if (en) begin
      if (propagate) first <= w;
      else second <= w;
      result <= $signed(acc) + $signed(x) * weight;
    end
endmodule
