"""Mixed widths: a configuration for each layer, from a TOML file of patterns or found for an area."""

from sim.mixed.results import section

__all__ = ["section"]
