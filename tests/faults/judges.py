"""Who judges a fault: this suite's two checks and, on the same values, the checks that others use, at their defaults.

The others are given every advantage. Those that compare are shown the exact values, and every quantity of the trace
besides the gradients. Those that take differences are given the one network in which the fault lies, the adapter's loss
for a function and the adapter's gradients for its derivative.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import fields
from functools import cache, cached_property
from typing import Any

import numpy as np

from adapters.interface import Adapter, Gradients, Problem, Trace
from compare import check
from compare.independence import NotIndependent, independent
from reference import Network, backprop
from reference.network import Array
from tests.faults.catalogue import NOT_INDEPENDENT, Fault
from tests.faults.plants import cast, layers

Verdict = str | None
"""The first formula that fails, as "number/layer" and, unless it is "value", the stage; None where nothing does."""

CAUGHT, MISSED, ALARMS, CANNOT_RUN = "✓", "·", "!", "–"
"""It sees the fault; it does not; it alarms on the correct adapter too, which is no catch; it cannot be run here."""

GRADIENT = "the gradient"

USUAL_ERROR = 1e-3
"""What TensorFlow's own tests allow the largest error of `compute_gradient`."""


class CannotRun(Exception):  # noqa: N818 - an answer
    """A judge that has nothing to say of a case. Its text is the reason shown."""


class Case:
    """An adapter and a problem, what it answers, and what the suite says to that.

    ``network`` is the one that is given to judges who can take only one: by default that of the first failure.
    """

    def __init__(self, adapter: Adapter, problem: Problem, mode: str, network: int | None = None) -> None:
        self.adapter, self.problem, self.mode = adapter, problem, mode
        self.arithmetic = adapter.arithmetic(mode, str(problem.dtype))
        self.dependent = False
        if network is not None:
            self.network = network

    @cached_property
    def trace(self) -> Trace:
        """The answer that the step check judges."""
        return self._ask(self.adapter.trace)  # type: ignore[no-any-return]

    @cached_property
    def gradients(self) -> Gradients:
        """The answer that the end-to-end check judges."""
        return self._ask(self.adapter.gradients)  # type: ignore[no-any-return]

    def _ask(self, method: Callable[..., Any]) -> Any:
        if not self.adapter.reference:
            try:
                return independent(method, self.problem, self.mode)
            except NotIndependent:
                self.dependent = True
        return method(self.problem, self.mode)

    @cached_property
    def step(self) -> tuple[Verdict, int | None]:
        """The verdict of the step check, and the network of the first failure."""
        return self._first(check.step(self.problem, self.trace, self.arithmetic))

    @cached_property
    def end(self) -> tuple[Verdict, int | None]:
        """The verdict of the end-to-end check, and the network of the first failure."""
        return self._first(check.end_to_end(self.problem, self.gradients, self.arithmetic, None))

    def _first(self, tallies: check.Tallies) -> tuple[Verdict, int | None]:
        if self.dependent:
            return NOT_INDEPENDENT, None
        for (formula, layer), tally in tallies.items():  # in the ledger's order
            if tally.first_failure is not None:
                stage = tally.first_failure.stage
                return f"{formula}/{layer}" + (f" {stage}" if stage != "value" else ""), tally.first_failure.network
        return None, None

    @cached_property
    def network(self) -> int:
        """Index in the stack, its axes counted as one."""
        return self.step[1] or self.end[1] or 0

    @cached_property
    def parameters(self) -> list[Array]:
        """The weights and biases of that network."""
        return [array[self._index].copy() for _, array in self.problem.network.named()]

    @property
    def _index(self) -> tuple[Any, ...]:
        return np.unravel_index(self.network, self.problem.network.stack) if self.problem.network.stack else ()

    def at(self, *parameters: Array) -> tuple[Array, tuple[Array, ...]]:
        """Loss and gradients of that network with other parameters, all other networks of the stack as they are."""
        arrays = [array.copy() for _, array in self.problem.network.named()]
        for array, new in zip(arrays, parameters, strict=True):
            array[self._index] = new
        depth = self.problem.network.depth
        network = Network(tuple(arrays[:depth]), tuple(arrays[depth:]))
        problem = Problem(network, self.problem.x, self.problem.t, self.problem.eta)
        found: Any = self.adapter.gradients(problem, self.mode)
        if found.loss is None:
            raise CannotRun("the adapter returns no loss")
        return found.loss[self._index], tuple(array[self._index] for array in (*found.dL_dw, *found.dL_db))

    def compared(self) -> Iterator[tuple[str, Array, Array]]:
        """Every array of both answers by name, and the exact one, rounded."""
        exact = cast(backprop(self.problem.map(lambda array: array.astype(np.float64))), self.problem.dtype)
        for answer in (self.gradients, self.trace):
            for field in fields(answer):
                found, expected = (layers(quantities, field.name) for quantities in (answer, exact))
                for layer, pair in enumerate(zip(found, expected, strict=False)):  # found is empty if not covered
                    yield f"{type(answer).__name__} {field.name}[{layer}]", *pair


# --- the judges: what each objects to --------------------------------------------------------------------------------

Objections = set[str]


def step(case: Case) -> Objections:
    """The suite's step check, after its refusal of an adapter that calls the reference."""
    return {case.step[0]} if case.step[0] else set()


