"""``python -m sim.explorer EXPORT.json -o explorer.html``: a sweep's results as a page to look around in."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from golden.config import ConfigError
from hw.command_line import Parser
from hw.files import write_files
from sim.explorer.export import read_export
from sim.explorer.page import explorer_page

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the page, and the summary if it is asked for; 0, or 2 with one sentence where it cannot be."""
    parser = Parser(prog="python -m sim.explorer", description=__doc__.splitlines()[0])
    parser.add_argument("export", type=Path, metavar="EXPORT.json", help="what python -m sim.sweep exported")
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("explorer.html"), help="the page (default: explorer.html)"
    )
    parser.add_argument(
        "--summary", type=Path, metavar="DIR", help="also summary.md, summary.svg and summary.png, in DIR"
    )
    options = parser.parse_args(arguments)
    try:
        export = read_export(options.export)
        write_files({options.output.name: explorer_page(export)}, options.output.parent)
        if options.summary:
            from sim.explorer.summary import summary_files  # matplotlib, only if it is needed

            write_files(summary_files(export), options.summary, option="--summary")
    except (ConfigError, OSError) as error:
        parser.error(str(error))
    print(f"{options.output}: {len(export['points'])} points; open it in a browser")
    return 0


if __name__ == "__main__":
    sys.exit(main())
