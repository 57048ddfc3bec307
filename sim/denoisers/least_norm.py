"""The least weight decay of all networks that interpolate given samples, by convex programs: no closed form.

With |w_k| = 1 the weight decay of a balanced network is sum(|a_k|), which is linear in one output and a cone
in more. Between two samples' projections on w a bias changes a neuron linearly on all samples, so biases at
samples are enough.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.optimize import linprog
from torch import Tensor

from golden.config import ConfigError
from sim.denoisers.network import ReluNetwork

__all__ = ["least_norm_bound", "least_norm_line"]

_TOLERANCE = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}

#: A cut is kept for so many programs after it was last within this share of being met.
_IDLE, _TIGHT = 15, 0.01


def least_norm_line(samples: Tensor, targets: Tensor) -> ReluNetwork:
    """The network of least cost with f(samples) = targets, both float64 [n]: a linear program (HiGHS)."""
    y, x = samples.numpy(), targets.numpy()
    rising = np.maximum(y[:, None] - y, 0)
    neurons = np.hstack(
        [rising, rising.T, -rising, -rising.T]
    )  # [samples, neurons], each with both signs of a
    columns = np.hstack([neurons, np.ones((len(y), 1))])  # and the bias of the output
    costs = np.append(np.ones(neurons.shape[1]), 0)
    bounds = [(0, None)] * neurons.shape[1] + [(None, None)]
    solved = linprog(costs, A_eq=columns, b_eq=x, bounds=bounds, method="highs", options=_TOLERANCE)
    if solved.status != 0:
        raise ConfigError(f"no network gives these targets ({solved.message}); samples must be distinct")
    amounts = solved.x[:-1].reshape(2, 2, len(y))  # sign of a, sign of w, place
    a = (amounts[0] - amounts[1]).ravel()
    w = np.repeat([1.0, -1.0], len(y))
    used = np.abs(a) > 0
    return ReluNetwork(
        a=torch.tensor(a[used, None]),
        w=torch.tensor(w[used, None]),
        b=torch.tensor(-(w * np.tile(y, 2))[used]),
        c=torch.tensor(solved.x[-1:]),
    )


def least_norm_bound(samples: Tensor, targets: Tensor, *, gap: float, most: int = 300) -> float:
    """A lower bound of the cost of all networks with f(samples) = targets, float64 [n, 2] both.

    The dual of the cone program: the largest sum(l_i . x_i) / max |sum(l_i [w . y_i + b]_+)| over l [n, 2]
    with sum(l_i) = 0, the maximum being over all neurons (w, b), |w| = 1. Any l proves a bound, since in the
    plane the worst neuron is found exactly; l is improved by cutting planes in a box around the best one so
    far, until a step promises less than ``gap``. Where a network of that cost is known, the bound says that
    it is optimal. Raises :class:`ConfigError` if ``most`` linear programs are not enough.
    """
    y, x = samples.numpy(), targets.numpy()
    if y.shape[1] != 2:
        raise ConfigError(
            f"a worst neuron is found exactly in the plane only, not in {y.shape[1]} dimensions"
        )
    n = y.size
    sums = np.zeros((3, n + 1))
    sums[0, 0:n:2] = sums[1, 1:n:2] = 1
    sums[2, :n] = x.ravel()
    wanted = np.array([0.0, 0.0, 1.0])
    center = np.linalg.lstsq(sums[:, :n], wanted, rcond=None)[0]
    sizes, cuts = _violations(y, center.reshape(-1, 2))
    worst, radius, idle = sizes.max(), np.abs(center).max(), np.zeros(len(cuts))
    for _ in range(most):
        solved = linprog(
            np.append(np.zeros(n), 1),
            A_ub=np.hstack([cuts, -np.ones((len(cuts), 1))]),
            b_ub=np.zeros(len(cuts)),
            A_eq=sums,
            b_eq=wanted,
            bounds=[(each - radius, each + radius) for each in center] + [(0, None)],
            method="highs",
            options=_TOLERANCE,
        )
        step, promised = solved.x[:n], solved.fun
        if 1 / promised - 1 / worst < gap:
            return 1 / worst
        sizes, rows = _violations(y, step.reshape(-1, 2))
        idle = np.where(solved.slack < _TIGHT * promised, 0, idle + 1)
        new = sizes > promised
        cuts = np.vstack([cuts[idle < _IDLE], rows[new]])
        idle = np.append(idle[idle < _IDLE], np.zeros(new.sum()))
        gain, hoped = worst - sizes.max(), worst - promised
        if gain > 0.1 * hoped:
            center, worst = step, sizes.max()
        if gain > 0.5 * hoped:
            radius *= 2
        elif gain < -hoped:
            radius *= 0.7
    raise ConfigError(f"{most} linear programs were not enough for a gap of {gap:g}; ask for a larger one")


def _violations(y: np.ndarray, dual: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For the neurons with a sample on their edge, the largest |sum(l_i [w . y_i + b]_+)| for each sample and
    arc.

    w = (cos t, sin t). Between the angles at which another sample crosses the edge the sum is A w, whose
    square is a sinusoid in 2 t, so that its maximum on the arc is exact. Gives sizes [m] and the cuts' rows
    [m, 2 n].
    """
    n = len(y)
    sizes, rows = [], []
    for i in range(n):
        d = np.delete(y, i, axis=0) - y[i]
        crossing = np.arctan2(d[:, 1], d[:, 0])
        ends = np.sort(np.concatenate([crossing + np.pi / 2, crossing - np.pi / 2]) % (2 * np.pi))
        starts, stops = ends, np.append(ends[1:], ends[0] + 2 * np.pi)
        middles = (starts + stops) / 2
        active = np.stack([np.cos(middles), np.sin(middles)], axis=1) @ d.T > 0  # [arcs, n - 1]
        a = np.einsum("tj,jp,jq->tpq", active.astype(float), np.delete(dual, i, axis=0), d)
        gram = np.einsum("tpq,tpr->tqr", a, a)
        peak = 0.5 * np.arctan2(2 * gram[:, 0, 1], gram[:, 0, 0] - gram[:, 1, 1])
        peak += np.pi * np.ceil((starts - peak) / np.pi)  # the first one after the start
        inside = peak <= stops
        choices = np.stack([starts, stops, np.where(inside, peak, middles)], axis=1)  # [arcs, 3]
        w = np.stack([np.cos(choices), np.sin(choices)], axis=2)
        values = np.einsum("tpq,tcq->tcp", a, w)
        lengths = np.linalg.norm(values, axis=2)
        best = lengths.argmax(1)
        arcs = np.arange(len(best))
        largest, direction = lengths[arcs, best], values[arcs, best]
        some = np.argsort(-largest)[: max(4, n // 4)]
        hidden = np.maximum((y - y[i]) @ w[arcs, best][some].T, 0).T  # [some, n]
        unit = direction[some] / np.maximum(largest[some], 1e-300)[:, None]
        sizes.append(largest[some])
        rows.append((hidden[:, :, None] * unit[:, None]).reshape(len(some), 2 * n))
    return np.concatenate(sizes), np.vstack(rows)
