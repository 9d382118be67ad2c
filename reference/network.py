"""The shapes and names of everything: a network, a problem, and the trace of every quantity the document names.

Arrays are row vectors, as in the document: ``a = x @ w + b``. Every array may have leading *stack* axes, one
network per index, written ``...`` in the shapes below. Nothing here computes, so that a framework's adapter can
share these types without sharing a formula.

Shapes: ``batch`` rows per network, ``n_0`` inputs, ``n_1 … n_depth`` units per layer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = Any
"""A NumPy array (real, complex or object) or anything with NumPy's operators, such as `reference.rounding.Rounded`."""

Shape: TypeAlias = tuple[int, ...]


@dataclass(frozen=True)
class Network:
    """The parameters of a fully connected sigmoid network of any depth ≥ 1.

    Parameters
    ----------
    w : one array per layer, ``w[l]``: (..., n_l, n_{l+1})
    b : one array per layer, ``b[l]``: (..., 1, n_{l+1})

    Raises
    ------
    ValueError
        If an array is missing, a shape does not chain with the layer before it, or two dtypes are mixed.
    """

    w: tuple[Array, ...]
    b: tuple[Array, ...]

    def __post_init__(self) -> None:
        for name in ("w", "b"):
            object.__setattr__(self, name, _arrays(name, getattr(self, name)))
        if not self.w:
            raise ValueError("w: found no arrays, expected one per layer")
        if len(self.b) != len(self.w):
            raise ValueError(f"b: found {_count(self.b)}, expected {len(self.w)}, one per array of w")
        for layer, w in enumerate(self.w):
            if len(w.shape) < (2 if layer == 0 else 1):  # what follows reads the first one's stack, and every width
                raise ValueError(f"w[{layer}]: found shape {tuple(w.shape)}, expected (..., inputs, units)")
        for layer, (w, b) in enumerate(zip(self.w, self.b, strict=True)):
            inputs = self.w[0].shape[-2] if layer == 0 else self.w[layer - 1].shape[-1]
            units = w.shape[-1]
            _expect(f"w[{layer}]", w, (*self.stack, inputs, units))
            _expect(f"b[{layer}]", b, (*self.stack, 1, units))
            if inputs < 1 or units < 1:
                raise ValueError(f"w[{layer}]: found shape {w.shape}, expected every width to be at least 1")
        _one_dtype(dict(self.named()))

    @property
    def depth(self) -> int:
        """Number of layers of weights."""
        return len(self.w)

    @property
    def stack(self) -> Shape:
        """The leading axes, shared by every array."""
        return tuple(self.w[0].shape[:-2])

    @property
    def widths(self) -> Shape:
        """(n_0, n_1, …, n_depth)."""
        return (self.w[0].shape[-2], *(w.shape[-1] for w in self.w))

    @property
    def dtype(self) -> np.dtype[Any]:
        """The one dtype of all arrays."""
        dtype: np.dtype[Any] = np.dtype(self.w[0].dtype)
        return dtype

    def named(self) -> Iterator[tuple[str, Array]]:
        """Every array with its name, ``("w[0]", w[0])`` first."""
        for name in ("w", "b"):
            for layer, array in enumerate(getattr(self, name)):
                yield f"{name}[{layer}]", array


@dataclass(frozen=True)
class Problem:
    """A network, a batch of inputs and targets, and a learning rate: what every adapter is given.

    Parameters
    ----------
    network : Network
    x : inputs, (..., batch, n_0)
    t : targets, (..., batch, n_depth)
    eta : learning rate η; kept as the problem's dtype holds it, because that is the number every framework uses

    Raises
    ------
    ValueError
        If x or t does not fit the network, the batch is empty, dtypes are mixed, or η is not a finite number.
    """

    network: Network
    x: Array
    t: Array
    eta: Any = 0.5

    def __post_init__(self) -> None:
        if not isinstance(self.network, Network):
            raise ValueError(f"network: found {type(self.network).__name__}, expected a Network")
        for name in ("x", "t"):
            _is_array(name, getattr(self, name))
        if len(self.x.shape) < 2:
            raise ValueError(f"x: found shape {self.x.shape}, expected (..., batch, {self.network.widths[0]})")
        if self.batch < 1:
            raise ValueError(f"x: found shape {self.x.shape}, expected a batch of at least 1")
        for name, width in (("x", self.network.widths[0]), ("t", self.network.widths[-1])):
            _expect(name, getattr(self, name), (*self.network.stack, self.batch, width))
        _one_dtype({"w[0]": self.network.w[0], "x": self.x, "t": self.t})
        object.__setattr__(self, "eta", _learning_rate(self.eta, self.dtype))

    @property
    def batch(self) -> int:
        """Number of rows of x and t."""
        return int(self.x.shape[-2])

    @property
    def dtype(self) -> np.dtype[Any]:
        """The one dtype of all arrays."""
        return self.network.dtype

    def named(self) -> Iterator[tuple[str, Array]]:
        """Every array with its name, in a fixed order."""
        yield from self.network.named()
        yield "x", self.x
        yield "t", self.t

    def map(self, number: Callable[[Array], Array]) -> Problem:
        """The same problem in other numbers: ``number`` converts each array (η follows the arrays' arithmetic)."""
        w, b = (tuple(number(array) for array in arrays) for arrays in (self.network.w, self.network.b))
        return Problem(Network(w, b), number(self.x), number(self.t), self.eta)

    def at(self, index: Any) -> Problem:
        """The part of a stack that ``index`` selects from the leading axes."""
        return self.map(lambda array: array[index])


