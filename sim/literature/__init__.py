"""Our multiply-accumulates beside published ones, at one clock: ``python -m sim.literature``."""
