"""``python -m compare report RESULTS.json…``: the page of one run, or of runs on several machines or versions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from compare import results
from compare.options import Parser
from compare.report import page


def main(parser: Parser, arguments: Sequence[str]) -> Path:
    """Write the page of the files that ``arguments`` name and return its place; the parser ends with what is wrong."""
    parser.add_argument("files", nargs="+", metavar="RESULTS.json", help="results of runs, each by `nox -s compare`")
    parser.add_argument("--report", default="report", metavar="DIR", help="where index.html goes; default: report/")
    options = parser.parse_args(arguments)
    try:
        contents = [results.load(file) for file in options.files]
    except ValueError as error:
        parser.error(str(error))
    try:
        return results.write_text(page.make(contents), Path(options.report), results.PAGE)
    except OSError as error:
        parser.unwritable(options.report, error)
