"""What training's products cost on a graphics card, as a section of the results page."""

from __future__ import annotations

__all__ = ["section"]

#: Columns of the table: what is timed, and its heading.
_TIMES = (
    ("quantize", "quantize x"),
    ("forward", "forward"),
    ("torch forward", "torch forward"),
    ("identity", "`identity`"),
    ("immediate/of", "`immediate/of`"),
    ("recursive/of", "`recursive/of`"),
    ("immediate/diff", "`immediate/diff`"),
    ("recursive/diff", "`recursive/diff`"),
)


def section(results: dict) -> str:
    """The results of ``python -m benchmarks.bench_cuda_gradients`` as Markdown."""
    network = {what: each["device_ms"] for what, each in results["network"].items()}
    shared = network["quantize"] + network["forward"]
    ratio = (shared + network["recursive/of"]) / (shared + network["identity"])
    versions = results["versions"]
    calls = {what: max(row["times"][what]["call_ms"] for row in results["layers"]) for what, _ in _TIMES}
    lines = [
        "## Training's products on a graphics card",
        "",
        f"Milliseconds on an {results['card']} of each convolution of a ResNet-20 at batch "
        f"{results['batch']}, `{results['configuration']}`: rounding the images, the product through the "
        "accumulator, torch's in float32, and the gradients of both operands by rule (`identity`: torch's, "
        f"deterministic, no TF32). Products with their gradients take {ratio:.2g} times as long with "
        "`recursive/of` as with `identity`.",
        "",
        "| channels, side, stride | layers | GMAC | " + " | ".join(title for _, title in _TIMES) + " |",
        "| --- |" + " ---: |" * (2 + len(_TIMES)),
    ]
    for row in results["layers"]:
        inputs, outputs, side, stride = row["layer"]
        times = (f"{row['times'][what]['device_ms']:.2f}" for what, _ in _TIMES)
        cells = (
            f"{inputs} to {outputs}, {side}, {stride}",
            str(row["count"]),
            f"{row['macs'] / 1e9:.2f}",
            *times,
        )
        lines.append(f"| {' | '.join(cells)} |")
    count = sum(row["count"] for row in results["layers"])
    macs = sum(row["count"] * row["macs"] for row in results["layers"])
    total = (f"{network[what]:.1f}" for what, _ in _TIMES)
    lines.append(f"| all | {count} | {macs / 1e9:.1f} | {' | '.join(total)} |")
    lines += [
        "",
        f"Medians of {results['rounds']} runs back to back, seed {results['seed']}; torch "
        f"{versions['torch']}, CUDA {versions['cuda of torch']}. What is faster than its call, up to "
        f"{calls['forward']:.2f} ms forward and {calls['recursive/of']:.2f} ms with `recursive/of`, has the "
        f"call's time. `{results['command']}`",
    ]
    return "\n".join(lines) + "\n"
