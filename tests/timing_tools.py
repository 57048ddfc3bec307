"""What tests of timing need and may not have."""

import pytest

from hw.cost import opensta
from hw.cost.technologies import TECHNOLOGIES, find_technology, locate

__all__ = ["need_timer", "technology"]


def need_timer():
    """Skip where OpenSTA is missing."""
    if opensta.opensta() is None:
        pytest.skip("no program: OpenSTA is not installed")


def technology(name):
    """The named library, or a skip where it is not on this machine."""
    if any(locate(file) is None for file in TECHNOLOGIES[name].files):
        pytest.skip(f"no data set: the Liberty files of {name} are not on this machine")
    return find_technology(name)
