"""Minimum-norm denoisers that are known in closed form, as functions and as networks.

Of all one-hidden-layer ReLU networks that give each clean point x_n for every y within ``rho`` of it, those
with the least weight decay: C. Zeno, G. Ongie, Y. Blumenfeld, N. Weinberger and D. Soudry, How do
minimum-norm shallow denoisers look in function space?, NeurIPS 2023, arXiv 2311.06748. All are sums of ramps
phi(t) = s ([t - start]_+ - [t - end]_+) along unit vectors, with two neurons a ramp, which stand side by side
in the network: first the rise, then what takes it back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

from golden.config import ConfigError
from sim.denoisers.network import ReluNetwork

__all__ = ["ClosedForm", "Ramp", "equilateral_triangle", "line", "obtuse_simplex", "rays", "subspace"]

_RELATIVE = 1e-9  # how far from orthogonal, equilateral or unit length is rounding


@dataclass(frozen=True, kw_only=True)
class Ramp:
    """0 up to ``start``, ``height`` from ``end`` on, linear between."""

    start: float
    end: float
    height: float

    @property
    def slope(self) -> float:
        """Between ``start`` and ``end``."""
        return self.height / (self.end - self.start)

    def __call__(self, t: Tensor) -> Tensor:
        return self.height * ((t - self.start) / (self.end - self.start)).clamp(0, 1)


@dataclass(frozen=True, kw_only=True, eq=False)
class ClosedForm:
    """A denoiser: the clean points and the radius that it is for, as a function and as a network."""

    points: Tensor  #: float64 [n, d]: clean.
    rho: float  #: Noise radius: constant on the balls of this radius.
    function: Callable[[Tensor], Tensor]  #: float64 [n, d] -> [n, d], without a neuron.
    network: ReluNetwork
    cost: float  #: Weight decay of the balanced network: twice the sum of slopes.

    def __call__(self, y: Tensor) -> Tensor:
        """[n, d] of any float type -> float64 [n, d]."""
        return self.function(y.double())


def _tensor(values: object) -> Tensor:
    return torch.as_tensor(np.asarray(values), dtype=torch.float64)


def _ramps(
    origin: Tensor, directions: Tensor, ramps: Sequence[Ramp], points: Tensor, rho: float
) -> ClosedForm:
    """The sum of origin and u_l phi_l(u_l . (y - origin))."""

    def function(y: Tensor) -> Tensor:
        t = (y - origin) @ directions.T
        return origin + sum(
            ramp(t[:, i : i + 1]) * u for i, (ramp, u) in enumerate(zip(ramps, directions, strict=True))
        )

    slopes = torch.tensor([ramp.slope for ramp in ramps], dtype=torch.float64)
    corners = torch.tensor([[ramp.start, ramp.end] for ramp in ramps], dtype=torch.float64)
    signs = torch.tensor([1.0, -1.0], dtype=torch.float64)
    outward = (slopes[:, None] * signs)[..., None] * directions[:, None]  # [l, 2, d]
    network = ReluNetwork(
        a=outward.flatten(0, 1),
        w=directions.repeat_interleave(2, dim=0),
        b=-(corners + (directions @ origin)[:, None]).flatten(),
        c=origin,
    )
    return ClosedForm(
        points=points, rho=rho, function=function, network=network, cost=2 * float(slopes.abs().sum())
    )


def line(points: Sequence[float], rho: float) -> ClosedForm:
    """In one dimension: constant near each point, linear between, slope (x_{n+1} - x_n) / gap."""
    _need_radius(rho)
    x = np.sort(np.asarray(points, dtype=np.float64))
    if len(x) < 2 or not 2 * rho < np.diff(x).min():
        raise ConfigError(
            f"clusters of radius {rho:g} around {len(points)} points are not apart; use two points or more "
            "that are further than twice the radius from each other"
        )
    corners = np.stack([x - rho, x + rho], axis=1).ravel()
    heights = np.repeat(x, 2)
    # Ramps of a sum that begins at x_1, from left to right.
    steps = [
        Ramp(start=left + rho - x[0], end=right - rho - x[0], height=right - left)
        for left, right in pairwise(x)
    ]
    made = _ramps(
        _tensor(x[:1]), torch.ones(len(steps), 1, dtype=torch.float64), steps, _tensor(x)[:, None], rho
    )
    return ClosedForm(
        points=made.points,
        rho=rho,
        function=lambda y: _tensor(np.interp(y.numpy(), corners, heights)),
        network=made.network,
        cost=made.cost,
    )


def subspace(inner: ClosedForm, basis: Tensor) -> ClosedForm:
    """Points in a subspace with the orthonormal ``basis`` [d, r]: the denoiser there, of y's projection."""
    basis = _tensor(basis)
    _need_orthonormal(basis.T, "a basis of the subspace")
    of = inner.network
    return ClosedForm(
        points=inner.points @ basis.T,
        rho=inner.rho,
        function=lambda y: inner.function(y @ basis) @ basis.T,
        network=ReluNetwork(a=of.a @ basis.T, w=of.w @ basis.T, b=of.b, c=basis @ of.c),
        cost=inner.cost,
    )


