"""What `adapters/interface.py` promises, kept by every adapter in every mode and precision."""

import ast
import inspect
import os
import sys
from collections.abc import Callable
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np
import pytest

from adapters import NotOffered, load
from compare import check
from compare.problems import build, random_problem
from compare.run import ROOT
from reference import Gradients, Problem, Trace, backprop, formulas
from reference.backprop import forward_mode
from reference.exact import exact_gradients
from reference.network import Array
from tests.adapters.cases import (
    CASES,
    NETWORKS,
    SEED,
    WITH_JACOBIANS,
    adapter,
    every_case,
    offered,
    torch_compiles,
)

pytestmark = torch_compiles

WITH_AUTODIFF = [case for case in CASES if case[0] not in ("numpy", "sklearn")]
ONE_PRECISION = [case for case in WITH_AUTODIFF if case[2] == "float32"]


class Answer(NamedTuple):
    """A problem of the comparison, what an adapter makes of it, and what else its first calls have changed."""

    problem: Problem
    trace: Trace
    gradients: Gradients
    touched: dict[str, tuple[Any, Any]]


@cache
def answer(name: str, mode: str, dtype: str) -> Answer:
    offered(name, mode, dtype)
    (problem,) = build("document", dtype, NETWORKS, SEED)
    framework = adapter(name)
    before = surroundings()
    trace, gradients = framework.trace(problem, mode), framework.gradients(problem, mode)
    after = surroundings()
    touched = {what: (before[what], after[what]) for what in before if before[what] != after[what]}
    return Answer(problem, trace, gradients, touched)


def arrays(quantities: Trace | Gradients) -> dict[str, Array]:
    """Every array by its name."""
    found: dict[str, Array] = {}
    for name, value in vars(quantities).items():
        layers = {f"{name}[{layer}]": array for layer, array in enumerate(value)} if isinstance(value, tuple) else {}
        found |= layers or ({} if value is None else {name: value})
    return found


# --- NumPy in, NumPy out ------------------------------------------------------------------------------------------


def assert_fits(problem: Problem, trace: Trace, gradients: Gradients) -> None:
    for name, array in (arrays(trace) | arrays(gradients)).items():
        assert isinstance(array, np.ndarray | np.generic), name
    trace.validate(problem)
    Trace(**vars(gradients)).validate(problem)


@every_case
def test_every_quantity_is_a_numpy_array_that_fits_the_problem(name, mode, dtype) -> None:
    found = answer(name, mode, dtype)
    assert_fits(found.problem, found.trace, found.gradients)
    missing = {quantity for quantities in (found.trace, found.gradients) for quantity, value in vars(quantities).items()
               if value is None}  # fmt: skip
    assert missing == adapter(name).not_covered.keys()


@pytest.mark.parametrize(
    ("widths", "batch", "stack", "dtype"),
    [((3, 2), 2, (), "float32"), ((2, 3, 4), 2, (2, 3), "float64")],
    ids=["depth 1, batch 2, no stack", "depth 2, batch 2, stack of 2 x 3"],
)
@pytest.mark.parametrize(("name", "mode"), dict.fromkeys((name, mode) for name, mode, _ in CASES))
def test_networks_of_other_shapes(name, mode, widths, batch, stack, dtype) -> None:
    problem = random_problem(np.random.default_rng(0), widths, batch, stack, dtype)
    trace, gradients = adapter(name).trace(problem, mode), adapter(name).gradients(problem, mode)
    assert_fits(problem, trace, gradients)
    arithmetic = adapter(name).arithmetic(mode, dtype)
    truth = exact_gradients(problem, arithmetic)
    tallies = [check.step(problem, trace, arithmetic), check.end_to_end(problem, gradients, arithmetic, truth)]
    for tally in (tally for each in tallies for tally in each.values()):
        assert tally.failures == 0, tally
        assert tally.entries > 0 or adapter(name).not_covered, tally


