"""The explorer in a browser without a network: what it draws against what the export says."""

import csv
import itertools
import json
import re
import shutil
from pathlib import Path
from urllib.parse import quote

import pytest

from sim.explorer.export import tidy
from sim.explorer.page import explorer_page
from tests.explorer_cases import HOSTILE, NETWORKS, PARTS, export, figure, front, shown, worst_loss

CHROMIUM = shutil.which("chromium")
if CHROMIUM is None:
    pytest.skip("no program: Chromium is not installed", allow_module_level=True)
try:
    from playwright.sync_api import sync_playwright
except ImportError:
    pytest.skip("no program: Playwright is not installed", allow_module_level=True)

FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")
EXPORT = export()
POINTS = EXPORT["points"]
FIRST = shown(POINTS)  # what is shown unasked
NETWORK = "ResNet-20"

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


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("explorer")


@pytest.fixture
def visit(browser, folder):
    """``visit(hash, data=..., **context)``: a page from disk, which asks for and complains of nothing."""
    contexts, asked, complaints = [], [], []

    def open_page(fragment="", data=None, **options):
        path = folder / "explorer.html"
        if data is not None or not path.exists():
            path = path if data is None else folder / f"explorer{len(list(folder.iterdir()))}.html"
            path.write_text(explorer_page(tidy(data or EXPORT)), encoding="utf-8")
        options = {"viewport": {"width": 1280, "height": 800}, "offline": True} | options
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.set_default_timeout(5000)
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("dialog", lambda dialog: complaints.append(f"a dialog: {dialog.message}"))
        page.goto(f"file://{path}" + (f"#{fragment}" if fragment else ""))
        page.wait_for_selector("#plot svg")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not complaints
    assert all(re.match(r"(file|blob|data):", url) for url in asked), asked


def ids(page, selector=".mark"):
    return page.eval_on_selector_all(selector, "all => all.map(each => each.dataset.id)")


def go(page, fragment):
    """The same page at another address."""
    page.evaluate("text => { location.hash = text }", fragment)
    page.wait_for_function(
        "text => decodeURIComponent(location.hash) === decodeURIComponent('#' + text)", arg=fragment
    )
    page.evaluate("() => new Promise(done => setTimeout(done, 0))")  # hashchange comes after


def drawable(points, x, y, network=NETWORK):
    return {p["id"] for p in points if None not in (figure(p, x, network), figure(p, y, network))}


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


def test_filters_count_and_act(visit):
    page = visit("view=all")
    for facet in ("kind", "rounding", "overflow", "alignment", "offsets", "stages", "operands", "product"):
        tallies = page.eval_on_selector_all(
            f'[data-facet="{facet}"] .value',
            """all => all.map(each => [
                each.querySelector('input').dataset.value,
                Number(each.querySelector('.tally').textContent),
            ])""",
        )
        values = ["none" if p[facet] is None else str(p[facet]) for p in FIRST]
        assert {value: count for value, count in tallies if count} == {v: values.count(v) for v in values}
    page.uncheck('[data-facet="kind"] [data-value="float"]')
    left = [p for p in FIRST if p["kind"] != "float"]
    assert page.inner_text("#count") == f"{len(left)} of {len(POINTS)}"
    assert set(ids(page)) == drawable(left, "um2", "accuracy")
    floats = page.inner_text('[data-facet="kind"] .value:has([data-value="float"]) .tally')
    assert int(floats) == len(FIRST) - len(left)  # what ticking it again would bring
    page.fill("#query", "fixed")
    left = [p for p in left if p["kind"] == "fixed"]
    page.fill("#high", "16")
    left = [p for p in left if p["bits"] <= 16]
    assert set(ids(page)) == drawable(left, "um2", "accuracy")
    page.click("#reset")
    page.check('[data-facet="met"] [data-value="false"]')
    assert page.inner_text("#count") == f"{len(shown(POINTS, missed=True))} of {len(POINTS)}"
    assert page.locator(".mark.open").count() > 0


def test_clocks_and_technologies_are_never_mixed_in_silence(visit):
    page = visit()
    assert not page.is_visible("#warning")
    page.select_option("#technology", "*")
    assert page.is_visible("#warning") and "technologies" in page.inner_text("#warning")
    page.select_option("#technology", "asap7")
    assert not page.is_visible("#warning")
    page.select_option("#clock", "*")
    assert "clocks" in page.inner_text("#warning")
    everything = [p for p in POINTS if p["technology"] == "asap7" and p["met"] is not False]
    assert page.inner_text("#count") == f"{len(everything)} of {len(POINTS)}"


