"""What survivors.toml explains is still there; `nox -s mutants` finds whether it still lives."""

from pathlib import Path

import pytest

from tests.mutants.survivors import Mutant, explained

ROOT = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("mutant", list(explained()), ids=lambda mutant: f"{mutant.module}-{mutant.operator}-{mutant.place}")
def test_the_line_of_a_survivor_is_in_its_file(mutant: Mutant) -> None:
    lines = (ROOT / mutant.module).read_text(encoding="utf-8").splitlines()
    assert mutant.line in map(str.strip, lines)
    assert explained()[mutant]