@dataclass(frozen=True)
class Trace:
    """Every quantity of the document, for one problem. None means *not covered*.

    Each is a tuple with one array per layer, first hidden layer first, except ``loss``, one array.

    Attributes
    ----------
    a, h : linear combination and activation, (..., batch, n_{l+1}); ``h[-1]`` is y
    loss : L, (...,)
    dL_dh, dh_da, dL_da : (..., batch, n_{l+1}); ``dL_da`` is δ, ``dh_da`` is elementwise
    da_dw : derivative of the sum of ``a[l]`` over batch and units, (..., n_l, n_{l+1})
    dL_dw, dL_db : the gradients, in the shapes of ``w[l]`` and ``b[l]``
    w_new, b_new : the parameters after one step with η

    Raises
    ------
    ValueError
        If a quantity is not a tuple of arrays, or two quantities disagree on the number of layers.
    """

    a: tuple[Array, ...] | None = None
    h: tuple[Array, ...] | None = None
    loss: Array | None = None
    dL_dh: tuple[Array, ...] | None = None
    dh_da: tuple[Array, ...] | None = None
    dL_da: tuple[Array, ...] | None = None
    da_dw: tuple[Array, ...] | None = None
    dL_dw: tuple[Array, ...] | None = None
    dL_db: tuple[Array, ...] | None = None
    w_new: tuple[Array, ...] | None = None
    b_new: tuple[Array, ...] | None = None

    def __post_init__(self) -> None:
        _normalise_quantities(self)

    def validate(self, problem: Problem) -> None:
        """Raise ValueError, naming array, found and expected, unless every quantity present fits the problem."""
        expected = quantity_shapes(problem)
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None:
                continue
            if field.name == "loss":
                arrays, shapes = (value,), expected["loss"]
            else:
                arrays, shapes = value, expected[field.name]
            if len(arrays) != len(shapes):
                raise ValueError(f"{field.name}: found {_count(arrays)}, expected {len(shapes)}, one per layer")
            for layer, (array, shape) in enumerate(zip(arrays, shapes, strict=True)):
                name = field.name if field.name == "loss" else f"{field.name}[{layer}]"
                _expect(name, array, shape)
                _one_dtype({"w[0]": problem.network.w[0], name: array})


@dataclass(frozen=True)
class Gradients:
    """What an unmodified gradient call returns: ``loss`` (...,), and ``dL_dw``, ``dL_db`` as in `Trace`."""

    loss: Array | None = None
    dL_dw: tuple[Array, ...] | None = None
    dL_db: tuple[Array, ...] | None = None

    def __post_init__(self) -> None:
        _normalise_quantities(self)


@dataclass(frozen=True)
class Jacobians:
    """The derivatives of one step of a layer, every output by every input, row by row. A tuple each, one per layer.

    Attributes
    ----------
    h : the activations they belong to, (..., batch, n_{l+1})
    dh_da : [k, j] is ∂hₖ/∂aⱼ, (..., batch, n_{l+1}, n_{l+1})
    da_dw : [k, i, j] is ∂aₖ/∂wᵢⱼ, (..., batch, n_{l+1}, n_l, n_{l+1})
    da_dx : [k, i] is ∂aₖ/∂xᵢ, x the layer's input: x, or h of the layer below, (..., batch, n_{l+1}, n_l)
    """

    h: tuple[Array, ...] | None = None
    dh_da: tuple[Array, ...] | None = None
    da_dw: tuple[Array, ...] | None = None
    da_dx: tuple[Array, ...] | None = None

    def __post_init__(self) -> None:
        _normalise_quantities(self)