def test_the_address_holds_the_view(visit):
    page = visit()
    page.select_option("#network", "digits")
    page.select_option("#clock", "2.5")
    page.select_option("#y", "energy_pj")
    page.check("#ly")
    page.uncheck('[data-facet="overflow"] [data-value="wrap"]')
    page.check('[data-facet="met"] [data-value="false"]')
    page.fill("#query", "e3m4")
    page.fill("#low", "8")
    page.click('[data-choice="loss:1"]')
    page.select_option("#shape", "overflow")
    page.uncheck("#every")
    page.click("#tab-bars")
    page.click("#theme")
    page.focus(".mark.front")
    page.keyboard.press("Enter")
    state = """() => {
        const all = (selector, get) => [...document.querySelectorAll(selector)].map(get);
        return [
            all('select, input', each => each.type === 'checkbox' ? each.checked : each.value),
            all('.mark', each => each.outerHTML.replace(/ tabindex="[^"]*"/, '')),
            all('.pinned', each => each.dataset.pinned),
            all('[aria-selected=true], [aria-pressed=true]', each => each.textContent),
            document.documentElement.dataset.theme,
        ];
    }"""
    again = visit(page.evaluate("location.hash.slice(1)"))
    assert again.evaluate(state) == page.evaluate(state)
    assert again.evaluate("location.hash") == page.evaluate("location.hash")


ODD = (
    *("plot", "x=nothing&y=__proto__&net=x&tech=y", "view=1,2,3", "pin=%25&-kind=%E0%A4", "bits=9-1"),
    *("loss=7&tab=no", "-kind=float,fixed,int,exact", "q=" + quote("<b>(*["), "sort=nothing:3"),
)


def test_an_address_that_asks_for_what_is_not_there_does_no_harm(visit):
    page = visit("tab=about")
    for fragment in ODD:
        page.evaluate("text => { location.hash = text }", fragment)
        page.wait_for_selector("#tab-front[aria-selected=true]")  # not about any more
        assert page.inner_text("#count").endswith(f" of {len(POINTS)}")
        page.evaluate("location.hash = 'tab=about'")
        page.wait_for_selector("#tab-about[aria-selected=true]")


def test_the_table_sorts(visit):
    page = visit("rows=all&view=all")
    cells = "all => all.map(e => e.dataset.row)"
    by_id = {p["id"]: p for p in POINTS}
    page.click('[data-sort="energy_pj"]')
    order = [by_id[name]["energy_pj"] for name in page.eval_on_selector_all("[data-row]", cells)]
    there = [value for value in order if value is not None]
    assert there == sorted(there) and order[: len(there)] == there  # what is absent is last
    assert len(order) == len(FIRST)
    assert page.get_attribute("th:has([data-sort=energy_pj])", "aria-sort") == "ascending"
    page.keyboard.press("Enter")
    order = [by_id[name]["energy_pj"] for name in page.eval_on_selector_all("[data-row]", cells)]
    assert order[: len(there)] == sorted(there, reverse=True)
    page.click('[data-choice="rows:front"]')
    names = set(page.eval_on_selector_all("[data-row]", cells))
    assert names == front(FIRST, "um2", "accuracy", NETWORK)


