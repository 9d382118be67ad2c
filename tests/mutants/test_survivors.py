"""What survivors.toml explains is still there; `nox -s mutants` finds whether it still lives."""

from pathlib import Path

from tests.mutants.survivors import explained

ROOT = Path(__file__).parent.parent.parent


def test_the_lines_of_the_survivors_are_in_their_files() -> None:
    survivors = explained()
    assert survivors
    for mutant, reason in survivors.items():
        lines = (ROOT / mutant.module).read_text(encoding="utf-8").splitlines()
        assert mutant.line in map(str.strip, lines), mutant
        assert reason
