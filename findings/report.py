"""FINDINGS.md: the catalogue's claims, with the numbers that the programs have printed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from types import SimpleNamespace
from typing import Any

from compare import results
from findings.catalogue import FINDINGS, FRAMEWORKS, KINDS, Finding
from findings.run import ROOT, numbers

FILE = ROOT / "FINDINGS.md"
CERTIFIED = json.loads((ROOT / "adapters" / "certified.json").read_text(encoding="utf-8"))


def claim(finding: Finding, printed: str) -> str:
    """The sentences, with the numbers that its program has printed for their names."""
    return finding.claim.format(**numbers(printed), certified=_CERTIFIED)


def holds(finding: Finding, printed: str) -> bool:
    """Whether these numbers are what the claim says."""
    return finding.holds(SimpleNamespace(**numbers(printed)))


def circumstances() -> str:
    """The processor, and the frameworks' versions, on which numbers depend."""
    packages = (package for _, packages in FRAMEWORKS.values() for package in packages)
    return f"{results.cpu()}, {', '.join(filter(None, map(_installed, packages)))}"


def today() -> str:
    """The date, as the file has it."""
    return datetime.now(UTC).date().isoformat()


def markdown(printed: Mapping[str, str], date: str) -> str:
    """The whole of FINDINGS.md, of what each program has printed."""
    return "\n\n".join(_parts(printed, date)) + "\n"


def _parts(printed: Mapping[str, str], date: str) -> Iterator[str]:
    yield "# Findings"
    yield "What each framework does that differs from the document, or from the true derivative."
    yield f"Measured on {date}: {circumstances()}."
    yield (
        "`nox -s findings` writes this file: it runs every program below, each in a process of its own, and puts what "
        "they print into the claims. A claim that the numbers do not bear out ends it with status 1, and nothing is "
        "written; a test repeats that. Numbers of all inputs are from "
        "[`adapters/certified.json`](adapters/certified.json), which "
        "`nox -s certify` measured with " + ", ".join(f"{n} {c['version']}" for n, c in CERTIFIED.items()) + "."
    )
    yield "\n".join(f"- **{kind}**: {meaning}." for kind, meaning in KINDS.items())
    rows = (f"| [{f.name}](#{f.name}) | {f.title} | {f.formulas} | {f.kind} |" for f in FINDINGS)
    yield "\n".join(["| finding | what | formulas | kind |", "|---|---|---|---|", *rows])
    for framework, (title, packages) in FRAMEWORKS.items():
        yield f"## {title}"
        yield f"{', '.join(filter(None, map(_installed, packages)))}."
        for finding in FINDINGS:
            if finding.framework == framework:
                yield from _section(finding, printed[finding.name])


def _section(finding: Finding, printed: str) -> Iterator[str]:
    program = finding.program.relative_to(ROOT).as_posix()
    settings = "".join(f"{name}={value} " for name, value in finding.environment.items())
    yield f"### {finding.name}"
    yield f"**{finding.title[0].upper()}{finding.title[1:]}** ({finding.kind}; formulas {finding.formulas})."
    yield claim(finding, printed)
    yield f"```python\n{finding.program.read_text(encoding='utf-8')}```"
    yield f"`{settings}python {program}` prints\n\n```\n{printed}```"
    yield f"Upstream: {', '.join(map(_thread, finding.upstream)) or 'none known'}."


def _thread(url: str) -> str:
    """A link to an issue or a pull request."""
    owner, repository, _, number = url.removeprefix("https://github.com/").split("/")
    return f"[{owner}/{repository}#{number}]({url})"


def _installed(package: str) -> str | None:
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError:
        return None


def _attributes(content: dict[str, Any]) -> Any:
    """For an object of certified.json; inputs, which it has in hexadecimal, as numbers."""
    inputs = {key: float.fromhex(value) for key, value in content.items() if str(value).lstrip("-").startswith("0x")}
    return SimpleNamespace(**(content | inputs))


_MODES = {name: framework["modes"] for name, framework in CERTIFIED.items()}
_CERTIFIED = json.loads(json.dumps(_MODES), object_hook=_attributes)
