"""What the repository says in several places is said once: versions, sessions, releases, paths."""

import re
import tomllib
from pathlib import Path

import nox.registry
import pytest

import noxfile
from adapters import REGISTRY

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
PAGES = [*ROOT.glob("*.md"), *ROOT.glob(".github/workflows/*"), ROOT / "CITATION.cff"]
TEXTS = {path.name: path.read_text(encoding="utf-8") for path in PAGES}


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "ci.yml", "canary.yml"])
def test_every_session_that_is_named_exists(page):
    named = re.findall(r'(?:nox -s |session: \[?)"?([a-z]+(?:\(.+?\))?)', TEXTS[page])
    assert named
    assert set(named) <= {
        *nox.registry.get(),
        *(f"isolated({n} {r})" for n, of in noxfile.RELEASES.items() for r in of),
    }


def test_every_path_of_the_contributors_page_exists():
    paths = re.findall(r"`((?:[\w.]+/)[\w./]*|[\w.]+\.(?:md|toml|py))`", TEXTS["CONTRIBUTING.md"])
    assert len(paths) > 10
    missing = {path for path in paths if not (ROOT / path).exists()}
    assert missing - {"report/index.html"} == {"adapters/NAME.py"}


def test_the_tests_run_on_every_python_that_is_promised():
    promised = [each.rpartition(" ")[2] for each in PROJECT["classifiers"] if " :: Python :: 3." in each]
    (tested,) = re.findall(r"python: \[(.+)\]", TEXTS["ci.yml"])
    assert promised == re.findall(r'"(.+?)"', tested)
    assert PROJECT["requires-python"] == f">={promised[0]}"


def test_the_version_and_the_licence_are_those_of_the_project():
    cited = re.findall(r"^(?:version|license): (.+)$", TEXTS["CITATION.cff"], re.MULTILINE)
    assert cited == [PROJECT["version"], PROJECT["license"]]
    assert f"\n## {PROJECT['version']} " in TEXTS["CHANGELOG.md"]


def group(name: str) -> list[str]:
    return list(nox.project.dependency_groups(noxfile.PROJECT, name))


def test_releases_are_of_every_framework_and_hold_the_pinned_one():
    assert set(noxfile.RELEASES) == set(REGISTRY) - {"numpy"}
    for name, releases in noxfile.RELEASES.items():
        assert group(name) in [noxfile.requirements(name, release) for release in releases]


def test_a_release_is_another_of_the_framework_alone_and_the_newest_is_not_pinned():
    assert noxfile.requirements("jax", "0.7") == ["jax==0.7.*", *group("jax")[1:]]
    assert noxfile.requirements("jax") == ["jax", "optax"]
    older = noxfile.requirements("tensorflow", "2.18")
    assert [each.partition(";")[0] for each in older] == ["tensorflow-cpu==2.18.*", "tensorflow==2.18.*"]
    assert [each.partition(";")[0] for each in noxfile.requirements("tensorflow")] == ["tensorflow-cpu", "tensorflow"]
