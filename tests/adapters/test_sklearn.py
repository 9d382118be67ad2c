"""That what is compared under scikit-learn's name is scikit-learn's own code, and nothing is lost on the way."""

from collections.abc import Callable
from dataclasses import fields
from functools import cache
from typing import Any

import numpy as np
import pytest

from adapters import load
from compare import check
from compare.problems import build
from reference import Network, Problem
from reference.exact import exact_gradients

DTYPES = ("float32", "float64")


@cache
def sklearn() -> Any:
    return load("adapters.sklearn:SKLearn")


def sigmoid(monkeypatch: pytest.MonkeyPatch, twice: Callable[..., Any]) -> None:
    from sklearn.neural_network._base import ACTIVATIONS

    monkeypatch.setitem(ACTIVATIONS, "logistic", twice(ACTIVATIONS["logistic"]))


def derivative(monkeypatch: pytest.MonkeyPatch, twice: Callable[..., Any]) -> None:
    from sklearn.neural_network._base import DERIVATIVES

    monkeypatch.setitem(DERIVATIVES, "logistic", twice(DERIVATIVES["logistic"]))


def products(monkeypatch: pytest.MonkeyPatch, _: Any) -> None:
    from sklearn.neural_network import _multilayer_perceptron as module

    product = module.safe_sparse_dot
    monkeypatch.setattr(module, "safe_sparse_dot", lambda *factors: 2 * product(*factors))


def gradients(monkeypatch: pytest.MonkeyPatch, _: Any) -> None:
    from sklearn.neural_network import MLPRegressor

    original = MLPRegressor._backprop

    def doubled(*given: Any) -> Any:
        loss, by_w, by_b = original(*given)
        return loss, [2 * g for g in by_w], [2 * g for g in by_b]

    monkeypatch.setattr(MLPRegressor, "_backprop", doubled)


def updates(monkeypatch: pytest.MonkeyPatch, _: Any) -> None:
    from sklearn.neural_network._stochastic_optimizers import SGDOptimizer

    original = SGDOptimizer._get_updates
    monkeypatch.setattr(SGDOptimizer, "_get_updates", lambda *given: [2 * u for u in original(*given)])


def twice(in_place: Callable[..., None]) -> Callable[..., None]:
    def doubled(*arrays: Any) -> None:
        in_place(*arrays)
        arrays[-1][...] *= 2

    return doubled


@pytest.mark.parametrize(
    ("double", "formulas", "gradients_too"),
    [
        (sigmoid, {"3", "4", "6", "7"}, True),
        (derivative, {"7", "11", "13", "16", "18", "19", "20", "22"}, True),
        (products, {"1", "2", "13", "14", "18", "19", "20", "21", "22"}, True),
        (gradients, {"13", "14", "19", "20", "21", "b1", "b2"}, True),
        (updates, {"8", "14", "b2"}, False),
    ],
)
def test_every_number_comes_from_code_of_scikit_learn(double, formulas, gradients_too, monkeypatch) -> None:
    (problem,) = build("document", "float32", 50, 0)
    arithmetic = sklearn().arithmetic("eager", "float32")
    double(monkeypatch, twice)
    trace, unrecorded = sklearn().trace(problem, "eager"), sklearn().gradients(problem, "eager")
    monkeypatch.undo()
    failed = {number for (number, _), tally in check.step(problem, trace, arithmetic).items() if tally.failures}
    assert failed == formulas
    found = check.end_to_end(problem, unrecorded, arithmetic, exact_gradients(problem, arithmetic))
    failed = {number for (number, _), tally in found.items() if tally.failures}
    assert failed == ({"21", "b1"} if gradients_too else set())


@pytest.mark.parametrize("dtype", DTYPES)
def test_the_gradients_are_sums_over_rows_to_the_last_bit(dtype) -> None:
    (problem,) = build("all-different", dtype, 1, 0)
    trace, unrecorded = sklearn().trace(problem, "eager"), sklearn().gradients(problem, "eager")
    inputs = (problem.x, *trace.h[:-1])
    rounded = False
    for layer, (x, delta) in enumerate(zip(inputs, trace.dL_da, strict=True)):
        for index in np.ndindex(problem.network.stack):
            by_w, by_b = x[index].T @ delta[index], np.sum(delta[index], axis=0)
            assert trace.dL_dw[layer][index].tobytes() == unrecorded.dL_dw[layer][index].tobytes() == by_w.tobytes()
            assert trace.dL_db[layer][index].tobytes() == unrecorded.dL_db[layer][index].tobytes() == by_b.tobytes()
            rounded |= bool((by_w / 3 * 3 != by_w).any())
    assert rounded  # averages times three are other numbers


def test_what_is_not_covered_is_exactly_what_has_a_reason() -> None:
    (problem,) = build("document", "float64", 3, 0)
    trace = sklearn().trace(problem, "eager")
    reasons = sklearn().not_covered
    assert {field.name for field in fields(trace) if getattr(trace, field.name) is None} == reasons.keys()
    assert sklearn().gradients(problem, "eager").loss is None
    assert all(reason.startswith("scikit-learn ") for reason in reasons.values())


@pytest.mark.parametrize("dtype", DTYPES)
def test_its_own_loss_may_overflow(dtype) -> None:
    # t² and w² are beyond the format, every quantity of the document but L is within; a warning would be an error
    large = np.array([[np.finfo(dtype).max ** 0.75]], dtype)
    one = np.ones((1, 1), dtype)
    problem = Problem(Network((one, -large), (one, one)), one, large)
    trace = sklearn().trace(problem, "eager")
    for array in (*trace.dL_dh, *trace.dL_dw, *trace.dL_db, *trace.w_new, *trace.b_new):
        assert np.isfinite(array).all()


def test_the_tables_of_scikit_learn_are_left_as_they_were(monkeypatch) -> None:
    from sklearn.neural_network import MLPRegressor
    from sklearn.neural_network._base import ACTIVATIONS, DERIVATIVES

    before = dict(ACTIVATIONS), dict(DERIVATIVES)
    (problem,) = build("document", "float32", 3, 0)
    sklearn().trace(problem, "eager")
    assert before == (ACTIVATIONS, DERIVATIVES)
    monkeypatch.setattr(MLPRegressor, "_compute_loss_grad", lambda *_: pytest.fail("in the middle of a call"))
    with pytest.raises(pytest.fail.Exception, match="in the middle"):
        sklearn().trace(problem, "eager")
    assert before == (ACTIVATIONS, DERIVATIVES)


def test_it_turns_other_precisions_into_float64_as_the_adapter_says() -> None:
    from sklearn.neural_network import MLPRegressor

    for given, held in (("float16", "float64"), ("float32", "float32"), ("float64", "float64")):
        network = MLPRegressor(hidden_layer_sizes=2, activation="logistic", alpha=0)
        network.partial_fit(np.ones((2, 2), given), np.ones(2, given))
        assert {array.dtype.name for array in (*network.coefs_, *network.intercepts_)} == {held}
