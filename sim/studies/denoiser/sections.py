"""Sections of the study's page, Markdown, on closed forms and on their plateaus."""

from __future__ import annotations

from sim.denoisers import ORDERS
from sim.markdown import table
from sim.studies.denoiser.plateaus import WITHIN
from sim.studies.denoiser.proof import PROOF
from sim.studies.denoiser.tables import least_of

__all__ = ["forms", "method", "plateaus", "wins"]

_DETAILED = "7"  # mantissa bits of the table of plateaus


def method(data: dict) -> str:
    """What is measured, in which orders and on which line."""
    main = data["errors"]["main"]
    return f"""## Method

A denoiser with one hidden ReLU layer is trained to give each clean point for every noisy sample of it. Of all
such networks the one with the least weight decay is known in closed form where the clean points lie on a
line, in a subspace, on orthogonal rays, at an obtuse simplex or at an equilateral triangle (C. Zeno, G.
Ongie, Y. Blumenfeld, N. Weinberger and D. Soudry, NeurIPS 2023, arXiv 2311.06748). On a line it is constant
within ρ of each point and linear between. [`sim/denoisers`](../../sim/denoisers) has these as functions and
as networks.

A network makes a plateau as $s(y - l) - s(y - r)$, the difference of a *rise* and a *fall* that both grow
with y. Here the output sum, neurons and weights being exact, runs through a float accumulator of 8 exponent
bits and M mantissa bits, bit for bit and in one chunk, in a static order: *alternating*, rise and fall of
each ramp from left to right; *smallest first*, the same backwards, which sorts the terms by size for every
input; *grouped*, all rises and then all falls; *random*, one shuffle. The line has {main["points"]} points
from -1 to 1, normal noise of σ = {main["sigma"]:g} and ρ = 3σ; x is uniform on the line, {main["n"]} samples.
The empirical MMSE denoiser is E[x given y] if the clean points are all there is."""


def wins(errors: dict) -> str:
    """The least mantissa bits on the line, by noise, by number of points and in other shapes."""
    main = errors["main"]
    orders = list(main["errors"]["toward zero"])
    head = ["rounding", *orders]
    wins = [
        [rounding, *(least_of(least[order]) for order in orders)] for rounding, least in main["least"].items()
    ]
    doubles = [
        [rounding, *(least_of(least[order]) for order in orders)]
        for rounding, least in main["least_doubled"].items()
    ]
    whole = [
        [rounding, *(least_of(least[order]) for order in orders)]
        for rounding, least in errors["whole"]["least"].items()
    ]
    noise = table(
        ["σ", "minimum norm, exact sums", "empirical MMSE"],
        [[f"{row['sigma']:g}", f"{row['exact']:.2e}", f"{row['empirical']:.2e}"] for row in errors["sigmas"]],
    )
    three = ORDERS[:3]
    points = table(
        ["points", "empirical MMSE / exact", *(f"{order}, {r}" for r in ("rz", "rne") for order in three)],
        [
            [
                str(row["points"]),
                f"{row['empirical'] / row['exact']:.1f}",
                *(
                    least_of(row["least"][r][order])
                    for r in ("toward zero", "nearest even")
                    for order in three
                ),
            ]
            for row in errors["points"]
        ],
    )
    space = table(
        [
            "clean points",
            "empirical MMSE / exact",
            *(f"{order}, {r}" for r in ("rz", "rne") for order in three),
        ],
        [
            [
                name,
                f"{row['empirical'] / row['exact']:.0f}",
                *(
                    least_of(row["least_doubled"][r][order])
                    for r in ("toward zero", "nearest even")
                    for order in three
                ),
            ]
            for name, row in errors["space"].items()
        ],
    )
    return f"""## How many mantissa bits the denoiser needs

![The function through a truncating accumulator, and its mean squared error](denoiser-errors.svg)

The least M with which, and with every larger one, the network still has a smaller mean squared error than the
empirical MMSE denoiser ({main["empirical"]:.2e}; with exact sums the network has {main["exact"]:.2e}):

{table(head, wins)}

The same with the neurons, w y + b, summed by that accumulator, too:

{table(head, whole)}

The least M with which the accumulator of the output does not double the network's error:

{table(head, doubles)}

Toward zero each rounding shrinks its partial sum, and that adds up; elsewhere errors cancel in part. The
shuffle takes no more bits than alternating in any row, and grouping takes the most of all orders.

That the network wins is a matter of noise, with exact sums, too:

{noise}

More points mean more terms on the right of the line, and partial sums that grow with their number, squared
when grouped. The least M to win (rz: toward zero, rne: nearest even):

{points}

Other shapes have few terms that are not zero at a time; their least M not to double the error is that of one
ramp. Points of a line in more dimensions are as on the line:

{space}"""


