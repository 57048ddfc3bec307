"""The page of the networks that ran on the simulated hardware: Markdown made of the results file."""

from __future__ import annotations

__all__ = ["page", "paragraph"]


_HEAD = """\
# Networks on the simulated hardware

Written by `python -m sim.hardware_runs` from [results/hardware-runs.json](results/hardware-runs.json), which
has the plans and versions as well. Backend `rtl` hands every matrix product to a Verilated tile as software
would hand it to the chip: registers, two streams of operands, a stream of results. Cycles are those in which
the tile was busy, by its own counter; utilisation is the share of its MACs' time that went into products of
operands, so padding and waiting count against it. Every result is compared with that of backend `cpu`.
Seconds are those of driving the simulation, on a machine that others may have used as well.
"""

_COLUMNS = (
    "| network | images | right | right by the kernels | products | million MACs | cycles | utilisation "
    "| words compared | differ | wall clock, s | core, s | cycles per core second |"
)
_RULE = "| --- |" + " ---: |" * 12


def paragraph(results: dict) -> str:
    """What the README says of these runs: one paragraph."""
    runs = results["runs"]
    words, mismatches = (sum(run[key] for run in runs) for key in ("words_compared", "mismatches"))
    macs, cycles = (sum(run[key] for run in runs) for key in ("macs", "cycles"))
    tiles = " and ".join(sorted({f"`{run['tile']}`" for run in runs}))
    what = _joined([_what(run) for run in runs])
    differ = "none differs" if mismatches == 0 else f"**{mismatches:,} differ**"
    seconds, cpu_seconds = (
        sum(run[f"simulation_{key}"] for run in runs) for key in ("seconds", "cpu_seconds")
    )
    return (
        f"Networks run on the Verilated RTL itself, every product of every layer: {what}. Of {words:,} "
        f"results that the tile {tiles} gave, word by word against the fast kernels, {differ}. It took "
        f"{cycles:,} clock cycles for {macs / 1e6:,.1f} million multiply-accumulates, and {seconds:,.0f} s "
        f"of simulation, {cpu_seconds:,.0f} s of one core: {cycles / cpu_seconds:,.0f} cycles a second."
    )


def _what(run: dict) -> str:
    images = "image" if run["n"] == 1 else "images"
    busy = f"{100 * run['utilisation']:.1f} % of the MACs busy"
    return f"{run['title']} ({run['n']:,} {images}, {run['right']:,} right, {busy})"


def _joined(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def page(results: dict) -> str:
    """docs/hardware-runs.md."""
    lines = [_HEAD, paragraph(results), "", _COLUMNS, _RULE]
    for run in results["runs"]:
        lines.append(
            f"| {run['title']} | {run['n']} | {run['right']} | {run['right_on_cpu']} | {run['products']} | "
            f"{_numbers(run)} | {run['simulation_seconds']:.1f} | "
            f"{run['simulation_cpu_seconds']:.1f} | {run['cycles_per_cpu_second']:.0f} |"
        )
    for run in results["runs"]:
        lines += [
            "",
            f"## {run['title']}",
            "",
            f"{run['description']}. Configuration `{run['config']}`, biases calibrated layer by layer, "
            f"on tile `{run['tile']}`; {run['batch']} images at a time, seed {run['seed']}.",
            "",
            "| layer | m | k | n | million MACs | cycles | utilisation | words compared | differ |",
            "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        ]
        for i, layer in enumerate(run["layers"], 1):
            lines.append(
                f"| {i}, {layer['kind']} | {layer['m']} | {layer['k']} | {layer['n']} | {_numbers(layer)} |"
            )
    return "\n".join([*lines, ""])


def _numbers(run: dict) -> str:
    return (
        f"{run['macs'] / 1e6:.2f} | {run['cycles']} | {100 * run['utilisation']:.1f} % | "
        f"{run['words_compared']} | {run['mismatches']}"
    )
