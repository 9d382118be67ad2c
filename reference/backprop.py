"""Forward pass, backward pass and update, built from the formulas: the reference.

The numbers are whatever the problem's arrays are: float16, float32, float64, complex, object arrays, or `Rounded`.
"""

from __future__ import annotations

import numpy as np

from reference import formulas as f
from reference.network import Array, Gradients, Network, Problem, Trace


def backprop(problem: Problem) -> Trace:
    """Every quantity of the document for ``problem``, in the problem's own numbers. Shapes as in `Trace`."""
    network, t, eta = problem.network, problem.t, problem.eta
    layers = range(network.depth)

    h_below, a, h = problem.x, [], []
    inputs = []
    for w, b in zip(network.w, network.b, strict=True):
        inputs.append(h_below)
        a.append(f.linear(h_below, w, b))
        h_below = f.sigmoid(a[-1])
        h.append(h_below)
    y = h[-1]

    dL_dh: list[Array] = [f.output_error(y, t)]
    dL_da: list[Array] = [f.output_delta(y, t)]
    for layer in reversed(layers[:-1]):
        w_next = network.w[layer + 1]
        dL_dh.insert(0, f.hidden_error(dL_da[0], w_next))
        dL_da.insert(0, f.hidden_delta(dL_da[0], w_next, h[layer]))

    dL_dw = [f.weight_gradient(delta, x) for delta, x in zip(dL_da, inputs, strict=True)]
    dL_db = [f.bias_gradient(delta) for delta in dL_da]
    stepped = update(network, Gradients(dL_dw=tuple(dL_dw), dL_db=tuple(dL_db)), eta)
    loss = f.loss(y, t)
    if not hasattr(loss, "shape"):  # NumPy hands a sum of objects without axes back bare
        loss = np.array(loss, dtype=object)
    return Trace(
        a=tuple(a),
        h=tuple(h),
        loss=loss,
        dL_dh=tuple(dL_dh),
        dh_da=tuple(f.activation_derivative(h[layer]) for layer in layers),
        dL_da=tuple(dL_da),
        da_dw=tuple(f.linear_derivative(x, w) for x, w in zip(inputs, network.w, strict=True)),
        dL_dw=tuple(dL_dw),
        dL_db=tuple(dL_db),
        w_new=stepped.w,
        b_new=stepped.b,
    )


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
