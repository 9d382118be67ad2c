"""The README stays true: its ledger is the ledger, its example adapter runs, its options are the program's."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from adapters import REGISTRY
from compare.__main__ import main
from reference.formulas import LEDGER

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def ledger_table() -> str:
    rows = ["| no. | § | formula | quantity in the trace |", "|---|---|---|---|"]
    for formula in LEDGER:
        quantities = dict.fromkeys(
            f"`{s.quantity}` ({'the 2-3-2 net' if s.widths else s.layers})" for s in formula.statements
        )
        rows.append(f"| {formula.number} | {formula.section or '–'} | {formula.text} | {', '.join(quantities)} |")
    return "\n".join(rows)


def test_ledger_table_is_the_ledger():
    assert ledger_table() in README


def test_example_adapter_agrees(tmp_path):
    (source,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    (tmp_path / "torch_func.py").write_text(source, encoding="utf-8")
    command = [sys.executable, "-m", "compare", "--frameworks", "numpy", "--adapter", "torch_func:TorchFunc"]
    command += ["--problems", "document", "--networks", "50", "--report", str(tmp_path)]
    path = f"{ROOT}:{tmp_path}"
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env={"PYTHONPATH": path}, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    assert re.search(r"torch-func +grad +0/24 +1,700 ", run.stdout)
    assert "not covered  torch-func grad" in run.stdout
    assert "not available  torch-func grad (bfloat16 float16): " in run.stdout


def test_modes_are_the_programs():
    table = README[README.index("| framework | modes |") : README.index("All run in float32")]
    rows = {row.split("|")[1].strip(): set(re.findall(r"`([a-z]+)`", row)) for row in table.splitlines()[2:] if row}
    assert rows == {name: set(entry.modes) for name, entry in REGISTRY.items()}


def test_the_file_of_a_framework_is_as_short_as_it_says():
    (lines,) = re.findall(r"The whole of scikit-learn is one file of (\d+) lines", README)
    assert len((ROOT / "adapters" / "sklearn.py").read_text(encoding="utf-8").splitlines()) == int(lines) < 120


def test_options_are_the_programs(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    options = set(re.findall(r"--[a-z]+", capsys.readouterr().out)) - {"--help"}
    documented = set(re.findall(r"`(--[a-z]+)", README[README.index("## Options") : README.index("## Layout")]))
    assert documented == options


@pytest.mark.parametrize("phrase", ["entries compared in", "of bound", "step by step", "worst ULP"])
def test_printed_output_has_the_programs_form(phrase, capsys, tmp_path):
    main(["--frameworks", "numpy", "--problems", "document", "--networks", "5", "--report", str(tmp_path)])
    assert phrase in capsys.readouterr().out
    assert phrase in README
