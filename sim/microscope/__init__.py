"""The microscope: where a network's accumulators overflow, underflow, swamp, and go wrong.

``profile(model, inputs, "e5m10").write(folder)`` looks at a model; from the shell it is
``python -m sim.microscope``.
"""

from sim.microscope.profiling import DEFAULTS, Profile, Settings, profile, profile_workload

__all__ = ["DEFAULTS", "Profile", "Settings", "profile", "profile_workload"]