def rays(directions: Tensor, lengths: Sequence[float], rho: float) -> ClosedForm:
    """The origin, and a point R_l u_l on each of the orthonormal ``directions`` [l, d]."""
    directions = _tensor(directions)
    _need_orthonormal(directions, "directions of rays")
    if len(lengths) != len(directions):
        raise ConfigError(f"{len(directions)} rays have a length each, and {len(lengths)} are given")
    ramps = [_ramp_to(length, rho) for length in lengths]
    origin = torch.zeros(directions.shape[1], dtype=torch.float64)
    ends = _tensor(lengths)[:, None] * directions
    return _ramps(origin, directions, ramps, torch.cat([origin[None], ends]), rho)


def obtuse_simplex(points: Tensor, rho: float) -> ClosedForm:
    """``points`` [n, d], of which the first sees any two others at an angle of 90 degrees or more."""
    points = _tensor(points)
    if len(points) < 2:
        raise ConfigError(f"a simplex of {len(points)} points has no edge; use two points or more")
    edges = points[1:] - points[0]
    lengths = edges.norm(dim=1)
    directions = edges / lengths[:, None]
    angles = directions @ directions.T
    angles.fill_diagonal_(0)
    if angles.max() > _RELATIVE:
        raise ConfigError(
            "two edges from the first point meet at less than 90 degrees; order the points so that its "
            "angles are obtuse"
        )
    return _ramps(points[0], directions, [_ramp_to(float(each), rho) for each in lengths], points, rho)


def equilateral_triangle(points: Tensor, rho: float) -> ClosedForm:
    """``points`` [3, d], at the same distance from one another: ramps from their centroid."""
    _need_radius(rho)
    points = _tensor(points)
    centroid = points.mean(0)
    edges = points - centroid
    radii = edges.norm(dim=1)
    sides = (points - points.roll(1, dims=0)).norm(dim=1)
    if len(points) != 3 or float(sides.max() - sides.min()) > _RELATIVE * float(sides.max()):
        raise ConfigError("three points at equal distances make an equilateral triangle, and these are not")
    radius = float(radii.mean())
    if not 2 * rho < float(sides.min()):
        raise ConfigError(
            f"balls of radius {rho:g} around the corners touch; use less than {sides.min() / 2:g}"
        )
    ramp = Ramp(start=-radius / 2 + rho, end=radius - rho, height=radius)
    return _ramps(centroid, edges / radii[:, None], [ramp] * 3, points, rho)


def _ramp_to(length: float, rho: float) -> Ramp:
    _need_radius(rho)
    if not 2 * rho < length:
        raise ConfigError(
            f"balls of radius {rho:g} at a distance of {length:g} touch; use less than {length / 2:g}"
        )
    return Ramp(start=rho, end=length - rho, height=length)


def _need_radius(rho: float) -> None:
    if not rho >= 0:
        raise ConfigError(f"a noise radius of {rho:g} is below 0; use 0 or more")


def _need_orthonormal(vectors: Tensor, what: str) -> None:
    product = vectors @ vectors.T
    if float((product - torch.eye(len(vectors), dtype=torch.float64)).abs().max()) > _RELATIVE:
        raise ConfigError(f"{what} are orthonormal, and these are not; orthonormalise them")
