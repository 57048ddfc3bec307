"""Speed of the explorer's page: ``python -m benchmarks.bench_explorer``. Without Chromium it says so.

Prints seconds from opening the page on disk until its plot, tables and panels stand, and from choosing
another axis until they stand again: the median of some runs, by number of design points, on made-up ones.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

from sim.explorer.export import tidy
from sim.explorer.page import explorer_page
from tests.explorer_cases import export

COUNTS = (300, 1000, 2000)
RUNS = 5


def _seconds(page, address: str) -> tuple[float, float]:
    page.goto("about:blank")
    start = time.perf_counter()
    page.goto(address)
    page.wait_for_selector("#panel > *")
    opened = time.perf_counter()
    page.select_option("#x", "energy_pj")
    page.evaluate("() => document.body.getBoundingClientRect().height")  # laid out, too
    return opened - start, time.perf_counter() - opened


def main() -> int:
    """Measure; 0, or 2 with one sentence where there is no browser."""
    chromium = shutil.which("chromium")
    if chromium is None:
        print("python -m benchmarks.bench_explorer: error: Chromium is not installed", file=sys.stderr)
        return 2
    from playwright.sync_api import sync_playwright  # only where there is a browser to drive

    with sync_playwright() as play, tempfile.TemporaryDirectory() as folder:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
        browser = play.chromium.launch(executable_path=chromium, args=flags)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        for count in COUNTS:
            path = Path(folder) / f"{count}.html"
            path.write_text(explorer_page(tidy(export(count))), encoding="utf-8")
            address = f"file://{path}#tech=*&clock=*&-met=&view=all&rows=all"
            runs = [_seconds(page, address) for _ in range(RUNS)]
            opened, changed = (statistics.median(times) for times in zip(*runs, strict=True))
            print(f"{count} points: opened in {opened:.2f} s, another axis in {changed:.2f} s")
        browser.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
