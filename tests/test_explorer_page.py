"""The explorer's page in a browser: filters, address, table, themes, keys, and what is missing."""

import csv
import json
from pathlib import Path
from urllib.parse import quote

import pytest

from sim.explorer.export import tidy
from sim.explorer.page import explorer_page
from tests.explorer_browser import EXPORT, FIRST, NETWORK, POINTS, drawable, ids
from tests.explorer_cases import HOSTILE, front, shown


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
