"""Sweeps: a declared space of design points, cost and accuracy computed once each and kept in a store.

``python -m sim.sweep SPACE.toml``; docs/sweep.md says how a space is declared.
"""