@pytest.mark.parametrize(("name", "mode"), dict.fromkeys((name, mode) for name, mode, _ in CASES))
def test_float64_is_not_float32_in_disguise(name, mode) -> None:
    # An array that equals what float32 makes of these numbers, or of any others, consists of float32 numbers.
    found = answer(name, mode, "float64")
    assert found.problem.network.w[0].dtype == "float64"
    for label, array in (arrays(found.trace) | arrays(found.gradients)).items():
        assert np.mean(array != array.astype(np.float32)) > 0.9, label


@every_case
def test_the_problem_is_left_as_it_was_and_is_no_part_of_the_answer(name, mode, dtype) -> None:
    offered(name, mode, dtype)
    (problem,) = build("document", dtype, NETWORKS, SEED)
    before = [array.tobytes() for _, array in problem.named()]
    found = arrays(adapter(name).trace(problem, mode)) | arrays(adapter(name).gradients(problem, mode))
    assert [array.tobytes() for _, array in problem.named()] == before
    shared = [label for label, array in found.items() for _, given in problem.named() if np.shares_memory(array, given)]
    assert shared == []


@every_case
def test_the_gradients_are_those_of_the_trace(name, mode, dtype) -> None:
    problem, trace, gradients, _ = answer(name, mode, dtype)
    arithmetic = adapter(name).arithmetic(mode, dtype)
    given = problem.map(arithmetic.exact)
    whole = backprop(given)
    bounds, of_trace = arrays(whole), arrays(trace)
    if arithmetic.forward:
        bounds |= arrays(forward_mode(given, whole.h or ()))
    for label, array in arrays(gradients).items():
        between = np.abs(array.astype(arithmetic.working) - of_trace[label].astype(arithmetic.working))
        assert np.all(between <= 2 * bounds[label].error), label  # each lies within the error of the same value


# --- Jacobians ----------------------------------------------------------------------------------------------------


@every_case
def test_a_jacobian_call_of_its_own_gives_every_output_by_every_input(name, mode, dtype) -> None:
    arithmetic = offered(name, mode, dtype)
    (problem,) = build("jacobian", dtype, NETWORKS, SEED)
    found = adapter(name).jacobians(problem, mode)
    assert (found is not None) == (mode in WITH_JACOBIANS.get(name, []))
    if found is not None:
        tallies = check.jacobians(problem, found, arithmetic)
        assert {number for number, _ in tallies} == {"11", "12", "16", "17", "18"}
        for place, tally in tallies.items():
            assert (tally.failures, tally.not_covered) == (0, None), (place, tally)


# --- what is not offered ------------------------------------------------------------------------------------------


REFUSED = {("numpy", "bfloat16"), ("sklearn", "bfloat16"), ("sklearn", "float16")}


@every_case
def test_every_precision_is_there_but_for_those_that_are_known_not_to_be(name, mode, dtype) -> None:
    if (name, dtype) in REFUSED:
        with pytest.raises(NotOffered, match=r"NumPy has no bfloat16|MLPRegressor has float32 and float64 only"):
            adapter(name).arithmetic(mode, dtype)
    else:
        assert adapter(name).arithmetic(mode, dtype).dtype == dtype


@pytest.mark.parametrize("unknown", ["float80", "int32"])
@pytest.mark.parametrize(("name", "mode"), dict.fromkeys((name, mode) for name, mode, _ in CASES))
def test_a_precision_that_is_not_there_is_not_offered(name, mode, unknown) -> None:
    with pytest.raises(NotOffered, match=f"{unknown}|all others"):
        adapter(name).arithmetic(mode, unknown)


