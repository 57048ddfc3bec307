"""Part ``forms``: are the closed forms the networks of least weight decay, does training find them, and do
they contract?
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from sim.denoisers import (
    ClosedForm,
    least_norm_bound,
    least_norm_line,
    line,
    train_with_weight_decay,
)
from sim.studies.denoiser.setting import SEED, corner_samples, planar

__all__ = ["between", "contraction", "measure"]

_LINE = [-1.0, -0.2, 0.3, 1.0]
_RHO = 0.1
_SAMPLES = 9  # of each cluster of the line
_RING = 12  # of each ball in the plane, for training
_GAP, _QUICK_GAP = 1e-6, 1e-4
_NEURONS = 300
_DECAY = {"line": 1e-6, "equilateral triangle": 1e-5}
_CONTRACTED = 100_000


def _clusters(form: ClosedForm) -> tuple[Tensor, Tensor]:
    offsets = form.rho * torch.linspace(-1, 1, _SAMPLES, dtype=torch.float64)
    return (form.points + offsets).reshape(-1, 1), form.points.repeat_interleave(_SAMPLES, dim=0)


def _rings(form: ClosedForm) -> tuple[Tensor, Tensor]:
    angles = torch.arange(_RING, dtype=torch.float64) * 2 * torch.pi / _RING
    ring = torch.stack([angles.cos(), angles.sin()], dim=1)
    samples = (form.points[:, None] + form.rho * ring).flatten(0, 1)
    return samples, form.points.repeat_interleave(_RING, dim=0)


def between(form: ClosedForm, count: int) -> Tensor:
    """Points in the hull of the clean ones, float64 [count, d]."""
    shares = torch.rand(count, len(form.points), generator=torch.Generator().manual_seed(SEED)).double()
    shares = -shares.clamp(min=1e-300).log()
    return shares / shares.sum(1, keepdim=True) @ form.points


def contraction(form: ClosedForm, y: Tensor) -> dict[str, float]:
    """How many of y [n, d] come nearer to some clean point, or stay as near, and the largest share of that
    distance that is left.
    """
    left, before = torch.cdist(form(y), form.points), torch.cdist(y, form.points)
    nearer = (left <= before * (1 + 1e-12)).any(1)
    ratio = (left / before).min(1).values
    return {"points": len(y), "nearer": int(nearer.sum()), "largest_ratio": float(ratio.max())}


def _box(form: ClosedForm, count: int) -> Tensor:
    """Points anywhere within half a unit around the clean ones."""
    generator = torch.Generator().manual_seed(SEED)
    low, high = form.points.min(0).values - 0.5, form.points.max(0).values + 0.5
    return low + (high - low) * torch.rand(count, form.points.shape[1], generator=generator).double()


def _trained(form: ClosedForm, decay: float, samples: Tensor, targets: Tensor, steps: int) -> dict:
    network = train_with_weight_decay(samples, targets, neurons=_NEURONS, decay=decay, steps=steps, seed=SEED)
    y = between(form, 4000)
    return {
        "decay": decay,
        "neurons": _NEURONS,
        "steps": steps,
        "samples": len(samples),
        "largest_difference": float((network(y) - form(y)).norm(dim=1).max()),
        "cost": network.cost,
        "closed_cost": form.cost,
    }


def measure(quick: bool, report: Callable[[str], None]) -> dict:
    """Costs against convex programs, trained networks, contraction."""
    of_line, in_plane = line(_LINE, _RHO), planar(_RHO)
    samples, targets = _clusters(of_line)
    solved = least_norm_line(samples[:, 0], targets[:, 0])
    y = torch.linspace(-2, 2, 4001, dtype=torch.float64)[:, None]
    result: dict = {
        "rho": _RHO,
        "line": {
            "points": _LINE,
            "samples": len(samples),
            "closed_cost": of_line.cost,
            "program_cost": solved.cost,
            "largest_difference": float((solved(y) - of_line(y)).abs().max()),
            "neurons": len(solved),
        },
        "plane": {},
    }
    for name, form in in_plane.items():
        samples, targets = corner_samples(form)
        bound = least_norm_bound(samples, targets, gap=_QUICK_GAP if quick else _GAP)
        report(f"{name}: {form.cost:.6f}, proved to be at least {bound:.6f}")
        result["plane"][name] = {"samples": len(samples), "closed_cost": form.cost, "bound": bound}
    steps = 1000 if quick else 20_000
    triangle = in_plane["equilateral triangle"]
    result["trained"] = {
        "line": _trained(of_line, _DECAY["line"], *_clusters(of_line), steps),
        "equilateral triangle": _trained(triangle, _DECAY["equilateral triangle"], *_rings(triangle), steps),
    }
    report("trained")
    forms = {"line": of_line, **in_plane}
    result["contraction"] = {
        name: {
            "hull": contraction(form, between(form, _CONTRACTED)),
            "around": contraction(form, _box(form, _CONTRACTED)),
        }
        for name, form in forms.items()
    }
    return result
