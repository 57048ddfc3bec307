"""Testbenches: the generated Verilog under Verilator against the golden model."""
