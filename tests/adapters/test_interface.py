"""The registry, the loader and its refusals, and `assert_held`."""

import re
import subprocess
import sys
import tomllib
from dataclasses import replace

import numpy as np
import pytest

from adapters import REGISTRY, NotOffered, installed, load
from adapters.interface import assert_held
from adapters.numpy_ import NumPy
from compare.problems import DOCUMENT, random_problem
from compare.run import ROOT
from tests.adapters.cases import adapter

FRAMEWORKS = [name for name in REGISTRY if name != "numpy"]

every_adapter = pytest.mark.parametrize("name", REGISTRY)
every_framework = pytest.mark.parametrize("name", FRAMEWORKS)


# --- the registry ------------------------------------------------------------------------------------------------


@every_adapter
def test_the_registry_knows_the_class_without_importing_it(name) -> None:
    assert installed(name)
    found, entry = adapter(name), REGISTRY[name]
    assert (found.name, found.modes) == (name, entry.modes)
    assert sys.modules[entry.imports].__version__ == found.version


def test_nothing_but_an_adapter_imports_a_framework() -> None:
    code = """if True:
        import adapters, compare, reference
        import importlib, pkgutil, sys
        for package in (compare, reference):
            for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
                importlib.import_module(module.name)
        frameworks = {entry.imports for entry in adapters.REGISTRY.values()} - {"numpy"}
        assert len(frameworks) == 4
        sys.exit(", ".join(frameworks & sys.modules.keys()) or 0)
    """
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (found.returncode, found.stderr) == (0, "")


# --- the loader --------------------------------------------------------------------------------------------------


class Outside(NumPy):
    """An adapter that the registry does not know."""

    def __init__(self, device: str = "cpu") -> None:
        self.device = device


class WithoutVersion(Outside):
    version = None  # type: ignore[assignment]


def test_an_adapter_from_outside_is_loaded_on_the_device_asked_for() -> None:
    found = load(f"{__name__}:Outside", "abacus")
    assert isinstance(found, Outside)
    assert found.device == "abacus"


NAMES = f"expected one of {', '.join(REGISTRY)}, or MODULE:CLASS"
NO_ADAPTER = "is not an adapter class"
MEMBERS = ("name", "framework", "modes", "arithmetic", "trace", "gradients")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("torch", f"adapter: found 'torch', {NAMES}"),
        ("", f"adapter: found '', {NAMES}"),
        (":NumPy", f"adapter: found ':NumPy', {NAMES}"),
        ("adapters.numpy_:", f"adapter: found 'adapters.numpy_:', {NAMES}"),
        ("adapters.numpy_:Nobody", "adapter adapters.numpy_:Nobody: module adapters.numpy_ has no Nobody"),
        (
            "adapters:NotOffered",
            f"adapter adapters:NotOffered: NotOffered {NO_ADAPTER} (it lacks {', '.join(MEMBERS)})",
        ),
        ("reference:backprop", f"adapter reference:backprop: backprop {NO_ADAPTER} (it lacks {', '.join(MEMBERS)})"),
        (
            f"{__name__}:WithoutVersion",
            f"adapter {__name__}:WithoutVersion: WithoutVersion {NO_ADAPTER} (it lacks version)",
        ),
    ],
)
def test_what_is_not_an_adapter_is_refused(spec, message) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        load(spec)


@every_framework
def test_a_framework_that_is_not_installed_is_named_with_how_to_install_it(name, monkeypatch) -> None:
    entry = REGISTRY[name]
    module = entry.spec.partition(":")[0]
    monkeypatch.setitem(sys.modules, entry.imports, None)  # Python's way to say that it cannot be imported
    monkeypatch.delitem(sys.modules, module, raising=False)
    with pytest.raises(ImportError) as error:
        load(name)
    start, hint = (
        f"adapter {name}: cannot import {module}: ",
        f"; install it with: python -m pip install --group {name}",
    )
    assert str(error.value).startswith(start)
    assert entry.imports in str(error.value).removeprefix(start)
    assert str(error.value).endswith(hint)
    assert name in tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["dependency-groups"]


def test_a_module_from_outside_that_is_not_there_is_named_without_advice() -> None:
    with pytest.raises(ImportError, match=r"^adapter no\.such:Thing: cannot import no\.such: No module named 'no'$"):
        load("no.such:Thing")


@every_adapter
def test_a_device_that_is_not_there_is_not_offered(name) -> None:
    with pytest.raises(NotOffered, match=f"^{adapter(name).framework} has no device 'abacus'"):
        load(name, "abacus")


# --- assert_held -------------------------------------------------------------------------------------------------

PROBLEM = random_problem(np.random.default_rng(0), DOCUMENT, 2, (3,), "float32")


def flip_a_bit(array):
    changed = array.copy()
    changed.view(np.uint8).flat[-4] ^= 1  # the last bit of the last number
    return changed


CHANGES = {
    "bytes": (flip_a_bit, ""),
    "dtype": (lambda array: array.view(np.int32), ": found int32, expected float32"),
    "shape": (lambda array: array.reshape(-1), ": found ({size},), expected {shape}"),
}


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize("index", range(6), ids=[name for name, _ in PROBLEM.named()])
def test_what_a_framework_does_not_hold_is_noticed(what, index) -> None:
    change, detail = CHANGES[what]
    names, held = zip(*PROBLEM.named(), strict=True)
    array = held[index]
    detail = detail.format(size=array.size, shape=array.shape)
    message = f"{names[index]}: the framework does not hold the {what} it was given{detail}"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        assert_held(PROBLEM, [*held[:index], change(array), *held[index + 1 :]])


def test_a_zero_of_the_other_sign_is_noticed() -> None:
    zeros = PROBLEM.map(np.zeros_like)
    with pytest.raises(ValueError, match=r"^w\[0\]: .* bytes"):
        assert_held(zeros, [-array for _, array in zeros.named()])


def test_an_array_too_few_is_noticed() -> None:
    with pytest.raises(ValueError, match="shorter"):
        assert_held(PROBLEM, [array for _, array in PROBLEM.named()][:-1])


def test_the_same_numbers_are_held_in_any_layout_of_memory() -> None:
    assert_held(PROBLEM, [np.asfortranarray(array) for _, array in PROBLEM.named()])
    nan = replace(PROBLEM, x=np.full_like(PROBLEM.x, np.nan))
    assert_held(nan, [array.copy() for _, array in nan.named()])
