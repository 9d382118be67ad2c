"""``python -m compare report RESULTS.json…``: the page of one run, or of runs on several machines or versions."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from compare import results
from compare.options import Parser
from compare.report import page


def main(parser: Parser, arguments: Sequence[str]) -> Path:
    """Write the page of the files that ``arguments`` name and return its place; the parser ends with what is wrong."""
    parser.add_argument("files", nargs="+", metavar="RESULTS.json", help="results of runs, each by `nox -s compare`")
    parser.add_argument("--report", default="report", metavar="DIR", help="where index.html goes; default: report/")
    options = parser.parse_args(arguments)
    try:
        contents = [load(file) for file in options.files]
    except ValueError as error:
        parser.error(str(error))
    try:
        return results.write_text(page.make(contents), Path(options.report), results.PAGE)
    except OSError as error:
        parser.unwritable(options.report, error)


def load(file: str) -> dict[str, Any]:
    """The content of a results.json. Raises ValueError, naming the file and what is wrong, if it is none."""
    try:
        content = json.loads(Path(file).read_bytes())
    except OSError as error:
        reason = error.strerror or error
        raise ValueError(f"{file}: found no readable file ({reason}), expected a results.json") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file}: found no JSON ({error}), expected a results.json") from error
    validator = Draft202012Validator(json.loads(results.SCHEMA_PATH.read_bytes()))
    wrong = best_match(validator.iter_errors(content))
    if wrong is not None:
        raise ValueError(f"{file}: {wrong.json_path}: {wrong.message[:200]}, expected a results.json of this version")
    return content  # type: ignore[no-any-return]  # the schema says that it is an object
