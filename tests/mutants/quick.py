"""A pytest plugin for mutants, of which most are found by any test: the quick tests first, in the order of the baseline.

Loaded by the test command of cosmic-ray.toml. The tests of check.py are for its own mutants. There are fewer examples, and of one that fails no smaller one is searched.
"""

import json
from pathlib import Path

import pytest
from hypothesis import Phase, settings

DURATIONS = Path("durations.json")
CHECK = Path("compare/check.py")
_seconds: dict[str, float] = {}

settings.register_profile("mutants", phases=[Phase.explicit, Phase.generate], derandomize=True, max_examples=10)
settings.load_profile("mutants")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if DURATIONS.exists():
        known = json.loads(DURATIONS.read_text())
        items.sort(key=lambda item: known.get(item.nodeid, 0.0))
        if CHECK.read_bytes() == ("begun_with" / CHECK).read_bytes():  # the mutant is in rounding.py
            items[:] = [item for item in items if item.path.name != "test_check.py"]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _seconds[report.nodeid] = _seconds.get(report.nodeid, 0.0) + report.duration


def pytest_sessionfinish(exitstatus: int) -> None:
    if not DURATIONS.exists() and exitstatus == 0:  # the baseline
        DURATIONS.write_text(json.dumps(_seconds))
