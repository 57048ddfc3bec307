"""The study's page, written from its results."""

from __future__ import annotations

import numpy as np

from sim.statistics import paired_interval
from sim.studies.symmetry.answer import losses, percent, when
from sim.studies.symmetry.dataflows import CHUNK
from sim.studies.symmetry.runs import CHANNELS, DROPOUT, RHO
from sim.studies.symmetry.tables import (
    all_runs,
    array_table,
    by_seeds,
    dataflow_table,
    find_run,
    leaky_tables,
    mean_accuracy,
    products_table,
    random_table,
    torch_table,
    words_table,
)

__all__ = ["page"]


def page(data: dict) -> str:
    """Method, figure, tables and limits, in Markdown."""
    sections = [_method(data), _figure(), _dataflows(data), _fixed(data), _products(data), _words(data)]
    sections += [_random(data), _array(data), _torch(data), _leaky(data), _design(data), _limits(data)]
    return "\n\n".join(sections)


def _method(data: dict) -> str:
    run = find_run(all_runs(data))
    return f"""## Method

ConstNet (arXiv 2007.01038) is a residual network, out = skip(x) + conv3x3(ReLU(BN(x))), whose block
convolutions begin at zero and whose first and skip convolutions begin as averages, 1/C at the centre tap.
All channels are identical, and signals pass unchanged. Identical channels get identical gradients, so only
what tells channels apart can make them differ: the network is a detector for an arithmetic that depends on
the output's position. In the paper it is a GPU's non-deterministic sums that break the symmetry.

Here it has {CHANNELS} channels, two blocks on the 8 x 8 digits, and a classifier of the channels' quadrants
that begins at zero; {run["steps"]} steps of momentum with batches of {run["batch"]}, rate {run["rate"]},
seed {run["seed"]}; accuracy is of {run["images"]} test images. Every product, the forward one and both
backward ones of every layer, goes through the bit-accurate accumulator under `accumulate(config,
gradient="identity", backward=config, order=...)` ([simulation.md](../simulation.md)). Operands are e5m10,
with a bias for each tensor, so that only sums are narrow; accumulators have 8 exponent bits and 4 to 23
mantissa bits, toward zero unless said, or are fixed point of 20 bits that saturates. What is counted, after
each step: filters of a layer whose float32 weights differ as numbers, +0 and -0 alike (the layer that has
most), the first step at which two do, and the mean correlation of two filters of a layer."""


def _figure() -> str:
    return (
        "![Filters and their correlation over the steps, and accuracies](symmetry-filters.svg)\n\n"
        "*Left and middle: filters come apart within a few steps or never; what differs at first in the last "
        "bits takes a while to matter. Right: every mark is a training run, of the symmetric network or of "
        "one whose symmetry the order broke.*"
    )


def _dataflows(data: dict) -> str:
    runs = all_runs(data)
    fp8 = [find_run(runs, dataflow=flow, accumulator="e8m7 of FP8") for flow in ("chunked", "rotated")]
    near, exact = find_run(runs, accumulator="e8m7 rne"), find_run(runs, accumulator="float32")
    short = find_run(runs, dataflow="shuffled by column")
    return f"""## Dataflows

{dataflow_table(data)}

Accuracies are in per cent, by accumulator; empty where it was not run, or not for {exact["steps"]} steps
(columns shuffled apart: {short["steps"]}). Torch's own float32 products on a processor keep
{exact["distinct"]} filter, too, and give {percent(exact)}. To nearest, chunked at e8m7 keeps
{near["distinct"]} ({percent(near)}). FP8 operands (e3m4 forward, e5m2 backward) change nothing:
{fp8[0]["distinct"]} filter chunked ({percent(fp8[0])}), {fp8[1]["distinct"]} rotated ({percent(fp8[1])}).

The order that is shuffled for all columns together is another one for each product: real hardware of this
kind would not give the same bits twice, and the symmetry holds none the less. To be reproducible from *run
to run* and from *position to position* are two properties; only the second one matters here."""