def test_compiling_without_a_compiler_is_not_offered(monkeypatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(NotOffered, match=r"^torch\.compile needs a C\+\+ compiler, and no-such-compiler is not on"):
        adapter("pytorch").arithmetic("compile", "float32")
    assert adapter("pytorch").arithmetic("eager", "float32").dtype == "float32"
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(NotOffered, match=r"(g|clang)\+\+ is not on the PATH"):
        adapter("pytorch").arithmetic("compile", "float32")


# --- process-wide settings ----------------------------------------------------------------------------------------


class Setting(NamedTuple):
    """A process-wide setting that an adapter pins during a call, and another value that it has outside."""

    get: Callable[[], Any]
    pinned: Any
    change: Callable[[Any], Any] | None = None  # None: read once, when the framework is imported
    to: Any = None
    recorded: bool = True  # by this name in the adapter's `settings`


def pytorch_settings() -> dict[str, Setting]:
    import torch
    from torch._dynamo import config as dynamo

    def change(config: Any, name: str) -> Callable[[Any], None]:
        return lambda value: setattr(config, name, value)

    return {
        "float32_matmul_precision": Setting(
            torch.get_float32_matmul_precision, "highest", torch.set_float32_matmul_precision, "medium"
        ),
        "cuda.matmul.allow_tf32": Setting(lambda: torch.backends.cuda.matmul.allow_tf32, False),
        "recompile_limit": Setting(
            lambda: dynamo.recompile_limit, 1000, change(dynamo, "recompile_limit"), 3, recorded=False
        ),
    }


def jax_settings() -> dict[str, Setting]:
    import jax

    def change(name: str) -> Callable[[Any], None]:
        return lambda value: jax.config.update(name, value)

    return {
        "default_device": Setting(
            lambda: jax.config.jax_default_device,
            jax.devices("cpu")[0],
            change("jax_default_device"),
            None,
            recorded=False,
        ),
        "enable_x64": Setting(lambda: jax.config.jax_enable_x64, True, change("jax_enable_x64"), False),
        "default_matmul_precision": Setting(
            lambda: jax.config.jax_default_matmul_precision,
            "highest",
            change("jax_default_matmul_precision"),
            "bfloat16",
        ),
    }


def tensorflow_settings() -> dict[str, Setting]:
    import tensorflow as tf
    from tensorflow.python.framework.test_util import IsMklEnabled

    experimental = tf.config.experimental
    return {
        "tensor_float_32": Setting(
            experimental.tensor_float_32_execution_enabled,
            False,
            experimental.enable_tensor_float_32_execution,
            True,
        ),
        "TF_ENABLE_ONEDNN_OPTS": Setting(lambda: os.environ["TF_ENABLE_ONEDNN_OPTS"], "0"),
        "ONEDNN_DEFAULT_FPMATH_MODE": Setting(lambda: os.environ["ONEDNN_DEFAULT_FPMATH_MODE"], "STRICT"),
        "oneDNN": Setting(IsMklEnabled, False, recorded=False),  # what TensorFlow made of the first
    }


SETTINGS = {"pytorch": pytorch_settings, "jax": jax_settings, "tensorflow": tensorflow_settings}


def settings_of(name: str) -> dict[str, Setting]:
    adapter(name)  # first: TensorFlow reads some when it is imported
    return SETTINGS[name]()


@pytest.mark.parametrize("name", SETTINGS)
def test_what_is_pinned_is_recorded(name) -> None:
    pinned = {label: str(setting.pinned) for label, setting in settings_of(name).items() if setting.recorded}
    assert pinned.items() <= dict(adapter(name).settings).items()


def test_what_tensorflow_can_no_longer_read_is_not_recorded_as_pinned(monkeypatch) -> None:
    adapter("tensorflow")
    monkeypatch.delitem(sys.modules, "adapters.tensorflow")  # as where TensorFlow was imported before its adapter
    monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS")
    monkeypatch.setenv("ONEDNN_DEFAULT_FPMATH_MODE", "BF16")
    settings = load("tensorflow").settings
    assert (settings["TF_ENABLE_ONEDNN_OPTS"], settings["ONEDNN_DEFAULT_FPMATH_MODE"]) == ("not set", "BF16")


@pytest.mark.parametrize(("name", "mode", "dtype"), ONE_PRECISION)
def test_what_is_pinned_holds_during_a_call_and_no_longer(name, mode, dtype, monkeypatch) -> None:
    problem = answer(name, mode, dtype).problem
    settings = settings_of(name)
    pinned = {label: setting.pinned for label, setting in settings.items()}
    changed = {label: setting.to for label, setting in settings.items() if setting.change}
    inside: list[dict[str, Any]] = []
    module: Any = inspect.getmodule(type(adapter(name)))
    run = module._run  # with this, each of these adapters starts its framework

    def values() -> dict[str, Any]:
        return {label: setting.get() for label, setting in settings.items()}

    def change(to: dict[str, Any]) -> None:
        for label, setting in settings.items():
            if setting.change:
                setting.change(to[label])

    def spy(*arguments: Any) -> Any:
        inside.append(values())
        return run(*arguments)

    before = values()
    monkeypatch.setattr(module, "_run", spy)
    try:
        change(changed)
        outside = values()
        assert changed.items() <= outside.items()
        load(name)
        assert values() == outside
        for call in (adapter(name).trace, adapter(name).gradients):
            call(problem, mode)
            assert inside
            assert inside == [pinned] * len(inside)
            assert values() == outside
            inside.clear()
    finally:
        change(before)


def surroundings() -> dict[str, Any]:
    """What no adapter has reason to touch, of every framework that is loaded."""
    # PyTorch's compiler keeps a pointer to one of its own functions in the environment
    environment = {label: value for label, value in os.environ.items() if not label.startswith("_TORCHINDUCTOR_")}
    found = {"environment": environment, "numpy": np.geterr(), "subnormals": np.float64(5e-324) * 1 > 0}
    if torch := sys.modules.get("torch"):
        found["torch"] = (
            torch.get_default_dtype(),
            torch.get_default_device(),
            torch.is_grad_enabled(),
            torch.get_num_threads(),
            torch.are_deterministic_algorithms_enabled(),
            torch._dynamo.config.accumulated_recompile_limit,
            torch._functorch.config.save_config_portable(),
            torch.random.get_rng_state().tolist(),
        )
    if jax := sys.modules.get("jax"):
        found["jax"] = dict(jax.config.values)
    if tf := sys.modules.get("tensorflow"):
        found["tensorflow"] = (tf.config.get_soft_device_placement(), tf.executing_eagerly())
    return found


@every_case
def test_everything_else_is_left_as_it_was(name, mode, dtype) -> None:
    assert answer(name, mode, dtype).touched == {}


# --- independence: derivatives come from the framework's autodiff ---------------------------------------------------

TYPES_ONLY = {
    "reference.network": {"Array", "Gradients", "Jacobians", "Problem", "Trace", "Network"},
    "reference.rounding": {"Arithmetic"},
}


@pytest.mark.parametrize("path", sorted((ROOT / "adapters").glob("*.py")), ids=lambda path: path.name)
def test_an_adapter_takes_the_data_types_of_the_reference_and_no_formula(path) -> None:
    imported = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {(alias.name, "") for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported |= {(str(node.module), alias.name) for alias in node.names}
    suite = {(module, name) for module, name in imported if module.split(".")[0] in ("reference", "compare", "tests")}
    allowed = {(module, name) for module, names in TYPES_ONLY.items() for name in names}
    if path.name == "numpy_.py":  # the reference itself, judged like a framework
        allowed |= {("reference.backprop", name) for name in ("backprop", "gradients")}
        allowed |= {("reference.formulas", name) for name in ("sigmoid", "activation_derivative")}
    assert suite <= allowed


@pytest.mark.parametrize(("name", "mode", "dtype"), ONE_PRECISION)
def test_no_formula_of_the_reference_runs(name, mode, dtype, monkeypatch) -> None:
    problem = answer(name, mode, dtype).problem
    for label, _ in inspect.getmembers(formulas, inspect.isfunction):
        monkeypatch.setattr(formulas, label, lambda *_, label=label: pytest.fail(f"{label} was called"))
    with pytest.raises(pytest.fail.Exception):
        adapter("numpy").trace(problem, "eager")
    adapter(name).trace(problem, mode)
    adapter(name).gradients(problem, mode)


def doubled(transform: Callable[..., Any], of: Callable[[Any], Any]) -> Callable[..., Any]:
    """A transformation of functions, such as `jax.grad`, by which every derivative that ``of`` finds is doubled."""

    def transformed(*given: Any, **how: Any) -> Any:
        function = transform(*given, **how)
        return lambda *arguments, **named: of(function(*arguments, **named))

    return transformed


def double_pytorch(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch
    from torch.utils._pytree import tree_map

    backward = torch.Tensor.backward
    monkeypatch.setattr(torch.Tensor, "backward", lambda loss: backward(2 * loss))

    def twice(found: Any) -> Any:
        return tree_map(lambda g: 2 * g, found[0]), found[1]

    monkeypatch.setattr(torch.func, "grad", doubled(torch.func.grad, twice))
    modes = sys.modules["adapters.pytorch"].MODES  # the transformations are bound there
    for mode, transform in (("vmap", torch.func.grad), ("forward", doubled(torch.func.jacfwd, twice))):
        differentiate = partial(modes[mode].differentiate.func, transform)
        monkeypatch.setitem(modes, mode, modes[mode]._replace(differentiate=differentiate))


def double_jax(monkeypatch: pytest.MonkeyPatch) -> None:
    import jax

    def twice(gradients: Any) -> Any:
        return jax.tree.map(lambda g: 2 * g, gradients)

    def vjp(*given: Any, **how: Any) -> Any:
        value, pullback, *aux = original_vjp(*given, **how)
        return value, lambda cotangents: twice(pullback(cotangents)), *aux

    original_vjp = jax.vjp
    module = sys.modules["adapters.jax"]
    monkeypatch.setattr(module, "_run", module._run.__wrapped__)  # compiled functions hold their derivatives
    for mode, transform in (("vmap", jax.grad), ("forward", jax.jacfwd)):
        way = module.MODES[mode]
        of = doubled(transform, lambda found: (twice(found[0]), found[1]))
        monkeypatch.setitem(module.MODES, mode, way._replace(differentiate=partial(way.differentiate.func, of)))
    monkeypatch.setattr(jax, "vjp", vjp)


def double_tensorflow(monkeypatch: pytest.MonkeyPatch) -> None:
    import tensorflow as tf

    gradient, jvp = tf.GradientTape.gradient, tf.autodiff.ForwardAccumulator.jvp
    module = sys.modules["adapters.tensorflow"]
    monkeypatch.setattr(module, "_run", module._run.__wrapped__)
    monkeypatch.setattr(
        tf.GradientTape,
        "gradient",
        lambda *given, **how: tf.nest.map_structure(lambda g: 2 * g, gradient(*given, **how)),
    )
    monkeypatch.setattr(tf.autodiff.ForwardAccumulator, "jvp", lambda *given: 2 * jvp(*given))


DOUBLE = {"pytorch": double_pytorch, "jax": double_jax, "tensorflow": double_tensorflow}

DERIVATIVES = {"7", "9", "10", "11", "12", "13", "15", "16", "17", "18", "19", "20"}
"""The formulas that see it if every derivative is doubled: 8, 14, 21, 22, b1 and b2 are linear in those they read."""

LINEAR = {"14", "21", "22", "b1", "b2"}
"""In forward mode no derivative is read by another."""


@pytest.mark.parametrize(("name", "mode"), dict.fromkeys((name, mode) for name, mode, _ in WITH_AUTODIFF))
def test_derivatives_come_from_the_autodiff_of_the_framework(name, mode, monkeypatch) -> None:
    (problem,) = build("document", "float32", NETWORKS, SEED)
    arithmetic = adapter(name).arithmetic(mode, "float32")
    DOUBLE[name](monkeypatch)
    trace, gradients = adapter(name).trace(problem, mode), adapter(name).gradients(problem, mode)
    monkeypatch.undo()
    failed = {number for (number, _), tally in check.step(problem, trace, arithmetic).items() if tally.failures}
    assert failed == DERIVATIVES | (LINEAR if arithmetic.forward else set())
    truth = exact_gradients(problem, arithmetic)
    found = check.end_to_end(problem, gradients, arithmetic, truth).items()
    assert {place for place, tally in found if tally.failures} == {("21", 0), ("21", 1), ("b1", 0), ("b1", 1)}
