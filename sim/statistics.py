"""Intervals for figures that were measured on the same items, and rank correlation."""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import norm, rankdata

__all__ = ["paired_decibel_interval", "paired_interval", "paired_spearman_interval", "spearman"]


def paired_interval(a: np.ndarray, b: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """Interval for the accuracy of ``a`` minus that of ``b``, right or wrong image by image: bool[n] each.

    Score intervals joined by the square-and-add rule with the correlation of the pairs: method 10 of
    R. G. Newcombe, Statistics in Medicine 17 (1998) 2635-2650. Unlike the normal approximation it keeps
    its width where the two never differ.
    """
    if len(a) != len(b) or len(a) == 0:
        raise ValueError(f"two answers for the same images are needed, not {len(a)} and {len(b)}")
    n = len(a)
    both, only_a, only_b = int((a & b).sum()), int((a & ~b).sum()), int((~a & b).sum())
    neither = n - both - only_a - only_b
    z = float(norm.ppf(0.5 + confidence / 2))
    p_a, p_b = (both + only_a) / n, (both + only_b) / n
    (low_a, high_a), (low_b, high_b) = _wilson(p_a, n, z), _wilson(p_b, n, z)

    scale = math.sqrt((both + only_a) * (only_b + neither) * (both + only_b) * (only_a + neither))
    excess = both * neither - only_a * only_b
    if excess > 0:
        excess = max(excess - n / 2, 0)
    correlation = excess / scale if scale else 0.0

    def spread(one: float, other: float) -> float:
        return math.sqrt(max(0.0, one**2 - 2 * correlation * one * other + other**2))

    difference = p_a - p_b
    return (
        difference - spread(p_a - low_a, high_b - p_b),
        difference + spread(high_a - p_a, p_b - low_b),
    )


def _wilson(p: float, n: int, z: float) -> tuple[float, float]:
    """Score interval of one proportion."""
    center = p + z * z / (2 * n)
    half = z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (center - half) / (1 + z * z / n), (center + half) / (1 + z * z / n)


def paired_decibel_interval(a: np.ndarray, b: np.ndarray, confidence: float = 0.95) -> tuple[float, float]:
    """Interval for 10 log10(mean(b) / mean(a)): by how many dB the PSNR of ``a`` is above that of ``b``.

    ``a`` and ``b`` are positive squared errors of the same images, float[n]. The delta method: the logarithm
    of a ratio of means has the variance of mean(a_i / mean(a) - b_i / mean(b)), so what both share drops
    out. Equal errors give an interval without width.
    """
    if len(a) != len(b) or len(a) < 2:
        raise ValueError(f"two errors for each of the same images are needed, not {len(a)} and {len(b)}")
    difference = -10 * math.log10(a.mean() / b.mean())
    spread = float((a / a.mean() - b / b.mean()).std(ddof=1)) / math.sqrt(len(a))
    half = 10 / math.log(10) * float(norm.ppf(0.5 + confidence / 2)) * spread
    return difference - half, difference + half


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    """Spearman's rank correlation of float[n] and float[n]; 0 where one of them is constant."""
    return float(_rank_correlation(np.asarray(a)[None], np.asarray(b)[None])[0])


def paired_spearman_interval(
    a: np.ndarray,
    b: np.ndarray,
    truth: np.ndarray,
    *,
    seed: int,
    resamples: int = 2000,
    confidence: float = 0.95,
) -> tuple[float, float]:
    """Interval for Spearman of ``a`` with ``truth`` minus that of ``b``, all for the same items: float[n].

    Percentiles of the difference over items drawn with replacement, the same ones for both.
    """
    if not len(a) == len(b) == len(truth) or len(a) == 0:
        raise ValueError(f"three numbers for each item are needed, not {len(a)}, {len(b)} and {len(truth)}")
    generator = np.random.default_rng(seed)
    differences = []
    for _ in range(0, resamples, 100):  # in parts, since ranks take memory
        picked = generator.integers(len(a), size=(100, len(a)))
        wanted = truth[picked]
        differences.append(_rank_correlation(a[picked], wanted) - _rank_correlation(b[picked], wanted))
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(differences)[:resamples], (tail, 1 - tail))
    return float(low), float(high)


def _rank_correlation(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Spearman of each row: float[r, n], float[r, n] -> float[r]."""
    ranks = [rankdata(each, axis=1) for each in (a, b)]
    ranks = [each - each.mean(1, keepdims=True) for each in ranks]
    covariance = (ranks[0] * ranks[1]).sum(1)
    scale = np.sqrt((ranks[0] ** 2).sum(1) * (ranks[1] ** 2).sum(1))
    return np.divide(covariance, scale, out=np.zeros_like(scale), where=scale > 0)
