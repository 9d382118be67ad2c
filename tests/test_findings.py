"""FINDINGS.md: every claim in it is repeated, by the program that stands beside it."""

import platform
import re
from dataclasses import replace
from itertools import groupby

import pytest

from adapters import REGISTRY
from findings import __main__ as command
from findings.catalogue import FINDINGS, FRAMEWORKS, KINDS, PROGRAMS
from findings.report import FILE, circumstances, claim, holds, markdown
from findings.run import numbers, run
from reference.formulas import LEDGER

NAMES = {finding.name: finding for finding in FINDINGS}
TEXT = FILE.read_text(encoding="utf-8")

# Other processors have other vector kernels, and flush otherwise: nothing is claimed of them.
on_x86 = pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="the claims are about x86-64")


@pytest.fixture(scope="module")
def printed() -> dict[str, str]:
    """What every program prints: one process for each framework, and for each environment that a program asks for."""
    return {
        name: text
        for _, group in groupby(sorted(FINDINGS, key=process), process)
        for name, text in run(list(group)).items()
    }


def process(finding) -> tuple[str, list[tuple[str, str]]]:
    return finding.framework, sorted(finding.environment.items())


@on_x86
@pytest.mark.parametrize("name", NAMES)
def test_the_claim_holds(name, printed):
    assert holds(NAMES[name], printed[name]), printed[name]


@on_x86
def test_the_file_is_what_the_command_writes(printed):
    (date,) = re.findall(r"^Measured on (\S+): ", TEXT, re.MULTILINE)
    now = markdown(printed, date)
    assert without_numbers(now) == without_numbers(TEXT)
    if f"Measured on {date}: {circumstances()}.\n" in TEXT:
        assert now == TEXT


def without_numbers(text: str) -> str:
    """Elsewhere numbers may be others, and so may what they are measured with."""
    text = re.sub(r"(?m)^(Measured on|(?:numpy|torch|jax|tensorflow|tensorflow-cpu|scikit-learn) \d).*$", "", text)
    return re.sub(r"-?\b(\d[\d.]*(e[-+]?\d+)?|inf|nan)\b%?", "#", text)


def test_every_program_belongs_to_a_finding_and_imports_one_framework():
    assert {path.stem for path in PROGRAMS.glob("*.py")} == set(NAMES)
    modules = {name: {entry.imports} for name, entry in REGISTRY.items()}
    modules["numpy"] |= {"ml_dtypes"}
    modules["tensorflow"] |= {"keras"}
    modules["sklearn"] |= {"scipy"}
    for name, finding in NAMES.items():
        imported = set(re.findall(r"^(?:import|from) (\w+)", finding.program.read_text(encoding="utf-8"), re.MULTILINE))
        assert imported - {"numpy"} <= modules[finding.framework], name


def test_every_finding_has_a_known_framework_kind_and_formula():
    assert set(FRAMEWORKS) == set(REGISTRY) == {finding.framework for finding in FINDINGS}
    ledger = {formula.number for formula in LEDGER} | {"all"}
    for finding in FINDINGS:
        assert finding.kind in KINDS
        assert set(finding.formulas.split(", ")) <= ledger
        assert all(re.fullmatch(r"https://github\.com/[\w./-]+/(issues|pull)/\d+", url) for url in finding.upstream)


@on_x86
@pytest.mark.parametrize("name", NAMES)
def test_no_claim_holds_of_any_numbers(name, printed):
    assert not holds(NAMES[name], re.sub("= .*", "= 0.0", printed[name]))


def test_a_refuted_claim_is_reported_and_nothing_is_written(monkeypatch, capsys):
    monkeypatch.setattr(command, "run", lambda findings: {findings[0].name: "differ = 0.0\n"})
    monkeypatch.setattr(command, "FINDINGS", (NAMES["jax_fused_step"],))
    monkeypatch.setattr("compare.results.write_text", pytest.fail)
    assert command.main([]) == 1
    assert "refuted  jax_fused_step: found differ = 0.0, expected that a step" in capsys.readouterr().out


def test_named_findings_are_repeated_and_nothing_is_written(monkeypatch, capsys):
    monkeypatch.setattr(command, "run", lambda findings: {findings[0].name: "differ = 0.25\n"})
    monkeypatch.setattr("compare.results.write_text", pytest.fail)
    assert command.main(["jax_fused_step"]) == 0
    assert "holds  jax_fused_step: Of 10,000 weights in float32, 25.0% " in capsys.readouterr().out


def test_an_unknown_name_is_bad_input(capsys):
    with pytest.raises(SystemExit, match="2"):
        command.main(["sigmoid"])
    assert capsys.readouterr().err.startswith(
        "findings: NAME: found 'sigmoid', expected one of numpy_sigmoid_accuracy, "
    )


def test_a_program_that_fails_ends_the_command(monkeypatch, capsys):
    monkeypatch.setattr(command, "FINDINGS", (replace(NAMES["jax_fused_step"], name="jax_nothing"),))
    with pytest.raises(SystemExit, match="2"):
        command.main([])
    assert re.fullmatch(
        r"findings: jax_nothing: found FileNotFoundError: .*, expected numbers\n", capsys.readouterr().err
    )


def test_a_line_that_is_no_number_is_named():
    assert numbers("one = 1.0\nnone = inf\n") == {"one": 1.0, "none": float("inf")}
    with pytest.raises(ValueError, match="found 'Warning: careful', expected a line 'name = number'"):
        numbers("one = 1.0\nWarning: careful\n")


def test_the_numbers_of_a_claim_are_its_programs():
    finding = replace(NAMES["jax_fused_step"], claim="{differ} and {certified.jax.jit.float32.long.inputs}")
    assert claim(finding, "differ = 0.5\n") == f"0.5 and {2**32}"
