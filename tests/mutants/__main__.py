"""Mutation testing of the checker: ``nox -s mutants``, which is ``python -m tests.mutants [DIR]``.

cosmic-ray changes one operator, number or word at a time in the two files that judge, in a copy of the project, and runs
their tests. A mutant that these let live is either explained in survivors.toml or a hole in the tests. Exit status: 0 all
others are killed; 1 one lives without an explanation, or an explained one was killed; 2 it could not be done.

``DIR`` keeps the copies and what was done in them, for a run that goes on; by default a temporary directory.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cosmic_ray.work_db import use_db
from cosmic_ray.work_item import TestOutcome, WorkerOutcome, WorkResult

from tests.mutants.survivors import Mutant, explained

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
MODULES = ("compare/check.py", "reference/rounding.py")
ROOMS = ("reference", "adapters", "compare", "tests", "pyproject.toml")


def mutate(copy: Path, share: int, shares: int) -> None:
    """Try every ``shares``-th mutant of both modules in a copy of the project, beginning with number ``share``."""
    session, config, begun_with = copy / "session.sqlite", copy / "cosmic-ray.toml", copy / "begun_with"
    for module in MODULES:
        source, before = ROOT / module, begun_with / module
        if before.exists() and before.read_bytes() != source.read_bytes():
            raise SystemExit(f"mutants: found another {module} in {copy}, expected this one; name another directory")
        before.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, before)
    for room in ROOMS:  # also over a mutant at which a run was broken off
        if (ROOT / room).is_dir():
            shutil.copytree(ROOT / room, copy / room, ignore=shutil.ignore_patterns("__pycache__"), dirs_exist_ok=True)
        else:
            shutil.copy2(ROOT / room, copy / room)
    shutil.copy2(HERE / config.name, config)
    if not session.exists():
        for command in (
            ["cosmic-ray", "baseline", config.name],
            ["cosmic-ray", "init", config.name, session.name],
            ["cr-filter-operators", session.name, config.name],
        ):
            subprocess.run(command, cwd=copy, check=True)
        with use_db(session) as database:
            for number, item in enumerate(sorted(database.pending_work_items, key=lambda item: str(item.mutations))):
                if number % shares != share:
                    database.set_result(item.job_id, WorkResult(worker_outcome=WorkerOutcome.SKIPPED))
    subprocess.run(["cosmic-ray", "exec", config.name, session.name], cwd=copy, check=True)


def read(sessions: list[Path]) -> tuple[Counter[str], set[Mutant]]:
    """How many mutants were killed and how many survived, and the survivors."""
    found = []
    for session in sessions:
        with use_db(session) as database:
            results = dict(database.results)
            found += [
                (mutation, results.get(item.job_id)) for item in database.work_items for mutation in item.mutations
            ]
    lines = {module: (ROOT / module).read_text(encoding="utf-8").splitlines() for module in MODULES}
    places: dict[tuple[str, str, int], list[int]] = {}
    for mutation, _ in found:
        places.setdefault((str(mutation.module_path), mutation.operator_name, mutation.start_pos[0]), []).append(
            mutation.occurrence
        )
    counts, survivors = Counter[str](), set[Mutant]()
    for mutation, result in found:
        if result is None or result.test_outcome is None:  # another copy's
            continue
        counts[f"{result.test_outcome.value} in {mutation.module_path}"] += 1
        if result.test_outcome == TestOutcome.SURVIVED:
            module, operator, row = str(mutation.module_path), mutation.operator_name, mutation.start_pos[0]
            place = sorted(set(places[module, operator, row])).index(mutation.occurrence)
            survivors.add(Mutant(module, lines[module][row - 1].strip(), operator.removeprefix("core/"), place))
    return counts, survivors


def main(directory: Path) -> int:
    """Try all mutants, on as many processors as there are, and compare the survivors with those that are explained."""
    shares = os.cpu_count() or 1
    copies = [directory / str(share) for share in range(shares)]
    with ThreadPoolExecutor(shares) as pool:
        list(pool.map(mutate, copies, range(shares), [shares] * shares))
    counts, alive = read([copy / "session.sqlite" for copy in copies])
    known = explained()
    print(", ".join(f"{count} {what}" for what, count in sorted(counts.items())))
    for title, mutants in (
        ("lives, unexplained", alive - known.keys()),
        ("explained, but killed", known.keys() - alive),
    ):
        for mutant in sorted(mutants):
            print(f"{title}: {mutant.module}: {mutant.operator}, place {mutant.place}: {mutant.line}")
    return int(alive != known.keys())


if __name__ == "__main__":
    if len(sys.argv) > 1:
        sys.exit(main(Path(sys.argv[1])))
    with tempfile.TemporaryDirectory() as temporary:
        sys.exit(main(Path(temporary)))