def _fixed(data: dict) -> str:
    runs = all_runs(data)
    narrow, wide, wraps = (
        find_run(runs, dataflow="rotated", accumulator=name)
        for name in ("fixed20", "fixed24", "fixed24 wrap")
    )
    return f"""### Fixed point has one sum

A fixed-point accumulator cuts each product to its lsb by itself and then adds exactly: any order gives the
same bits, but where a sum saturates on its way and comes back. Under the rotated order filters differ
{when(narrow)} with 20 bits that saturate, {when(wide)} with 24 that saturate ({percent(wide)}), and
{when(wraps)} with 24 that wrap ({percent(wraps)}). Addition modulo 2^P is associative, so an accumulator
that wraps has one result under *every* dataflow, atomic additions included; in one that saturates the order
begins to matter with the first overflow, and in float with the first rounding."""


def _products(data: dict) -> str:
    return f"""## Which of the three products

{products_table(data)}

* **Forward**, each output channel sums its own filter's products. Step 1 has nothing to tell apart (first
  convolutions have one tap that is not zero, and skips add equal terms), step 2 moves the filters off zero
  alike, and step 3 is the first that sees another sum.
* **Gradient of the weights**, dw = xᵀ dy sums over pixels, one column a filter: different at once, when the
  first gradient arrives (step 2, since the classifier begins at zero).
* **Gradient of the inputs**, dx = dy wᵀ sums over *filters*. As long as these are the same, all terms of
  such a sum are equal, and equal terms give the same sum in any order: a column-dependent order in these
  products never breaks the symmetry, at any width. The exception is the classifier, whose sum is over the
  classes, which do differ.

So an accelerator for training that guarantees one order for all columns in y and dw is symmetric, whatever
it does for dx of its convolutions; an accelerator for inference need only look at y."""


def _words(data: dict) -> str:
    return f"""## Random numbers

{words_table(data)}

The contract's random words are (A(m, k) xor B(k, n)), one half made at a row's edge and one at a column's:
no two outputs share them, so channels come apart. If all columns shared a row's words, an inference product
would treat channels alike and the hash per column would be saved. In training that is not enough: the rows
of dw = xᵀ dy are input channels, and get words of their own. Dropout (p = {DROPOUT}) of single elements
before the classifier breaks the layers that it reaches by identity skips; beneath a convolution whose
inputs are alike the gradients are alike again, and the first layer keeps one filter for ever. Dropping
pixels of all channels at once keeps them all."""


def _random(data: dict) -> str:
    groups = by_seeds(data)
    seeds, images = len(groups["float32", "chunked"]), groups["float32", "chunked"][0]["images"]
    narrow = sorted((mean_accuracy(runs), flow) for (name, flow), runs in groups.items() if name == "e8m4")
    return f"""## From random weights

{random_table(data)}

The same network, begun at random as usual: {seeds} seeds, which decide weights and batches, and {images}
images. Chunked and rotated have the same chunks, so their difference is that of the orders: seed by seed
{_gaps(data, "e8m7")} points at e8m7 and {_gaps(data, "e8m4")} at e8m4. There means go from
{narrow[0][0]:.1f} % ({narrow[0][1]}) to {narrow[-1][0]:.1f} % ({narrow[-1][1]})."""


def _gaps(data: dict, accumulator: str) -> str:
    """Accuracy in chunks less that of the rotated order, seed by seed, in points."""
    groups = by_seeds(data)
    pairs = zip(*(groups[accumulator, flow] for flow in ("chunked", "rotated")), strict=True)
    return ", ".join(f"{100 * (one['accuracy'] - other['accuracy']):+.1f}" for one, other in pairs)


def _array(data: dict) -> str:
    found = data["array"]["found"]
    return f"""## The array's own order, read off the RTL

Ones are added up with +B in place of the i-th and -B in place of the j-th, B so large that rounding to
nearest swallows what meets it. The ones missing from the result were added below the point where +B and -B
meet; all pairs i < j give the whole tree of additions of every output column, from results alone (FPRev,
arXiv 2411.00442). The accumulator is `{data["array"]["config"]}`.

{array_table(data)}

The first array's columns each add `{found[0]["pattern"]}`. Golden in ascending order gives the same tree,
in a rotated one it does not. Skewed starts do not change this: column j of a systolic array begins j cycles
later, with the same k. The chunk is a parameter of the array, its order is not."""