def plateaus(measured: dict) -> str:
    """The bound with its proof, and what becomes of plateaus denoised again and again."""
    every, staying = measured["every_input"], measured["least_staying"]
    low, high = every["man_bits"]
    orders = list(staying["toward zero"])
    rows = [
        [
            rounding,
            *(f"{least_of(by_order[o]['measured'])} / {least_of(by_order[o]['proved'])}" for o in orders),
        ]
        for rounding, by_order in staying.items()
    ]
    at = measured["plateaus"]
    detail = [
        [
            rounding,
            order,
            *(
                f"{by_order[order][_DETAILED][key]:.4f}"
                for key in ("largest_error", "uneven", "bound", "drift")
            ),
            f"{100 * by_order[order][_DETAILED]['left']:.0f} %",
        ]
        for rounding, by_order in at.items()
        for order in ORDERS[:3]
    ]
    beyond = sum(
        each["beyond_bound"]
        for by_order in at.values()
        for by_bits in by_order.values()
        for each in by_bits.values()
    )
    above = sum(
        each["above"] for order in ("alternating", "grouped") for each in at["toward zero"][order].values()
    )
    return f"""## Plateaus: a bound, and its proof

{PROOF.strip()}

**Checked.** On every one of the {every["inputs"]} inputs of `{every["input"]}`, for a line of {
        every["points"]
    }
points whose activations and weights are exact in 8 bits, with M from {low} to {high}, three roundings
({every["calls"]} sets of random words), and four orders: {every["violated"]} of {
        every["compared"]
    } results are
beyond the bound, and the largest error is {every["tightest"]:.2f} of its bound. On the plateaus of the line
above, {measured["places"]} places each, up to {WITHIN:g} ρ from their clean point: {
        beyond
    } beyond the bound, and toward zero, alternating and grouped,
{above} above the exact value.

![Error on the plateaus with its bound, and drift](denoiser-plateaus.svg)

At M = {_DETAILED}:

{
        table(
            [
                "rounding",
                "order",
                "largest error",
                "unevenness of a plateau",
                "bound",
                "drift",
                "left the plateau",
            ],
            detail,
            words=2,
        )
    }

Toward zero a plateau sinks more than it tilts: the largest error is a shift, and the unevenness (largest less
smallest value on one plateau) is a part of it. *Drift*: the largest distance from the clean point after
{measured["steps"]} denoisings, each of what the last one gave. *Left the plateau*: inputs for which that is
more than {WITHIN:g} ρ, the part of the plateau that is tried. The least M with which none leaves, measured /
from which on the bound is at most ρ at all these places:

{table(["rounding", *orders], rows)}"""


def forms(measured: dict) -> str:
    """Closed forms against convex programs and training, and whether they contract."""
    line = measured["line"]
    costs = [
        [
            f"line of {len(line['points'])} points",
            str(line["samples"]),
            f"{line['closed_cost']:.6f}",
            f"{line['program_cost']:.6f}",
            f"{abs(line['program_cost'] - line['closed_cost']):.0e}",
        ]
    ]
    costs += [
        [
            name,
            str(row["samples"]),
            f"{row['closed_cost']:.6f}",
            f"{row['bound']:.6f}",
            f"{row['closed_cost'] - row['bound']:.0e}",
        ]
        for name, row in measured["plane"].items()
    ]
    trained = [
        [
            name,
            str(row["neurons"]),
            f"{row['decay']:.0e}",
            f"{row['largest_difference']:.4f}",
            f"{row['cost']:.3f}",
            f"{row['closed_cost']:.3f}",
        ]
        for name, row in measured["trained"].items()
    ]
    contracted = [
        [
            name,
            *(f"{100 * row[where]['nearer'] / row[where]['points']:.2f} %" for where in ("hull", "around")),
            f"{row['around']['largest_ratio']:.3f}",
        ]
        for name, row in measured["contraction"].items()
    ]
    count = next(iter(measured["contraction"].values()))["hull"]["points"]
    return f"""## Are the closed forms right?

The cost is the weight decay of a balanced network, twice the sum of slopes. On the line a linear program over
all neurons that bend at a sample gives the same cost and, to {line["largest_difference"]:.0e}, the same
function. In the plane (ρ = {measured["rho"]:g}, edges or radius 1, one edge 1.5) a dual solution of the cone
program proves that no network is cheaper: it is feasible for every neuron, since for each sample on a
neuron's edge the worst direction is found exactly, arc by arc. The closed form is an upper bound.

{table(["clean points", "samples", "closed form", "program, or proved bound", "difference"], costs)}

Gradient descent with weight decay finds them; where decay leaves a residual, at a cost that may be below the
least of exact interpolation:

{table(["clean points", "neurons", "decay", "largest difference", "its cost", "least cost"], trained)}

Contraction: some clean point is nearer to the output than to the input. Of {count} inputs in the hull of the
clean points, and as many anywhere within half a unit around them:

{table(["clean points", "in the hull", "around", "largest ratio of distances, around"], contracted)}

Rays do not contract toward clean points where two coordinates are large: there the output goes to a corner of
the box that the rays span, which is no clean point."""
