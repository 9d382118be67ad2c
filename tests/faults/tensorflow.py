"""Wrong parts for a mode of TensorFlow, most of them with a gradient of their own, by custom_gradient."""

from typing import Any

import keras
import tensorflow as tf

from adapters import tensorflow as adapter

Function = Any


def sigmoid(wrong: Function) -> Function:
    """σ whose gradient is ``wrong``: a function of g, the gradient above it, and y."""

    @tf.custom_gradient  # type: ignore[untyped-decorator]  # not seen by mypy
    def made(a: Any) -> Any:
        y = tf.sigmoid(a)
        return y, lambda g: wrong(g, y)

    return made


def layer(**wrong: Function) -> Function:
    """A layer whose gradients by x, w and b are the right ones, but for ``wrong``: functions of g, x and w."""
    by = {
        "x": lambda g, x, w: g @ tf.linalg.matrix_transpose(w),
        "w": lambda g, x, w: tf.linalg.matrix_transpose(x) @ g,
        "b": lambda g, x, w: tf.reduce_sum(g, -2, keepdims=True),
    } | wrong

    @tf.custom_gradient  # type: ignore[untyped-decorator]
    def linear(x: Any, w: Any, b: Any) -> Any:
        return x @ w + b, lambda g: tuple(by[name](g, x, w) for name in "xwb")

    return lambda x, w, b, activation=tf.identity: activation(linear(x, w, b))


def summed_twice(function: Function, arguments: Any, constants: Any) -> tuple[Any, Any]:
    gradients, found = adapter._reverse(function, arguments, constants)
    return tf.nest.map_structure(lambda g: g + g, gradients), found


slope_missing = sigmoid(lambda g, y: g)
slope_of_tanh = sigmoid(lambda g, y: g * (1 - y * y))
slope_of_one_unit = sigmoid(lambda g, y: g * y * (1 - y) * tf.constant([1 + 1e-6] + [1] * (y.shape[-1] - 1), y.dtype))
sigmoid_by_tanh = lambda a: 0.5 + 0.5 * tf.tanh(a / 2)
sigmoid_in_float32 = lambda a: tf.cast(tf.sigmoid(tf.cast(a, tf.float32)), a.dtype)
hard_sigmoid = keras.activations.hard_sigmoid
mean_of_bias = layer(b=lambda g, x, w: tf.reduce_mean(g, -2, keepdims=True))
no_bias_gradient = layer(b=lambda g, x, w: tf.zeros_like(g[..., :1, :]))
term_missing = layer(x=lambda g, x, w: g[..., 1:] @ tf.linalg.matrix_transpose(w)[..., 1:, :])
mean_for_batches = layer(w=lambda g, x, w: tf.linalg.matrix_transpose(x) @ g / x.shape[-2])
mean_loss = lambda error: tf.reduce_mean(tf.square(error), axis=(-2, -1)) / 2
half_error = lambda error: tf.reduce_sum(error * tf.stop_gradient(error), axis=(-2, -1)) / 2
rate_forgotten = lambda parameters, gradients, eta: tf.nest.map_structure(lambda p, g: p - g, parameters, gradients)
