"""Forward pass, backward pass and update, built from the formulas: the reference.

The numbers are whatever the problem's arrays are: float16, float32, float64, complex, object arrays, or `Rounded`.
"""

from __future__ import annotations

import numpy as np

from reference import formulas as f
from reference.network import Array, Gradients, Network, Problem, Trace


def backprop(problem: Problem) -> Trace:
    """Every quantity of the document for ``problem``, in the problem's own numbers. Shapes as in `Trace`."""
    network = problem.network
    a, h = _forward(problem)
    delta = _backward(problem, h)
    found = _gradients(problem, h, delta)
    stepped = update(network, found, problem.eta)
    hidden_errors = (f.hidden_error(d, w) for d, w in zip(delta[1:], network.w[1:], strict=True))
    return Trace(
        a=a,
        h=h,
        loss=found.loss,
        dL_dh=(*hidden_errors, f.output_error(h[-1], problem.t)),
        dh_da=tuple(f.activation_derivative(y) for y in h),
        dL_da=delta,
        da_dw=tuple(f.linear_derivative(x, w) for x, w in zip((problem.x, *h[:-1]), network.w, strict=True)),
        dL_dw=found.dL_dw,
        dL_db=found.dL_db,
        w_new=stepped.w,
        b_new=stepped.b,
    )


def gradients(problem: Problem) -> Gradients:
    """Loss and gradients alone, of the same formulas: what an unmodified call of a framework computes."""
    h = _forward(problem)[1]  # a is let go: what follows takes its memory
    return _gradients(problem, h, _backward(problem, h))


def _forward(problem: Problem) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """Formulas 1 to 4: a and h of every layer."""
    a: list[Array] = []
    h: list[Array] = []
    for w, b in zip(problem.network.w, problem.network.b, strict=True):
        a.append(f.linear(h[-1] if h else problem.x, w, b))
        h.append(f.sigmoid(a[-1]))
    return tuple(a), tuple(h)


def _backward(problem: Problem, h: tuple[Array, ...]) -> tuple[Array, ...]:
    """Formulas 13 and 22: δ of every layer, the last one first computed."""
    delta = [f.output_delta(h[-1], problem.t)]
    for y, w_next in zip(h[-2::-1], problem.network.w[:0:-1], strict=True):
        delta.append(f.hidden_delta(delta[-1], w_next, y))
    return tuple(reversed(delta))


def _gradients(problem: Problem, h: tuple[Array, ...], delta: tuple[Array, ...]) -> Gradients:
    """Formulas 5, 21 and b1."""
    loss = f.loss(h[-1], problem.t)
    if not hasattr(loss, "shape"):  # NumPy hands a sum of objects without axes back bare
        loss = np.array(loss, dtype=object)
    dL_dw = tuple(map(f.weight_gradient, delta, (problem.x, *h)))
    return Gradients(loss, dL_dw, tuple(map(f.bias_gradient, delta)))


def forward_mode(problem: Problem, h: tuple[Array, ...]) -> Trace:
    """The derivatives of L with the chain rule (formulas 9, 15 and 22) multiplied from the inputs on, as forward-mode
    autodiff does: for every number that L is derived by, a tangent of 0 and 1 is carried through all later layers.

    ``h`` are the activations of ``problem``. The trace has the derivatives of L and what a step with them makes.
    """
    network, layers = problem.network, range(problem.network.depth)
    inputs = (problem.x, *h[:-1])

    def one_by_one(array: Array) -> Array:
        """Beside two axes that number the tangents."""
        return array[..., None, None, :, :]

    def loss_along(layer: int, dh: Array) -> Array:
        for later in layers[layer + 1 :]:
            dh = one_by_one(f.activation_derivative(h[later])) * (dh @ one_by_one(network.w[later]))
        return (one_by_one(f.output_error(h[-1], problem.t)) * dh).sum(axis=(-2, -1))

    found: dict[str, list[Array]] = {"dL_dh": [], "dL_da": [], "dL_dw": [], "dL_db": []}
    for layer in layers:
        slope = one_by_one(f.activation_derivative(h[layer]))
        entries = _moved_alone(h[layer])
        found["dL_dh"].append(loss_along(layer, entries))
        found["dL_da"].append(loss_along(layer, slope * entries))
        found["dL_dw"].append(loss_along(layer, slope * (one_by_one(inputs[layer]) @ _moved_alone(network.w[layer]))))
        found["dL_db"].append(loss_along(layer, slope * _moved_alone(network.b[layer])))
    derivatives = {name: tuple(arrays) for name, arrays in found.items()}
    stepped = update(network, Trace(**derivatives), problem.eta)
    return Trace(**derivatives, w_new=stepped.w, b_new=stepped.b)


def _moved_alone(array: Array) -> Array:
    """For each entry of a network's array (n, m), the tangent that moves it and no other: (n, m, n, m)."""
    rows, columns = (np.eye(n, dtype=array.dtype) for n in array.shape[-2:])
    return rows[:, None, :, None] * columns[:, None, :]


def update(network: Network, gradients: Gradients | Trace, eta: Array) -> Network:
    """Formula 8 for every weight and bias: the network after one step with learning rate η.

    Raises ValueError if the gradients are missing or do not have the network's depth.
    """
    stepped = []
    for name, arrays, partials in (
        ("dL_dw", network.w, gradients.dL_dw),
        ("dL_db", network.b, gradients.dL_db),
    ):
        if partials is None or len(partials) != len(arrays):
            found = "None" if partials is None else len(partials)
            raise ValueError(f"{name}: found {found}, expected {len(arrays)} arrays, one per layer")
        stepped.append(tuple(f.update(p, g, eta) for p, g in zip(arrays, partials, strict=True)))
    return Network(*stepped)