def end_to_end(case: Case) -> Objections:
    """The suite's end-to-end check, after the same refusal."""
    return {case.end[0]} if case.end[0] else set()


def numpy_allclose(case: Case) -> Objections:
    """``numpy.allclose``: rtol 1e-5, atol 1e-8."""
    return {name for name, *pair in case.compared() if not np.allclose(*pair)}


def torch_assert_close(case: Case) -> Objections:
    """``torch.testing.assert_close``: rtol 1.3e-6 and atol 1e-5 in float32, 1e-7 for both in float64."""
    import torch

    return _asserted(case, lambda *pair: torch.testing.assert_close(*map(torch.tensor, pair)))


def keras_assert_all_close(case: Case) -> Objections:
    """``assertAllClose`` of Keras's own tests: rtol and atol 1e-6."""
    return _asserted(case, lambda found, exact: np.testing.assert_allclose(found, exact, rtol=1e-6, atol=1e-6))


def _asserted(case: Case, assertion: Callable[..., None]) -> Objections:
    objections = set()
    for name, *pair in case.compared():
        try:
            assertion(*pair)
        except AssertionError:
            objections.add(name)
    return objections


def torch_gradcheck(case: Case) -> Objections:
    """``torch.autograd.gradcheck``: step 1e-6, rtol 1e-3, atol 1e-5."""
    import torch

    class Loss(torch.autograd.Function):  # type: ignore[misc]  # not seen by mypy
        @staticmethod
        def forward(ctx: Any, *parameters: Any) -> Any:
            with torch.enable_grad():  # for PyTorch's own adapter, inside
                loss, ctx.gradients = case.at(*(p.detach().numpy() for p in parameters))
            return torch.tensor(loss)

        @staticmethod
        def backward(ctx: Any, g: Any) -> Any:
            return tuple(g * torch.tensor(gradient) for gradient in ctx.gradients)

    parameters = [torch.tensor(p, requires_grad=True) for p in case.parameters]
    return set() if torch.autograd.gradcheck(Loss.apply, parameters, raise_exception=False) else {GRADIENT}


def jax_check_grads(case: Case) -> Objections:
    """``jax.test_util.check_grads`` of order 1 in reverse, which is its ``check_vjp``: along one random direction, step
    1e-4, tolerance 2e-3 in float32 and 1e-5 in float64.
    """
    import jax
    from jax.test_util import check_vjp

    def vjp(*parameters: Array) -> Any:
        loss, gradients = case.at(*parameters)
        return loss, lambda g: tuple(g * gradient for gradient in gradients)

    try:
        with jax.enable_x64(True):
            check_vjp(lambda *parameters: case.at(*parameters)[0], vjp, tuple(case.parameters), eps=1e-4)
    except AssertionError:
        return {GRADIENT}
    return set()


def tf_compute_gradient(case: Case) -> Objections:
    """``tf.test.compute_gradient``: step 1/1024, largest error `USUAL_ERROR`."""
    import adapters.tensorflow  # noqa: F401 - it sets what TensorFlow reads when it is imported, below
    import tensorflow as tf  # isort: skip

    @tf.custom_gradient  # type: ignore[untyped-decorator]  # not seen by mypy
    def loss(*parameters: Any) -> Any:
        value, gradients = case.at(*(p.numpy() for p in parameters))
        return tf.constant(value), lambda g: tuple(g * tf.constant(gradient) for gradient in gradients)

    pairs = zip(*tf.test.compute_gradient(loss, case.parameters), strict=True)
    small = all(np.max(np.abs(theory - numeric)) < USUAL_ERROR for theory, numeric in pairs)  # a NaN is not
    return set() if small else {GRADIENT}


Judge = Callable[[Case], Objections]

OURS: dict[str, Judge] = {"step": step, "end to end": end_to_end}
OTHERS: dict[str, Judge] = {
    "numpy allclose": numpy_allclose,
    "torch assert_close": torch_assert_close,
    "Keras 1e-6": keras_assert_all_close,
    "torch gradcheck": torch_gradcheck,
    "JAX check_grads": jax_check_grads,
    "TF compute_gradient": tf_compute_gradient,
}
JUDGES: dict[str, Judge] = OURS | OTHERS


def mark(judge: Judge, case: Case, fault: Fault) -> str:
    """What a judge makes of a fault: `CAUGHT`, `MISSED`, `ALARMS`; or `CANNOT_RUN` and the reason.

    It has caught the fault if it objects to anything that it does not object to without the fault.
    """
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # gradcheck's, of float32
        try:
            objections = judge(case)
        except CannotRun as reason:
            return f"{CANNOT_RUN} {reason}"
        except Exception as error:  # noqa: BLE001 - where a wrong shape breaks a judge, it has been noticed
            objections = {repr(error)}
        if not objections:
            return MISSED
        return CAUGHT if objections - false_alarms(judge, fault.where, case.network, fault.networks) else ALARMS


@cache
def false_alarms(judge: Judge, where: str, network: int, networks: int) -> Objections:
    """What a judge objects to in the correct adapter."""
    return judge(control(where, network, networks))


@cache
def control(where: str, network: int | None = None, networks: int = 50) -> Case:
    """The adapter without a fault, on the problem of the faults that are planted there."""
    correct = Fault("", where, "", lambda method, *asked: method(*asked), None, None, networks)
    return Case(correct.correct(), correct.problem, correct.mode, network)
