"""The proof of the RTL: a matrix of configurations by methods, run as ``python -m tb.verify``."""
