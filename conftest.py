"""In CI a skipped test is a failure, unless what it lacks cannot be expected there.

Such a skip gives a reason that begins with one of :data:`ALLOWED_SKIPS`.
"""

import os

import pytest

ALLOWED_SKIPS = (
    "no GPU",  # CI machines have none
    "no data set",  # some cannot be had from a package registry, or must not be redistributed
    "no program",  # OpenSTA and Chromium come with a system, not with pip
)


def _forbid(report) -> None:
    if not os.environ.get("CI") or not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = report.longrepr[2].removeprefix("Skipped: ") if report.longrepr else ""
    if not reason.startswith(ALLOWED_SKIPS):
        report.outcome = "failed"
        report.longrepr = f"skipped, which is a failure in CI: {reason}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    _forbid(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(collector):
    report = yield
    _forbid(report)
    return report