def test_the_csv_has_the_filtered_designs(visit, tmp_path):
    page = visit("-kind=int&-met=")
    with page.expect_download() as caught:
        page.click("#csv")
    caught.value.save_as(tmp_path / "designs.csv")
    assert caught.value.suggested_filename == "designs.csv"
    with (tmp_path / "designs.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    wanted = shown(POINTS, missed=True, keep=lambda p: p["kind"] != "int")
    assert [row["id"] for row in rows] == [p["id"] for p in wanted]
    names = front(wanted, "um2", "accuracy", NETWORK)
    for row, p in zip(rows, wanted, strict=True):
        assert row["label"] == p["label"]
        assert float(row["um2"]) == p["um2"]
        assert row["energy_pj"] == ("" if p["energy_pj"] is None else str(p["energy_pj"]))
        assert row["loss ResNet-20"] == str(p["loss"].get(NETWORK, "")).removesuffix(".0")
        assert row["parts_um2 adder"] == str(p["parts_um2"]["adder"]).removesuffix(".0")
        assert row["commands evaluate"] == p["commands"]["evaluate"]
        assert row["on_front"] == str(p["id"] in names).lower()


def colour(page, element="body"):
    return page.evaluate(f"getComputedStyle(document.querySelector('{element}')).backgroundColor")


def test_light_and_dark(visit):
    light, dark = visit(color_scheme="light"), visit(color_scheme="dark")
    assert colour(light) != colour(dark)
    assert colour(light, ".card") != colour(dark, ".card")
    dark.click("#theme")
    assert colour(dark) == colour(light)
    dark.click("#theme")
    light.click("#theme")
    assert colour(dark) != colour(light)


def test_a_phone_has_no_sideways_scroll(visit):
    pins = ",".join(p["id"] for p in FIRST[:3])
    page = visit(f"pin={pins}&rows=all", viewport={"width": 390, "height": 844}, has_touch=True)
    page.click("#filter-box summary")
    for tab in ("front", "compare", "bars", "width", "about"):
        page.click(f"#tab-{tab}")
        assert page.evaluate("document.documentElement.scrollWidth") <= 390, tab


@pytest.mark.parametrize(
    "gone",
    [
        "accuracy loss interval n",
        "um2 nand2 energy_pj delay_ns fmax_mhz leakage_uw throughput_per_area parts_um2 parts_pj",
        "technology clock_ns met bits kind rounding label config",
        "commands parts_pj energy_pj",
    ],
)
def test_what_is_missing_is_done_without(visit, gone):
    points = [{k: v for k, v in p.items() if k not in gone.split()} for p in POINTS]
    page = visit("view=all", data={"meta": {}, "points": points})
    assert page.locator(".mark").count() > 0
    for tab in ("compare", "bars", "width", "about", "front"):
        page.click(f"#tab-{tab}")
        assert page.inner_text("#panel")
    page.focus(".mark")
    page.keyboard.press("Enter")
    assert page.query_selector(".pinned")


def test_one_bare_point_is_enough(visit):
    page = visit(data={"points": [{"id": 1, "bits": 12}]})
    assert page.inner_text("#count") == "1 of 1"


def test_text_of_the_export_is_text(visit):
    point = POINTS[0]
    page = visit(f"pin={point['id']}&tech=*&clock=*&-met=&rows=all&tab=front&view=all")
    assert HOSTILE.replace("\u2028", "") in page.inner_text(".pinned").replace("\u2028", "")
    for tab in ("about", "bars", "width", "compare", "front"):
        page.click(f"#tab-{tab}")
        assert page.query_selector("img") is None
    assert HOSTILE in page.text_content(f'[data-row="{point["id"]}"]')


def test_every_control_has_a_name_and_can_be_reached_by_keys(visit):
    page = visit(f"pin={FIRST[1]['id']},{FIRST[2]['id']}&tab=compare")
    nameless = page.evaluate(
        """() => [...document.querySelectorAll('button, select, input')].filter(each => {
            const labels = [...each.labels ?? []].map(label => label.textContent).join('');
            return !(each.getAttribute('aria-label') ?? each.textContent + labels).trim();
        }).map(each => each.outerHTML)"""
    )
    assert nameless == []
    page.keyboard.press("Tab")
    reached = set()
    for _ in range(150):
        page.keyboard.press("Tab")
        reached.add(
            page.evaluate("[document.activeElement.id, document.activeElement.className?.baseVal].join()")
        )
    for name in (
        "copy-link",
        "csv",
        "theme",
        "query",
        "low",
        "reset",
        "network",
        "clock",
        "x",
        "lx",
        "tab-compare",
    ):
        assert f"{name}," in reached, name
    assert any("mark" in name for name in reached)
    page.focus("#tab-compare")
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.id") == "tab-bars"


def test_the_page_is_the_same_bytes_each_time(folder):
    text = explorer_page(tidy(json.loads(json.dumps(EXPORT))))
    assert text == explorer_page(tidy(EXPORT))
    assert len(text) < 100_000 + 2 * len(json.dumps(EXPORT))
    assert isinstance(folder, Path)
