"""A profile as one self-contained HTML page, made from its JSON alone."""

from __future__ import annotations

from html import escape

__all__ = ["html_page", "story"]

#: Steps of a dot product that are shown to either side of the one that goes wrong.
_AROUND = 6

_CSS = """
:root { color-scheme: light; font: 15px/1.5 system-ui, sans-serif; color: #1c1c1c; background: #fff; }
body { max-width: 76rem; margin: 2.5rem auto; padding: 0 1.5rem; }
h1 { font-size: 1.5rem; margin-bottom: .3rem; } h2 { font-size: 1.1rem; margin-top: 2.4rem; }
p, li { max-width: 62rem; } figure { margin: 1rem 0; overflow-x: auto; } figcaption { color: #555; }
svg { max-width: 100%; height: auto; } code { font-size: .95em; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .8rem; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .55rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #eee; }
th { background: #f6f6f6; } td.l, th.l { text-align: left; }
tr.first td { background: #fff3d6; font-weight: 600; }
"""


def html_page(profile: dict, drawn: dict[str, str]) -> str:
    """The page, with figures that :func:`sim.microscope.plots.figures` draws; the same bytes each time."""
    title = f"{profile['model']} by {profile['config']}"
    unit = profile["unit"]
    sections = [f"<h1>{escape(title)}</h1>", _head(profile)]
    sections += [
        "<h2>Events by layer and channel</h2>",
        _figure(
            drawn["events"],
            f"Shares of steps on the first {profile['event_inputs']} {unit}, on a logarithmic scale; "
            "white: none, grey: no such channel. A step is the addition of one product, padding and zeros "
            "included; of the chunk kinds it is the addition of one chunk's sum. Swamping: a nonzero addend "
            "leaves the sum unchanged. Overflow and underflow are those of products and of sums in chunks.",
        ),
        "<h2>Partial sums against the format's range</h2>",
        _figure(
            drawn["sums"],
            "Per cent of sums by their binade, after each step of dot products that were drawn at random, "
            f"{profile['histograms'][0]['outputs']} of each layer, in units of the format; zeros have no "
            "bar. Dotted: R_UF, the largest magnitude that becomes zero; dashed: R_OF, the largest number. "
            "Where sums of chunks have a range of their own it is drawn in their colour.",
        ),
    ]
    if profile["ranking"]:
        sections += [
            "<h2>What each layer costs</h2>",
            _figure(
                drawn["ranking"],
                f"One layer at a time adds up exactly, the others as they are; {profile['n']} "
                f"{unit}. With no layer restored (dashed) the error of the outputs is "
                f"{profile['angle_errors']['accumulators']:.4f}, with all of them "
                f"{profile['angle_errors']['exact sums']:.4f}. Many layers stand here, and intervals do not "
                "allow for that.",
            ),
        ]
    sections.append("<h2>From a wrong answer to a multiply-accumulate</h2>")
    sections += _finding(profile, drawn)
    sections.append(_provenance(profile))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{escape(title)}</title><style>{_CSS}</style></head><body>\n"
        + "\n".join(sections)
        + "\n</body></html>\n"
    )


def _points(profile: dict) -> str:
    return "points" if profile["score_unit"] == "%" else profile["metric"]


def _score(profile: dict, value: float) -> str:
    return f"{value:.2f} %" if profile["score_unit"] == "%" else f"{value:.4f}"


def _head(profile: dict) -> str:
    scores = {what: _score(profile, value) for what, value in profile["scores"].items()}
    interval = ""
    if profile["interval"] is not None:
        low, high = profile["interval"]
        interval = f" (95 % interval of the difference to float32: {low:+.2f} to {high:+.2f})"
    return (
        f"<p>{escape(profile['description'])}. {escape(profile['metric'].capitalize())} on {profile['n']} "
        f"{profile['unit']}: float32 {scores['float32']}, quantized operands with exact sums "
        f"{scores['exact sums']}, accumulators {scores['accumulators']}{interval}.{_costs(profile)}</p>"
    )


def _costs(profile: dict) -> str:
    """A sentence on the layer that costs most."""
    if not profile["ranking"]:
        return ""
    unit, worst = _points(profile), profile["ranking"][0]
    loud = min(profile["ranking"], key=lambda row: row["angle_error"])
    span, verdict = "", ""
    if worst["interval"] is not None:
        low, high = worst["interval"]
        span = f" ({low:+.2f} to {high:+.2f})"
        verdict = "" if low > 0 else f"; these {profile['unit']} cannot tell it from none"
    return (
        f" The layer that costs most is <code>{escape(worst['layer'])}</code>: exact by itself it brings "
        f"{worst['gain']:+.2f} {unit}{span}{verdict}. Most of the outputs' error is from "
        f"<code>{escape(loud['layer'])}</code>: exact by itself it leaves {loud['angle_error']:.4f} of "
        f"{profile['angle_errors']['accumulators']:.4f}."
    )