def _torch(data: dict) -> str:
    tail = [row for row in data["torch"]["products"] if len(row["orders"]) > 1]
    seen = "; ".join(
        f"K = {row['length']} and {row['columns']} columns: {len(row['orders'])}" for row in tail
    )
    exact = find_run(all_runs(data), accumulator="float32")
    remark = (
        f"The same probe finds more than one order among the columns of a float32 product ({seen}): "
        "columns that no vector register fills are summed otherwise. "
        if tail
        else "The same probe finds one order among the columns of each float32 product that was tried. "
    )
    return f"""## What else adds

Batch norm, pooling, biases' and patches' gradients and the optimizer stay in torch's float32. Alike
channels go in; counted are the draws in which some result was not the same number for all of them (one
thread, {data["torch"]["capability"]}).

{torch_table(data)}

The optimizer is the trap: the fused one multiplies and adds with one rounding where vectors reach and with
two in the rest, so the last weights of a tensor move otherwise. The study uses the single-step one.
{remark}Torch's convolutions kept {exact["distinct"]} filter for all {exact["steps"]} steps."""


def _leaky(data: dict) -> str:
    pairs, training = leaky_tables(data)
    steps = data["leaky"]["runs"][0]["steps"]
    return f"""## LeakyNet

No skips and no batch norm: convolutions that begin as averages by turns times 1 and -1/ρ, each followed by
a leaky ReLU of slope ρ. A pair is linear: x > 0 becomes x, then -x; x < 0 becomes ρx, then -x. Exactly?
Outputs of pairs that differ from those of ρ = 1, which has no activation:

{pairs}

Float accumulators make pairs exactly linear if ρ is a power of two: rounding treats x and -x alike, and x
and ρx, until an exponent ends. Fixed point does not: ρx has other bits below its lsb. Any other ρ has a
rounded 1/ρ.

{training}

(ρ = {RHO}, {steps} steps.) Filters differ from the same step at both widths, but by a unit in the last
place, and without batch norm that grows slowly: the shorter the mantissa, the sooner it matters."""


def _design(data: dict) -> str:
    return f"""## What a designer learns

* **The same bits at every output position**: weight-stationary and output-stationary arrays, split-K with a
  fixed sequence of its ranges, banked and strided reads, even operands used as they come, as long as a
  broadcast reaches all columns in one order. Permuting output channels permutes the results, bit for bit.
* **Not the same**: rings that begin each column with another k, stream-K and other cuts of work that fall
  at different k in different tiles, atomic additions, random words by output.
* **The same under every dataflow**: fixed point that wraps, or that is wide enough never to saturate.
* **What it costs**: chunked less rotated, from random weights and seed by seed, {_gaps(data, "e8m7")} points
  of accuracy at e8m7, {_gaps(data, "e8m4")} at e8m4. It is paid in scheduling: partial sums wait for their
  turn. The length of a sum is another matter: where it is of more than {CHUNK}, accuracy less float32's
  is, in points: {losses(data)}.
* **What it buys**: an output's bits depend neither on the number of columns of the array nor on the tile
  that it falls into, nor on which channels were pruned beside it; and comparing positions finds a fault at
  one of them.
* **For training**: the initialiser must break the symmetry, not the hardware. A network that relies on
  atomic additions learns on such a GPU, and not on an array."""


def _limits(data: dict) -> str:
    run = find_run(all_runs(data))
    chunked, rotated = (by_seeds(data)["e8m7", flow][0]["correct"] for flow in ("chunked", "rotated"))
    leaky = " and ".join(dict.fromkeys(each["accumulator"] for each in data["leaky"]["runs"]))
    low, high = paired_interval(*(np.array([each == "1" for each in run]) for run in (chunked, rotated)))
    return f"""## Limits

One data set of small images, one seed unless said, {run["steps"]} steps and {CHANNELS} channels; accuracies
are of {run["images"]} images: the first seed's chunked less rotated, from random weights at e8m7, lies
between {100 * low:+.1f} and {100 * high:+.1f} points (95 %). LeakyNet was trained at {leaky} only,
and without stochastic rounding or dropout. The probe of the RTL needs rounding to nearest, so the array's
order was read in one configuration, in chunks of {data["array"]["chunk"]}; that of the truncating default, in
chunks of {CHUNK}, was not. That the symmetry lasts is a theorem for orders that all
columns share (same operands, same order, same bits; the rest of the step was checked above), so more steps
would show the same. Orders are permutations before chunking, so a dataflow that *cuts* columns at different
places is represented by one that *begins* them at different places."""
