"""``python -m bench [PART…] OPTIONS``, which ``nox -s bench -- …`` runs: the suite's speed beside every peer's.

Exit status: 0 every goal is met; 1 one is missed; 2 something could not be measured: then nothing is written.
"""

from __future__ import annotations

from compare import machine

if __name__ == "__main__":
    machine.withstand("bench", "nothing was written")

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

from bench import report
from bench.process import Failed
from compare import results
from compare.options import Parser, known, seconds
from compare.report import terminal
from compare.run import KEEP_MEMORY, ROOT

RESULTS, PICTURE = "results.json", "bench.svg"
HERE = Path(__file__).parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    console = terminal.printed()
    parser = _options()
    options = parser.parse_args(arguments)
    known(parser, "PART", options.parts, report.PARTS)
    found: dict[str, Any] = {}
    for name, part in report.PARTS.items():
        if name in (options.parts or report.PARTS):
            console.print(f"measuring {name}", soft_wrap=True)
            try:
                with patch.dict(os.environ, KEEP_MEMORY | os.environ):
                    measured = part.measure(options.quick, options.limit)
            except Failed as error:
                parser.error(str(error))
            found[name] = {"circumstances": report.circumstances()} | measured
    console.print(report.markdown(found), markup=False, soft_wrap=True)
    if not options.quick:
        try:
            _write(found)
        except (OSError, ValueError) as error:
            parser.error(str(error))
        console.print(f"written: README.md, bench/{RESULTS}, bench/{PICTURE}", soft_wrap=True)
    return 1 if report.missed([part.show(found[name]) for name, part in report.PARTS.items() if name in found]) else 0


def _options() -> Parser:
    parser = Parser(
        prog="bench", description=__doc__.partition("\n")[0],
        epilog="Exit status: 0 every goal is met, 1 one is missed, 2 something could not be measured.", allow_abbrev=False,
    )  # fmt: skip
    add = parser.add_argument
    add("parts", nargs="*", metavar="PART", help=f"{', '.join(report.PARTS)}; default: all")
    add("--quick", action="store_true", help="small networks, once; writes nothing")
    add("--limit", type=seconds, default=600.0, metavar="SECONDS", help="of one call of anything; default: 600")
    return parser


def _write(found: dict[str, Any]) -> None:
    """Parts that were not measured now stay as they were."""
    from bench import picture  # loads matplotlib, which the processes that start from this module do not need

    path = HERE / RESULTS
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    found = before | found
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    text = report.markdown(found)
    svg = picture.draw(found)
    if svg is not None:
        text = f"![Time of the suite and its peers](bench/{PICTURE})\n\n{text}"
    readme = report.put_into(readme, text)  # before anything is written
    results.write(found, HERE, RESULTS)
    if svg is not None:
        results.write_text(svg, HERE, PICTURE)
    results.write_text(readme, ROOT, "README.md")


if __name__ == "__main__":
    status = main()
    machine.deaf()
    sys.exit(status)