def jacobian_shapes(problem: Problem) -> dict[str, tuple[Shape, ...]]:
    """The shape of every array of `Jacobians`, one per layer."""
    rows, layers = (*problem.network.stack, problem.batch), list(pairwise(problem.network.widths))
    return {
        "h": tuple((*rows, m) for _, m in layers),
        "dh_da": tuple((*rows, m, m) for _, m in layers),
        "da_dw": tuple((*rows, m, n, m) for n, m in layers),
        "da_dx": tuple((*rows, m, n) for n, m in layers),
    }


def quantity_shapes(problem: Problem) -> dict[str, tuple[Shape, ...]]:
    """The shape of every quantity of a trace, one per layer: the one place that says what fits a problem."""
    network, stack = problem.network, problem.network.stack
    units = tuple((*stack, problem.batch, n) for n in network.widths[1:])
    weights = tuple(tuple(w.shape) for w in network.w)
    biases = tuple(tuple(b.shape) for b in network.b)
    return {
        **dict.fromkeys(("a", "h", "dL_dh", "dh_da", "dL_da"), units),
        "loss": (stack,),
        **dict.fromkeys(("da_dw", "dL_dw", "w_new"), weights),
        **dict.fromkeys(("dL_db", "b_new"), biases),
    }


def single(problem: Problem, index: int) -> Problem:
    """Network ``index`` of a stack (its axes counted as one), without stack axes."""
    return problem.at(np.unravel_index(index, problem.network.stack) if problem.network.stack else ())


def _normalise_quantities(quantities: Trace | Gradients | Jacobians) -> None:
    kind = type(quantities).__name__
    depths = {}
    for field in fields(quantities):
        value = getattr(quantities, field.name)
        if value is None:
            continue
        if field.name == "loss":
            _is_array(f"{kind}.loss", value)
        else:
            value = _arrays(f"{kind}.{field.name}", value)
            object.__setattr__(quantities, field.name, value)
            depths[field.name] = len(value)
    if len(set(depths.values())) > 1:
        found = ", ".join(f"{name}: {depth}" for name, depth in depths.items())
        raise ValueError(f"{kind}: found {found} arrays, expected the same number of layers in each")


def _arrays(name: str, value: Any) -> tuple[Array, ...]:
    if not isinstance(value, tuple | list):
        raise ValueError(f"{name}: found {_kind(value)}, expected a tuple with one array per layer")
    for layer, array in enumerate(value):
        _is_array(f"{name}[{layer}]", array)
    return tuple(value)


def _is_array(name: str, value: Any) -> None:
    if value is None:
        raise ValueError(f"{name}: the array is missing (None)")
    if not (hasattr(value, "shape") and hasattr(value, "dtype")):
        raise ValueError(f"{name}: found {_kind(value)}, expected an array")


def _expect(name: str, array: Array, shape: Shape) -> None:
    if tuple(array.shape) != tuple(shape):
        raise ValueError(f"{name}: found shape {tuple(array.shape)}, expected {tuple(shape)}")


def _one_dtype(arrays: dict[str, Array]) -> None:
    (first, reference), *rest = arrays.items()
    if np.dtype(reference.dtype).kind not in "fcO" and np.dtype(reference.dtype).name != "bfloat16":
        raise ValueError(f"{first}: found dtype {reference.dtype}, expected a floating-point, complex or object dtype")
    for name, array in rest:
        if array.dtype != reference.dtype:
            raise ValueError(f"{name}: found dtype {array.dtype}, expected {reference.dtype}, the dtype of {first}")


def _learning_rate(eta: Any, dtype: np.dtype[Any]) -> Any:
    if dtype.kind in "cO":  # exact and symbolic numbers keep η as it was given
        return eta
    if not isinstance(eta, int | float | np.number):
        raise ValueError(f"eta: found {eta!r}, expected a number")
    try:
        with np.errstate(over="ignore"):
            held = float(dtype.type(eta))
    except OverflowError:
        held = float("inf")
    if not np.isfinite(held):
        raise ValueError(f"eta: found {eta!r}, expected a finite number in {dtype}")
    return held


def _kind(value: Any) -> str:
    return "None" if value is None else type(value).__name__


def _count(arrays: tuple[Array, ...]) -> str:
    return f"{len(arrays)} array{'' if len(arrays) == 1 else 's'}"
