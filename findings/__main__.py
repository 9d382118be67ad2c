"""``python -m findings [NAME…]``, which ``nox -s findings -- …`` runs: every finding again, and FINDINGS.md.

Exit status: 0 every claim holds; 1 one does not: then nothing is written; 2 a program could not be run.
"""

from __future__ import annotations

from compare import machine

if __name__ == "__main__":
    machine.withstand("findings", "nothing was written")

import sys
from collections.abc import Sequence

from compare import results
from compare.options import Parser, known
from compare.report import terminal
from findings.catalogue import FINDINGS, Finding
from findings.report import FILE, claim, holds, markdown, today
from findings.run import ROOT, run

REFUTED = "refuted"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    console = terminal.printed()
    parser = Parser(
        prog="findings", description="Run every finding's program again and write FINDINGS.md.",
        epilog="Exit status: 0 every claim holds, 1 one does not, 2 a program could not be run.", allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these, and write nothing; default: all")
    names = parser.parse_args(arguments).names
    known(parser, "NAME", names, [finding.name for finding in FINDINGS])
    printed: dict[str, str] = {}
    refuted = False
    for finding in FINDINGS:
        if not names or finding.name in names:
            try:
                printed |= run([finding])
                verdict, sentence = _judged(finding, printed[finding.name])
            except ValueError as error:
                parser.error(f"{finding.name}: {error}")
            refuted |= verdict == REFUTED
            console.print(f"{verdict}  {finding.name}: {sentence}", markup=False, soft_wrap=True)
    if refuted or names:
        return 1 if refuted else 0
    try:
        results.write_text(markdown(printed, today()), ROOT, FILE.name)
    except OSError as error:
        parser.error(f"{FILE.name}: {error.strerror or error}")
    console.print(f"written: {FILE.name}", soft_wrap=True)
    return 0


def _judged(finding: Finding, printed: str) -> tuple[str, str]:
    """A verdict, and what was found. Raises ValueError for anything printed that is no number."""
    if holds(finding, printed):
        return "holds", claim(finding, printed)
    return REFUTED, f"found {', '.join(printed.splitlines())}, expected that {finding.title}"


if __name__ == "__main__":
    status = main()
    machine.deaf()
    sys.exit(status)