def _figure(svg: str, caption: str) -> str:
    return f"<figure>{svg}<figcaption>{escape(caption)}</figcaption></figure>"


def story(profile: dict) -> list[str]:
    """What was found of the input that was looked into, sentence by sentence."""
    found, unit = profile["finding"], profile["unit"]
    step = found["steps"][found["first_wrong_step"]]
    margins = {what: f"{value:.4g}" for what, value in found["margins"].items()}
    one = unit.removesuffix("s").capitalize()
    place = ", ".join(f"{axis} {i}" for axis, i in found["place"].items() if axis != "image")
    few = found["outputs_to_restore"]
    enough = "that is enough" if few == 1 else f"{few} of them have to be"
    first = "Its sum is off by more than half of its final error from"
    if step["kind"] == "overflow":
        first = "Its sum overflows first at"
    added = "a product" if step["stage"] == "inner" else "a chunk's sum"
    lines = [
        f"{one} {found['input']} is of class {found['wanted']}, which float32 gets right; the accumulators "
        f"say {found['got']}. It is one of {len(profile['wrong_inputs'])} of {profile['n']} {unit} that "
        "go wrong by accumulators alone.",
        f"Layer {found['layer']}, number {found['layer_number'] + 1} of {found['layers']}, tips it: with "
        f"exact sums from it on the right class leads by {margins['exact from this layer on']}, with exact "
        f"sums only after it by {margins['exact after this layer']}.",
        f"Of its {found['outputs']} outputs the one that harms most is {place}: {found['result']:.6g} "
        f"instead of {found['exact']:.6g}, in units of its format. If it alone is exact, the lead is "
        f"{margins['this output exact, too']}; for the answer to be right, {enough}.",
        f"{first} k = {found['k']}, a step of {step['kind']}: {step['before']:.6g} before, {added} of "
        f"{_addend(step)} added, {step['after']:.6g} after. Events in this dot product: {_events(found)}.",
    ]
    if "waves" in found:
        waves = found["waves"]
        codes = ", ".join(f"{port} = {code:#x}" for port, code in waves["signals"].items())
        later = "one cycle later" if step["stage"] == "inner" else "in the same cycle"
        lines.append(
            f"In the waves of the RTL ({waves['waves']}) it is cycle {waves['cycle']} of {waves['scope']}: "
            f"{codes}, the result {later}. gtkwave {waves['waves']} {waves['save']} opens them at the marker."
        )
    return lines


def _events(found: dict) -> str:
    events = found["events"]
    if not events:
        return "none"
    return "; ".join(
        f"{each['count']} of {kind}, the first at k = {each['first_k']}" for kind, each in events.items()
    )


def _addend(step: dict) -> str:
    if step["product"] is None:
        return f"{step['addend']:.6g}"
    rounded = "" if step["product"] == step["addend"] else f", rounded to {step['addend']:.6g}"
    return f"{step['x']:.6g} · {step['w']:.6g} = {step['product']:.6g}{rounded}"


def _finding(profile: dict, drawn: dict[str, str]) -> list[str]:
    if profile["finding"] is None:
        return ["<p>No input is right in float32 and with exact sums and wrong by the accumulators.</p>"]
    found = profile["finding"]
    first = found["first_wrong_step"]
    shown = range(max(0, first - _AROUND), min(len(found["steps"]), first + _AROUND + 1))
    head = "".join(
        f"<th>{name}</th>"
        for name in (
            "k",
            "step",
            "x",
            "w",
            "product",
            "addend",
            "before",
            "after",
            "sum so far",
            "exact",
            "error",
        )
    )
    body = []
    for i in shown:
        step = found["steps"][i]
        cells = [str(step["k"]), f"{step['stage']}: {step['kind']}"]
        names = ("x", "w", "product", "addend", "before", "after", "total", "exact", "error")
        cells += ["" if step[name] is None else f"{step[name]:.6g}" for name in names]
        row = "".join(f"<td>{escape(cell)}</td>" for cell in cells)
        body.append(f"<tr{' class=first' if i == first else ''}>{row}</tr>")
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(body)}</tbody></table>"
    return [
        "<ul>" + "".join(f"<li>{escape(line)}</li>" for line in story(profile)) + "</ul>",
        _figure(
            drawn["wrong-sum"], "The sum of this dot product, product by product. Dots: chunks added up."
        ),
        f'<div class="wide">{table}</div>',
    ]


def _provenance(profile: dict) -> str:
    facts = {key: profile[key] for key in ("model", "config", "calibrated", "n", "seed")} | profile["made_by"]
    if "command" in profile:
        facts = {"command": profile["command"]} | facts
    rows = "".join(
        f'<tr><td class="l">{escape(str(key))}</td><td class="l">{escape(str(value))}</td></tr>'
        for key, value in facts.items()
    )
    return f"<h2>How it was made</h2><table>{rows}</table>"
