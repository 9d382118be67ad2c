#!/usr/bin/env -S uv run --script

# /// script
# dependencies = ["nox>=2025.10"]
# ///
"""The sessions; ``nox -l`` lists them."""

from __future__ import annotations

import os
import re
import shutil

import nox

nox.needs_version = ">=2025.10"
# pip, not uv: it honours a machine's pip settings, by which a CPU build of PyTorch can be found
nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = True
nox.options.sessions = ["compare"]

PROJECT = nox.project.load_toml("pyproject.toml")
RELEASES = {
    "pytorch": ("2.13",),  # of others, few machines' pip finds a CPU build
    "jax": ("0.7", "0.8", "0.9", "0.10"),
    "tensorflow": ("2.18", "2.19", "2.20", "2.21"),
    "sklearn": ("1.7", "1.8", "1.9"),
}
ENVIRONMENTS: list[str] = []  # for `together`: what `isolated` and `canary` have made in this run


def _install(session: nox.Session, *groups: str) -> None:
    session.install(*PROJECT["project"]["dependencies"], *nox.project.dependency_groups(PROJECT, *groups))


@nox.session
def compare(session: nox.Session) -> None:
    """Compare every formula of the document in every framework; options after ``--``."""
    _install(session, "frameworks")
    session.run("python", "-m", "compare", *session.posargs)


@nox.session
@nox.parametrize(
    ["name", "release"], [nox.param(n, r, id=f"{n} {r}") for n, releases in RELEASES.items() for r in releases]
)
def isolated(session: nox.Session, name: str, release: str) -> None:
    """Compare each framework, in several releases, each in an environment of its own; options after ``--``."""
    _isolate(session, name, requirements(name, release))


@nox.session
@nox.parametrize("name", [nox.param(name, id=name) for name in RELEASES])
def canary(session: nox.Session, name: str) -> None:
    """Compare the newest release of each framework, nothing pinned; options after ``--``."""
    _isolate(session, name, requirements(name))


def requirements(name: str, release: str | None = None) -> list[str]:
    """What ``pyproject.toml`` asks for, the framework in that release; without one, nothing pinned."""
    group = nox.project.dependency_groups(PROJECT, name)
    pin = r"==[\d.]+\*"
    if release is None:
        return [re.sub(pin, "", each) for each in group]
    (pinned,) = re.findall(pin, group[0])
    return [each.replace(pinned, f"=={release}.*") for each in group]


def _isolate(session: nox.Session, name: str, framework: list[str]) -> None:
    session.install("--upgrade", *nox.project.dependency_groups(PROJECT, "worker"), *framework)
    ENVIRONMENTS.extend(("--python", f"{name}={os.path.join(session.bin, 'python')}"))
    session.notify("together")


@nox.session
def together(session: nox.Session) -> None:
    """One table and page of all environments that ``isolated`` and ``canary`` made: they run this."""
    if not ENVIRONMENTS:
        session.error("found no environment, expected those of nox -s isolated or nox -s canary")
    _install(session)
    session.run("python", "-m", "compare", *ENVIRONMENTS, *session.posargs)


@nox.session
def soak(session: nox.Session) -> None:
    """Compare millions of random networks, and go on where that was ended; options after ``--``."""
    _install(session, "frameworks")
    session.run("python", "-m", "compare.soak", *session.posargs)


@nox.session
def certify(session: nox.Session) -> None:
    """Measure every framework's sigmoid on all inputs and write adapters/certified.json; options after ``--``."""
    _install(session, "frameworks")
    session.run("python", "-m", "compare.certify", *session.posargs)


@nox.session
def findings(session: nox.Session) -> None:
    """Repeat every finding and write FINDINGS.md; names after ``--`` repeat only these."""
    _install(session, "frameworks")
    session.run("python", "-m", "findings", *session.posargs)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests, the comparison on small problems among them."""
    _install(session, "frameworks", "test")
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session
def browser(session: nox.Session) -> None:
    """Open the page in Chromium: its formulas, its numbers, its script or none, and whether everyone can use it."""
    if shutil.which("chromium") is None:
        if not (shutil.which("apt-get") and os.access("/var/lib/dpkg", os.W_OK)):
            session.error("found no chromium, and may not install it; Debian has it: apt-get install chromium")
        session.run("apt-get", "update", external=True)
        session.run("apt-get", "install", "--yes", "chromium", external=True)
    if shutil.which("npm") is None:
        session.error("found no npm, by which axe-core is installed, the check of accessibility")
    _install(session, "test", "browser")
    modules = session.create_tmp()
    session.run("npm", "install", "--no-audit", "--no-fund", "--prefix", modules, "axe-core@4", external=True)
    axe = os.path.join(modules, "node_modules", "axe-core", "axe.min.js")
    session.run("python", "-m", "pytest", "tests/browser", *session.posargs, env={"AXE": axe})


@nox.session
def faults(session: nox.Session) -> None:
    """Plant every fault of the catalogue and show who sees it; options after ``--``."""
    _install(session, "frameworks", "test")
    session.run("python", "-m", "tests.faults", *session.posargs)


@nox.session
def mutants(session: nox.Session) -> None:
    """Change the checker, one operator at a time, and see the tests fail; about an hour; needs no framework."""
    _install(session, "test", "mutants")
    session.run("python", "-m", "tests.mutants", *session.posargs)


@nox.session
def fuzz(session: nox.Session) -> None:
    """Read 100,000 hostile vector files, or as many as stand after ``--``; needs no framework."""
    _install(session)
    session.run("python", "-m", "tests.compare.fuzz_vectors", *session.posargs)


@nox.session
def bench(session: nox.Session) -> None:
    """Measure the suite's speed beside every peer's and write it into the README; half an hour; options after ``--``."""
    _install(session, "frameworks", "bench")
    session.run("python", "-m", "bench", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check style, types, and the workflows in .github/; needs no framework."""
    _install(session, "lint")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("mypy")
    session.run("actionlint")
    session.run("zizmor", "--offline", "--quiet", ".github")


if __name__ == "__main__":
    nox.main()
