"""Fixtures of several modules of tests."""

from tests.explorer_browser import browser, folder, visit

__all__ = ["browser", "folder", "visit"]
