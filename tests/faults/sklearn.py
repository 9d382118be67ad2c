"""scikit-learn as it is: what the adapter changes for the document, left as a user finds it."""

from typing import Any

from sklearn.neural_network import MLPRegressor

from adapters.sklearn import _Network


class averaging(_Network):  # noqa: N801 - the adapter calls it as it calls its own
    """Gradients are divided by the number of rows."""

    def _compute_loss_grad(self, layer: int, sw_sum: float, *arrays: Any) -> None:
        super()._compute_loss_grad(layer, sw_sum, *arrays)
        for gradients in arrays[2:]:
            gradients[layer] /= sw_sum


def penalised(**arguments: Any) -> _Network:
    """With the default α."""
    return _Network(**arguments | {"alpha": MLPRegressor().alpha})
