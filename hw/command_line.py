"""How commands of this project answer what cannot be done: one sentence, exit status 2, no traceback.

An interrupted one ends with one line, too, and status 130.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from types import TracebackType
from typing import NoReturn

__all__ = ["Parser"]


class Parser(argparse.ArgumentParser):
    """An argument parser whose error is one line, without the usage before it; names are not abbreviated.

    ``resumes``: the same command, given again after an interruption, goes on from there.
    """

    def __init__(self, *, resumes: bool = False, **options):
        super().__init__(allow_abbrev=False, **options)
        self.resumes = resumes

    def parse_args(self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None):
        """The options; of the program's own arguments it begins to answer interruptions, too."""
        if args is None:
            sys.excepthook = self._unexpected
        return super().parse_args(args, namespace)

    def error(self, message: str) -> NoReturn:
        """End the program with status 2."""
        self.exit(2, f"{self.prog}: error: {message}\n")

    def format_help(self) -> str:
        """Without the double backticks of docstrings."""
        return super().format_help().replace("``", "")

    def _unexpected(
        self, kind: type[BaseException], error: BaseException, trace: TracebackType | None
    ) -> None:
        """What Python calls before it ends with an exception that nobody handles."""
        if not issubclass(kind, KeyboardInterrupt):
            return sys.__excepthook__(kind, error, trace)
        self.exit(130, f"{self.prog}: stopped{'; the same command goes on' if self.resumes else ''}\n")
