"""Calibration without training: biases, chunk, gains and tapered weights from a law.

docs/calibration.md derives the law; ``python -m sim.calibration`` measures what it is good for. What users
call is in :mod:`sim.calibration.rule` and :mod:`sim.calibration.compensation`.
"""

from sim.calibration.page import figures, headline, section

__all__ = ["figures", "headline", "section"]
