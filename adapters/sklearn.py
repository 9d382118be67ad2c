"""scikit-learn: the backpropagation that `MLPRegressor` is trained by, hand-written in NumPy, without autodiff."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from typing import Any, ClassVar
from unittest.mock import patch

import numpy as np
import scipy
import sklearn
from sklearn.neural_network import MLPRegressor
from sklearn.neural_network._base import ACTIVATIONS, DERIVATIVES
from sklearn.neural_network._stochastic_optimizers import SGDOptimizer

from adapters.interface import Adapter, Arithmetic, Gradients, NotOffered, Problem, Trace

# σ is scipy.special.expit: 1 / (1 + e⁻ᵃ) in the precision itself, with the C library's exp, at most 1 ULP: 2 · 1 + 2.
_SIGMOID_ULP = {"float32": 4.0, "float64": 4.0}


class SKLearn(Adapter):
    """``_backprop``, network by network. Its σ and σ′ are wrapped to see a and ∂L/∂h, for both work in place."""

    name = "sklearn"
    framework = "scikit-learn"
    version = sklearn.__version__
    modes = ("eager",)
    not_covered: ClassVar[Mapping[str, str]] = {
        "loss": "scikit-learn averages its loss over rows and outputs",
        "da_dw": "scikit-learn multiplies by the layer's input and never forms this derivative",
    }

    def __init__(self, device: str = "cpu") -> None:
        if device != "cpu":
            raise NotOffered(f"scikit-learn has no device {device!r} for its networks")
        self.settings = {"numpy": np.__version__, "scipy": scipy.__version__}

    def arithmetic(self, mode: str, dtype: str) -> Arithmetic:
        if dtype not in _SIGMOID_ULP:  # MLPRegressor._validate_input: validate_data(dtype=(np.float64, np.float32))
            raise NotOffered("MLPRegressor has float32 and float64 only, and turns all others into float64")
        return Arithmetic(dtype, _SIGMOID_ULP[dtype])

    def trace(self, problem: Problem, mode: str) -> Trace:
        with _recorded(ACTIVATIONS) as a, _recorded(DERIVATIVES) as dL_dh:
            h, dL_da, dL_dw, dL_db = _backprop(problem)
        dh_da = tuple(np.ones_like(h_l) for h_l in h)
        for h_l, dh_da_l in zip(h, dh_da, strict=True):
            DERIVATIVES["logistic"](h_l, dh_da_l)
        stepped = [parameter.copy() for parameter in (*problem.network.w, *problem.network.b)]
        optimizer = SGDOptimizer(stepped, learning_rate_init=problem.eta, momentum=0, nesterov=False)
        optimizer.update_params(stepped, [*dL_dw, *dL_db])
        return Trace(
            a=_layers(a, problem), h=h, dh_da=dh_da, dL_da=dL_da, dL_dw=dL_dw, dL_db=dL_db,
            dL_dh=_layers(dL_dh, problem)[::-1],  # the output layer came first
            w_new=tuple(stepped[: len(h)]), b_new=tuple(stepped[len(h) :]),
        )  # fmt: skip

    def gradients(self, problem: Problem, mode: str) -> Gradients:
        _, _, dL_dw, dL_db = _backprop(problem)
        return Gradients(dL_dw=dL_dw, dL_db=dL_db)

    def activation(self, a: Any, mode: str) -> tuple[Any, Any]:
        h, dh_da = np.ones((2, *a.shape[:-1], a.shape[-1] + 1), a.dtype)[..., :-1]
        h[...] = a
        ACTIVATIONS["logistic"](h)
        DERIVATIVES["logistic"](h, dh_da)
        return h, dh_da

    short_activations = activation  # its rows do not touch in memory: NumPy's loops run once for each, as for one alone


class _Network(MLPRegressor):  # type: ignore[misc]  # not seen by mypy
    """`MLPRegressor` for the document's L, which it does not offer: of a sigmoid's output, and summed over rows.

    Two steps differ: its delta of the output, y − t, is multiplied by its own σ′; and it divides by 1, not by the rows.
    """

    def _compute_loss_grad(self, layer: int, sw_sum: float, activations: Any, deltas: Any, *gradients: Any) -> None:
        if layer == len(deltas) - 1:
            DERIVATIVES["logistic"](activations[-1], deltas[-1])
        super()._compute_loss_grad(layer, 1, activations, deltas, *gradients)


def _backprop(problem: Problem) -> tuple[Any, ...]:
    """scikit-learn's activations, deltas, and gradients by weights and by biases: h, dL_da, dL_dw and dL_db."""
    depth = problem.network.depth
    network = _Network(activation="logistic", alpha=0)
    network.n_layers_, network.out_activation_ = depth + 1, "logistic"
    found: list[Any] = []
    stacks = (array.reshape(-1, *array.shape[-2:]) for _, array in problem.named())
    with np.errstate(over="ignore", invalid="ignore"):  # its own loss may overflow: nobody reads it
        for *parameters, x, t in zip(*stacks, strict=True):
            network.coefs_, network.intercepts_ = parameters[:depth], [b[0] for b in parameters[depth:]]
            activations, deltas = [x, *[None] * depth], [None] * depth
            _, by_w, by_b = network._backprop(x, t, None, activations, deltas, [None] * depth, [None] * depth)
            found.append((activations[1:], deltas, by_w, [g[None] for g in by_b]))
    return tuple(_layers([*chain(*lists)], problem) for lists in zip(*found, strict=True))


def _layers(flat: list[Any], problem: Problem) -> tuple[Any, ...]:
    """One array per layer for the whole stack, from one per layer and network."""
    depth, stack = problem.network.depth, problem.network.stack
    return tuple(np.reshape(flat[layer::depth], (*stack, *flat[layer].shape)) for layer in range(depth))


@contextmanager
def _recorded(table: dict[str, Callable[..., None]]) -> Iterator[list[Any]]:
    """Every last argument of the function that ``table`` has for the sigmoid, as it was before its work in place."""
    given, function = [], table["logistic"]

    def call(*arrays: Any) -> None:
        given.append(arrays[-1].copy())
        function(*arrays)

    with patch.dict(table, logistic=call):
        yield given
