"""What the explorer draws in a browser, against what the export says."""

import itertools
import re

import pytest

from tests.explorer_browser import FIRST, NETWORK, POINTS, drawable, go, ids
from tests.explorer_cases import NETWORKS, PARTS, front, shown, worst_loss

#: A narrow accumulator, two of 32 bits under its operands, and a smaller one under others.
TRIO = {
    "points": [
        {
            "id": i,
            "label": label,
            "kind": "float",
            "bits": bits,
            "operands": operands,
            "um2": um2,
            "loss": {"n": 0},
        }
        | {"accuracy": {"n": 90.0}}
        for i, (label, bits, operands, um2) in enumerate(
            [
                ("float12", 12, "e3m4", 500),
                ("float32", 32, "e3m4", 2500),
                ("float32 wired", 32, "e3m4", 2000),
                ("int8: float32", 32, "int8", 1000),
            ]
        )
    ]
}

#: Filters as the address has them, and the same as a choice of points.
FILTERS = {
    "": {},
    "-kind=float,int": {"keep": lambda p: p["kind"] not in ("float", "int")},
    "-rounding=rz&bits=8-16": {"keep": lambda p: p["rounding"] != "rz" and 8 <= p["bits"] <= 16},
    "-alignment=none,2": {"keep": lambda p: p["alignment"] == 0},
    "-met=": {"missed": True},
    "-overflow=wrap&-offsets=none&-stages=1": {
        "keep": lambda p: p["overflow"] == "sat" and p["offsets"] != "none" and p["stages"] != 1
    },
    "tech=asap7&clock=2.5&-met=": {"technology": "asap7", "clock": 2.5, "missed": True},
    "clock=relaxed&q=e3m4+FIXED": {"clock": None, "keep": lambda p: "fixed" in p["label"]},
    "-operands=int8&-product=exact": {"keep": lambda p: p["operands"] != "int8" and p["product"] != "exact"},
}

PAIRS = (
    ("um2", "accuracy"),
    ("accuracy", "um2"),
    ("energy_pj", "accuracy"),
    ("energy_pj", "delay_ns"),
    ("throughput_per_area", "accuracy"),
    ("fmax_mhz", "leakage_uw"),
    ("throughput_per_area", "fmax_mhz"),
    ("bits", "loss"),
    ("nand2", "energy_pj"),
)


def test_it_opens_from_disk_and_shows_what_the_export_has(visit):
    page = visit("view=all")
    assert page.title() == "A made-up sweep"
    assert set(ids(page)) == drawable(FIRST, "um2", "accuracy")
    assert page.inner_text("#count") == f"{len(FIRST)} of {len(POINTS)}"
    assert NETWORK in page.inner_text("#scope") and "sky130hd" in page.inner_text("#scope")
    missing = len(FIRST) - len(drawable(FIRST, "um2", "accuracy"))
    assert missing > 0
    assert re.search(rf"\b{missing} designs? ha\w+ no accuracy on {NETWORK}", page.inner_text("#notes"))


def test_every_point_is_drawn_at_its_figures(visit):
    """Places are linear in the figures; of equal ones all but the first stand beside it."""
    page = visit("view=all")
    places = page.eval_on_selector_all(
        ".mark",
        """all => all.map(each => {
            const { e, f } = each.transform.baseVal[0].matrix;
            return [each.dataset.id, e, f];
        })""",
    )
    by_id = {p["id"]: p for p in POINTS}
    seen, first = set(), {}
    for name, x, y in sorted(places):
        key = (by_id[name]["um2"], by_id[name]["accuracy"][NETWORK])
        if key not in seen:
            first[key] = (x, y)
        seen.add(key)
    assert len({place[1:] for place in map(tuple, places)}) == len(places)  # none hides another
    for axis in (0, 1):
        low, high = (end(first, key=lambda key: key[axis]) for end in (min, max))
        slope = (first[high][axis] - first[low][axis]) / (high[axis] - low[axis])
        assert slope > 0 if axis == 0 else slope < 0  # pixels count downward
        for key, place in first.items():
            assert place[axis] == pytest.approx(first[low][axis] + (key[axis] - low[axis]) * slope, abs=0.15)


@pytest.mark.parametrize("filters", FILTERS)
def test_fronts_are_those_of_a_comparison_of_each_with_each(visit, filters):
    points = shown(POINTS, **FILTERS[filters])
    page = visit(f"view=all&{filters}")
    for x, y in PAIRS:
        network = "digits" if x == "bits" else NETWORK
        go(page, f"view=all&x={x}&y={y}&net={network}&{filters}")
        assert set(ids(page)) == drawable(points, x, y, network), (x, y)
        assert set(ids(page, ".mark.front")) == front(points, x, y, network), (x, y)


