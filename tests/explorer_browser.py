"""The explorer in a browser without a network; conftest.py hands its fixtures to the tests."""

import re
import shutil

import pytest

from sim.explorer.export import tidy
from sim.explorer.page import explorer_page
from tests.explorer_cases import export, figure, shown

FLAGS = ("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run")
EXPORT = export()
POINTS = EXPORT["points"]
FIRST = shown(POINTS)  # what is shown unasked
NETWORK = "ResNet-20"


@pytest.fixture(scope="session")
def browser():
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("no program: Chromium is not installed")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        pytest.skip("no program: Playwright is not installed")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=FLAGS)
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
        page.set_default_timeout(30_000)
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
