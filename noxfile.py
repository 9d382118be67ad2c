#!/usr/bin/env -S uv run --script

# /// script
# dependencies = ["nox>=2025.10"]
# ///
"""Sessions: ``nox -s compare``, ``nox -s certify``, ``nox -s soak``, ``nox -s tests``, ``nox -s faults``,
``nox -s fuzz``, ``nox -s mutants``, ``nox -s browser``, ``nox -s lint``.
"""

from __future__ import annotations

import os
import shutil

import nox

nox.needs_version = ">=2025.10"
# pip, not uv: it honours a machine's pip settings, by which a CPU build of PyTorch can be found
nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = True
nox.options.sessions = ["compare"]

PROJECT = nox.project.load_toml("pyproject.toml")


def _install(session: nox.Session, *groups: str) -> None:
    session.install(*PROJECT["project"]["dependencies"], *nox.project.dependency_groups(PROJECT, *groups))


@nox.session
def compare(session: nox.Session) -> None:
    """Compare every formula of the document in every framework; options after ``--``."""
    _install(session, "frameworks")
    session.run("python", "-m", "compare", *session.posargs)


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
def lint(session: nox.Session) -> None:
    """Check style and types; needs no framework."""
    _install(session, "lint")
    session.run("ruff", "check")
    session.run("ruff", "format", "--check")
    session.run("mypy")


if __name__ == "__main__":
    nox.main()