def test_an_axis_can_be_the_accuracy_of_another_network(visit):
    page = visit("view=all&x=accuracy:digits&y=accuracy:ResNet-20")
    both = [p for p in FIRST if len(p["accuracy"]) == 2]
    assert set(ids(page)) == {p["id"] for p in both}
    best = {
        p["id"]
        for p in both
        if not any(
            all(q["accuracy"][n] >= p["accuracy"][n] for n in NETWORKS) and q["accuracy"] != p["accuracy"]
            for q in both
        )
    }
    assert set(ids(page, ".mark.front")) == best


def test_choosing_an_axis_changes_the_plot(visit):
    page = visit()
    before = page.eval_on_selector_all(".mark", "all => all.map(e => e.getAttribute('transform'))")
    page.select_option("#x", "energy_pj")
    after = page.eval_on_selector_all(".mark", "all => all.map(e => e.getAttribute('transform'))")
    assert before != after
    assert "Energy" in page.get_attribute("#plot svg", "aria-label")
    page.check("#lx")
    assert page.eval_on_selector_all(".mark", "all => all.map(e => e.getAttribute('transform'))") != after
    page.click("#swap")
    assert (page.input_value("#x"), page.input_value("#y")) == ("accuracy", "energy_pj")
    assert page.is_checked("#ly") and not page.is_checked("#lx")


def test_a_logarithmic_axis_leaves_out_and_counts_what_is_not_positive(visit):
    page = visit("view=all&y=loss&ly=1")
    positive = {p["id"] for p in FIRST if p["loss"].get(NETWORK, -1) > 0}
    assert set(ids(page)) == positive
    count = sum(p["loss"].get(NETWORK, 1) <= 0 for p in FIRST)
    assert count > 0
    assert f"{count} design" in page.inner_text("#notes") and "logarithmic" in page.inner_text("#notes")


@pytest.mark.parametrize("limit", [0.1, 0.5, 1])
def test_the_smallest_design_that_loses_little_is_shown(visit, limit):
    page = visit("view=all")
    page.click(f'[data-choice="loss:{limit:g}"]')
    drawn = drawable(FIRST, "um2", "accuracy")
    for lost in (worst_loss, lambda p: p["loss"].get(NETWORK, 99)):
        enough = [p for p in FIRST if lost(p) <= limit]
        best = min(enough, key=lambda p: (p["um2"], lost(p)))
        assert page.get_attribute(".best", "data-best") == best["id"]
        assert page.get_attribute(f'[data-limit="{limit:g}"] .link', "data-id") == best["id"]
        assert set(ids(page, ".mark:not(.beyond)")) == {p["id"] for p in enough} & drawn
        page.uncheck("#every")
    page.select_option("#x", "throughput_per_area")
    best = max(enough, key=lambda p: p["throughput_per_area"])
    assert page.get_attribute(".best", "data-best") == best["id"]


def test_an_axis_can_be_the_worst_loss(visit):
    page = visit("view=all&y=loss:*")
    known = [p for p in FIRST if worst_loss(p) < 99]
    assert set(ids(page)) == {p["id"] for p in known}
    best = {
        p["id"]
        for p in known
        if not any(
            q["um2"] <= p["um2"]
            and worst_loss(q) <= worst_loss(p)
            and (q["um2"], worst_loss(q)) != (p["um2"], worst_loss(p))
            for q in known
        )
    }
    assert set(ids(page, ".mark.front")) == best


def test_the_comparison_is_with_the_cheapest_float32_under_the_same_operands(visit):
    page = visit(data=TRIO)
    assert "−75 % against float32 wired" in page.inner_text("#answers")


def test_the_plot_is_walked_by_keys_alone(visit):
    page = visit("view=all")
    page.keyboard.press("Tab")
    assert "Skip" in page.evaluate("document.activeElement.textContent")
    page.keyboard.press("Enter")
    focused = "document.activeElement.dataset.id"
    on_front = front(FIRST, "um2", "accuracy", NETWORK)
    assert page.evaluate(focused) in on_front
    page.keyboard.press("Home")
    by_id = {p["id"]: p for p in POINTS}
    walked = [page.evaluate(focused)]
    for _ in range(len(drawable(FIRST, "um2", "accuracy")) - 1):
        page.keyboard.press("ArrowRight")
        walked.append(page.evaluate(focused))
    assert set(walked) == drawable(FIRST, "um2", "accuracy")  # each once, twins as well
    areas = [by_id[name]["um2"] for name in walked]
    assert all(b >= a - 25 for a, b in itertools.pairwise(areas))  # a twin stands some pixels aside
    page.keyboard.press("Home")
    front_walk = []
    for _ in range(len(on_front) + 1):
        page.keyboard.press("Shift+ArrowRight")
        front_walk.append(page.evaluate(focused))
    assert on_front >= set(front_walk) and len(set(front_walk)) >= len(on_front) - 1
    assert page.is_visible("#tip") and by_id[front_walk[-1]]["label"] in page.inner_text("#tip")
    page.keyboard.press("Escape")
    assert not page.is_visible("#tip")
    page.keyboard.press("Enter")
    assert page.get_attribute(".pinned", "data-pinned") == front_walk[-1]
    assert page.evaluate(focused) == front_walk[-1]
    assert "pinned" in page.inner_text("#live")
    page.keyboard.press(" ")
    assert page.query_selector(".pinned") is None
    page.keyboard.press("ArrowDown")
    below = page.evaluate(focused)
    assert by_id[below]["accuracy"][NETWORK] <= by_id[front_walk[-1]]["accuracy"][NETWORK]


