"""A profile's files, and the section of the results page that shows profiles."""

from __future__ import annotations

import json
from pathlib import Path

from golden.config import ConfigError
from hw.files import write_files
from sim.microscope.locate import Finding
from sim.microscope.page import html_page
from sim.microscope.plots import figures
from sim.microscope.waves import WavePlace, record_step

__all__ = ["add_summary", "add_waves", "section", "write_profile"]


def add_waves(content: dict, finding: Finding, folder: Path) -> WavePlace:
    """Run the dot product that went wrong on the RTL, and say in the profile's JSON where the step is."""
    place = record_step(finding.dot, finding.steps, finding.first, folder, stem="waves")
    content["finding"]["waves"] = place.to_json()
    return place


def write_profile(content: dict, folder: Path) -> Path:
    """``index.html``, ``profile.json`` and the page's figures, whole; the page's path."""
    drawn = figures(content)
    files = {f"{name}.svg": svg for name, svg in drawn.items()}
    files |= {"profile.json": json.dumps(content, indent=1) + "\n", "index.html": html_page(content, drawn)}
    write_files(files, folder)
    return folder / "index.html"


def add_summary(content: dict, path: Path) -> None:
    """Add a profile to a results file, in the place of the same one before."""
    results: dict = {"command": "python -m sim.microscope", "profiles": {}}
    if path.is_file():
        try:
            results["profiles"] = dict(json.loads(path.read_text())["profiles"])
        except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError, ValueError) as error:
            raise ConfigError(
                f"{path} is not a results file of this command; name another --results"
            ) from error
    calibrated = ", calibrated" if content["calibrated"] else ""
    key = f"{content['model']}, {content['config']}{calibrated}, {content['n']}, seed {content['seed']}"
    results["profiles"][key] = _summary(content)
    write_files({path.name: json.dumps(results, indent=1) + "\n"}, path.parent, option="--results")


def _summary(content: dict) -> dict:
    """Without channels, histograms and most of the steps."""
    kept = {key: value for key, value in content.items() if key not in ("layers", "histograms", "plan")}
    kept["layers"] = [
        {key: layer[key] for key in ("layer", "config", "channels", "share")}
        | {"reach": max(layer["reach_by_channel"])}
        for layer in content["layers"]
    ]
    if content["finding"] is not None:
        first = content["finding"]["first_wrong_step"]
        steps = content["finding"]["steps"]
        kept["finding"] = content["finding"] | {"steps": steps[max(0, first - 2) : first + 3]}
    return kept


def section(results: dict) -> str:
    """Markdown of a results file: what accumulators did, which layer costs most, where one answer broke."""
    profiles = list(results["profiles"].values())
    lines = [
        "## Where accumulators go wrong",
        "",
        "| model | configuration | n | float32 | exact sums | accumulators | against float32 [95 %] "
        "| underflow, % | swamping, % | overflow, % | command |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for each in profiles:
        scores = each["scores"]
        span = "" if each["interval"] is None else " [{:+.2f}, {:+.2f}]".format(*each["interval"])
        shares = [_mean_share(each, kind) for kind in ("underflow", "swamping", "overflow")]
        lines.append(
            f"| {each['model']} | `{each['config']}` | {each['n']} {each['unit']} | {scores['float32']:.2f} "
            f"| {scores['exact sums']:.2f} | {scores['accumulators']:.2f} "
            f"| {scores['accumulators'] - scores['float32']:+.2f}{span} | "
            + " | ".join(f"{100 * share:.2f}" for share in shares)
            + f" | `{each['command']}` |"
        )
    lines += [
        "",
        "Scores are in per cent, or the correlation that the model is judged by. Exact sums: of the same "
        "quantized operands. Events are shares of multiply-accumulates, all layers alike.",
        "",
        "| model, configuration | costs most: gain if exact [95 %] | most of the outputs' error "
        "| one wrong answer | first wrong k | step there: sum for exact sum in the end | in the RTL |",
        "| --- | --- | --- | --- | ---: | --- | --- |",
    ]
    lines += [_story_row(each) for each in profiles if each["ranking"]]
    return "\n".join(lines) + "\n"


def _mean_share(profile: dict, kind: str) -> float:
    """Over all layers, each by its channels."""
    layers = profile["layers"]
    return sum(layer["share"][kind] for layer in layers) / len(layers)


def _story_row(profile: dict) -> str:
    worst = profile["ranking"][0]
    loud = min(profile["ranking"], key=lambda row: row["angle_error"])
    span = "" if worst["interval"] is None else " [{:+.2f}, {:+.2f}]".format(*worst["interval"])
    cells = [
        f"{profile['model']}, `{profile['config']}`",
        f"`{worst['layer']}` {worst['gain']:+.2f}{span}",
        f"`{loud['layer']}`: {loud['angle_error']:.4f} of {profile['angle_errors']['accumulators']:.4f} left",
    ]
    found = profile["finding"]
    if found is None:
        return f"| {' | '.join([*cells, 'none', '', '', ''])} |"
    place = ", ".join(f"{axis} {i}" for axis, i in found["place"].items() if axis != "image")
    waves = found.get("waves")
    cells += [
        f"{profile['unit'].removesuffix('s')} {found['input']}: `{found['layer']}`, {place}",
        str(found["k"]),
        f"{found['kind']}: {found['result']:.5g} for {found['exact']:.5g}",
        "" if waves is None else f"`{waves['scope'].rpartition('.')[2]}`, cycle {waves['cycle']}",
    ]
    return f"| {' | '.join(cells)} |"
