"""Ways to plant a fault in a correct adapter: formulas replaced, parts of a mode replaced, or the answer changed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import fields, replace
from importlib import import_module
from typing import Any
from unittest.mock import patch

import numpy as np

from adapters.interface import Gradients, Problem, Trace
from reference import backprop, formulas
from reference.network import Array

Answer = Trace | Gradients
Method = Callable[[Problem, str], Any]
Plant = Callable[[Method, Problem, str], Any]
"""The answer of a correct adapter's method for a problem in a mode, made wrong."""


def formula(**wrong: Callable[..., Array]) -> Plant:
    """Formulas of the reference replaced by others of the same name."""
    return formulas_of(lambda _: wrong)


def formulas_of(made: Callable[[Problem], Mapping[str, Any]]) -> Plant:
    """Formulas that know the problem, or one another."""

    def plant(method: Method, problem: Problem, mode: str) -> Any:
        with patch.multiple(formulas, **made(problem)):
            return method(problem, mode)

    return plant


def part(**wrong: str) -> Plant:
    """Parts of a mode, or functions of the adapter's module, replaced by those of the module beside this one."""

    def plant(method: Method, problem: Problem, mode: str) -> Any:
        adapter = import_module(method.__module__)
        beside = import_module(method.__module__.replace("adapters", __package__))
        modes = getattr(adapter, "MODES", {})
        parts = {name: getattr(beside, value) for name, value in wrong.items()}
        alone = " ".join((mode, *wrong.values()))  # compiled functions are kept by the name of their mode
        with ExitStack() as planted:
            if modes:
                own = {name: parts.pop(name) for name in list(parts) if name in modes[mode]._fields}
                planted.enter_context(patch.dict(modes, {alone: modes[mode]._replace(**own)}))
            for name, value in parts.items():
                planted.enter_context(patch.object(adapter, name, value))
            return method(problem, alone)

    return plant


def answer(change: Callable[[Problem, Any], Any], only: type[Answer] | None = None) -> Plant:
    """What the adapter computed, changed before it is returned; ``only`` its trace, or its gradients."""

    def plant(method: Method, problem: Problem, mode: str) -> Any:
        found = method(problem, mode)
        return found if only and not isinstance(found, only) else change(problem, found)

    return plant


def arrays(change: Callable[[Array], Array], *quantities: str, only: type[Answer] | None = None) -> Plant:
    """Every array of these quantities, or of all, changed alike."""
    return answer(lambda _, found: changed(found, lambda *_: change, quantities), only)


def entry(
    quantity: str, layer: int, index: tuple[Any, ...], change: Callable[[Any], Any], only: type[Answer] | None = None
) -> Plant:
    """One entry of one array of one network, wherever the quantity is returned; of all networks, if ``index`` says so."""

    def one(array: Array) -> Array:
        array = array.copy()
        array[index] = change(array[index])
        return array

    def of(at: int) -> Callable[[Array], Array]:
        return one if at == layer else lambda array: array

    return answer(lambda _, found: changed(found, of, (quantity,)), only)


def changed(found: Answer, change: Callable[[int], Callable[[Array], Array]], quantities: Sequence[str] = ()) -> Answer:
    """An answer with what ``change`` gives for each layer applied to these quantities, or to all."""
    new: dict[str, Any] = {}
    for field in fields(found):
        if not quantities or field.name in quantities:
            made = tuple(change(layer)(array) for layer, array in enumerate(layers(found, field.name)))
            new[field.name] = (made or None) if field.name != "loss" else next(iter(made), None)
    return replace(found, **new)


def layers(found: Answer, quantity: str) -> tuple[Array, ...]:
    """The arrays of a quantity, none if the answer lacks it; the loss is one array."""
    value = getattr(found, quantity, None)
    return () if value is None else (value,) if quantity == "loss" else value


def ulps(number: int) -> Callable[[Array], Array]:
    """Moved away from zero by so many units in the last place."""
    return lambda value: value + value.dtype.type(number) * np.spacing(value)


def times(factor: float) -> Callable[[Array], Array]:
    """Multiplied."""
    return lambda value: value * value.dtype.type(factor)


def cast(found: Answer, dtype: Any) -> Answer:
    """In another precision."""
    return changed(found, lambda _: lambda array: np.asarray(array, dtype))


def computed_in(dtype: str) -> Plant:
    """Everything computed in another precision, and returned in the problem's."""
    return lambda method, problem, mode: cast(
        method(problem.map(lambda array: array.astype(dtype)), mode), problem.dtype
    )


def echoed(dtype: str | None = None) -> Plant:
    """The reference's own answer, in the problem's precision or from another one."""

    def plant(method: Method, problem: Problem, _: str) -> Any:
        trace: Any = backprop(problem.map(lambda array: array.astype(dtype or problem.dtype)))
        found = trace if method.__name__ == "trace" else Gradients(trace.loss, trace.dL_dw, trace.dL_db)
        return cast(found, problem.dtype)

    return plant
