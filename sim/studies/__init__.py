"""Studies: a question each, answered on the project's own arithmetic by ``python -m sim.studies NAME``."""

from __future__ import annotations

from importlib import import_module

from golden.config import ConfigError
from sim.studies.study import Study

__all__ = ["NAMES", "find_study"]

#: In the order in which the page over them tells of them.
NAMES = ("chunk", "depth", "symmetry", "denoiser")


def find_study(name: str) -> Study:
    """The study of that name; ConfigError for another."""
    if name not in NAMES:
        raise ConfigError(f"there is no study called {name!r}; use {', '.join(NAMES)}")
    return import_module(f"sim.studies.{name}").STUDY