def test_a_pointer_shows_pins_and_zooms(visit):
    page = visit("view=all")
    name = sorted(front(FIRST, "um2", "accuracy", NETWORK))[0]
    point = next(p for p in POINTS if p["id"] == name)
    box = page.query_selector(f'.mark[data-id="{name}"]').bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 2
    page.mouse.move(x, y)
    assert point["label"] in page.inner_text("#tip")
    page.mouse.click(x, y)
    card = page.inner_text(".pinned")
    assert all(text in card for text in (point["config"], *point["commands"], *point["commands"].values()))
    assert page.locator(".pinned .part-list li").count() == 2 * len(PARTS)
    plot = page.query_selector("#plot svg").bounding_box()
    count = len(ids(page))
    page.mouse.move(plot["x"] + 60, plot["y"] + 20)
    page.mouse.down()
    page.mouse.move(plot["x"] + plot["width"] / 2, plot["y"] + plot["height"] / 2, steps=3)
    page.mouse.up()
    assert 0 < len(ids(page)) < count
    assert "outside" in page.inner_text("#notes")
    page.click("#notes .link >> text=Back")
    page.click("#notes .link >> text=Show all")
    assert len(ids(page)) == count


def test_commands_are_copied(visit):
    point = FIRST[1]
    page = visit(f"pin={point['id']}", permissions=["clipboard-read", "clipboard-write"])
    page.click('[aria-label="Copy evaluate command"]')
    page.wait_for_function("() => document.getElementById('live').textContent.includes('copied')")
    assert page.evaluate("navigator.clipboard.readText()") == point["commands"]["evaluate"]


def test_pinned_designs_stand_side_by_side(visit):
    a, b = FIRST[1], FIRST[2]
    page = visit(f"pin={a['id']},{b['id']}&tab=compare")
    assert page.locator(".compare thead th").count() == 2
    row = page.locator(".compare tr", has_text="Area (µm²)")
    change = 100 * (b["um2"] / a["um2"] - 1)
    said = row.locator("td").nth(1).locator(".change").inner_text()
    assert float(said.replace("\u2212", "-").removesuffix(" %")) == pytest.approx(change, abs=0.51)
    assert "best" in row.locator("td").nth(int(b["um2"] < a["um2"])).get_attribute("class")
    page.click(f'.compare [aria-label^="Unpin {a["label"]}"]')
    assert page.get_attribute(".pinned", "data-pinned") == b["id"]
    assert "Pin two or more" in page.inner_text("#panel")


def test_components_are_drawn_in_proportion(visit):
    point = FIRST[1]
    page = visit(f"pin={point['id']}&tab=bars&bars=pinned")
    widths = page.eval_on_selector_all(
        '[data-field="parts_um2"] .part', "all => all.map(each => parseFloat(each.style.width))"
    )
    assert widths == pytest.approx([100 * point["parts_um2"][part] / point["um2"] for part in PARTS], abs=0.1)
    page.click('[data-choice="bars:front"]')
    assert page.locator('[data-field="parts_um2"] .bar-row').count() == len(
        front(FIRST, "um2", "accuracy", NETWORK)
    )


@pytest.mark.parametrize("network", NETWORKS)
def test_curves_have_the_best_accuracy_of_each_width(visit, network):
    page = visit("tab=width&view=all")
    found = page.eval_on_selector_all(
        f'[data-network="{network}"] .dot', "all => all.map(e => [e.parentNode.dataset.family, e.dataset.id])"
    )
    best = {}
    for p in FIRST:
        family = p["kind"] if p["kind"] == "exact" else f"{p['kind']} {p['rounding']}"
        if p["overflow"] == "wrap" and p["kind"] != "exact":
            family += " wrap"
        if network in p["accuracy"]:
            key = (family, p["bits"])
            best[key] = max(best.get(key, 0), p["accuracy"][network])
    by_id = {p["id"]: p for p in POINTS}
    drawn = {(family, by_id[name]["bits"]): by_id[name]["accuracy"][network] for family, name in found}
    assert drawn == best
    assert len(found) == len(best)
