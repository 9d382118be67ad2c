"""TensorFlow and Keras: reverse and forward mode, eager and compiled. A mode is a line of ``MODES`` and what it names."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache, partial
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple

# Read by TensorFlow when it is imported: without oneDNN, products keep their written precision and order of summation
# (but bfloat16 is cut, not rounded: see `arithmetic`). Where something else has imported it before, it is too late, and
# the record in `settings` must not say otherwise.
if "tensorflow" not in sys.modules:
    os.environ["TF_ENABLE_ONEDNN_OPTS"] = "0"
    os.environ["ONEDNN_DEFAULT_FPMATH_MODE"] = "STRICT"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ |= {"KERAS_BACKEND": "tensorflow", "KERAS_HOME": os.devnull}  # TensorFlow imports Keras: no file of it

import keras
import numpy as np
import tensorflow as tf

from adapters.interface import Adapter, Arithmetic, Gradients, Jacobians, NotOffered, Problem, Trace, assert_held

Function = Callable[..., Any]

_ROWS = 1024  # in the graph that computes row by row: tracing takes a second, and more than in proportion to its size

# Eigen's own table gives its logistic 7 ULP in float32 (measured 6.58) and 3 in float64; XLA's is 1 / (1 + e⁻ᵃ). In the
# short formats both round three times: e⁻ᵃ, the sum and the quotient. On GPUs: CUDA's expf 2 ULP, exp 1; XLA's budgets.
_KERNELS: Mapping[str, Mapping[str, float]] = {
    "CPU": {"float32": 7.0, "float64": 4.0, "bfloat16": 3.0, "float16": 3.0},
    "GPU": {"float32": 7.0, "float64": 5.0},
}
_XLA: Mapping[str, Mapping[str, float]] = {
    "CPU": {"float32": 3.0, "float64": 5.0, "bfloat16": 3.0, "float16": 3.0},
    "GPU": {"float32": 17.0, "float64": 5.0},
}


def _reverse(function: Function, arguments: Any, constants: Any) -> tuple[Any, Any]:
    with tf.GradientTape() as tape:
        tape.watch(arguments)
        found = function(*arguments, *constants)
    return tape.gradient(found[0], arguments), found


def _per_network(function: Function, arguments: Any, constants: Any, **how: bool) -> tuple[Any, Any]:
    stack = tf.nest.flatten(arguments)[0].shape[:-2]
    networks = tf.nest.map_structure(lambda array: tf.reshape(array, (-1, *array.shape[-2:])), (arguments, constants))
    found = tf.vectorized_map(lambda given: _reverse(function, *given), networks, **how)
    return tf.nest.map_structure(lambda array: tf.reshape(array, (*stack, *array.shape[1:])), found)  # type: ignore[no-any-return]


def _forward(function: Function, arguments: Any, constants: Any) -> tuple[Any, Any]:
    """Along every entry of one network's arguments, the same in all networks of a stack: they do not interact."""
    given = tf.nest.flatten(arguments)
    sizes = [array.shape[-2] * array.shape[-1] for array in given]

    def along(entry: Any) -> Any:
        moved = zip(tf.split(entry, sizes), given, strict=True)
        tangents = [tf.broadcast_to(tf.reshape(part, a.shape[-2:]), a.shape) for part, a in moved]
        with tf.autodiff.ForwardAccumulator(given, tangents) as accumulator:
            value = function(*arguments, *constants)[0]
        return tf.reshape(accumulator.jvp(value), (-1,))

    entries = tf.eye(sum(sizes), dtype=given[0].dtype)
    found = tf.split(tf.vectorized_map(along, entries, fallback_to_while_loop=False), sizes)
    gradients = [tf.reshape(tf.transpose(part), array.shape) for part, array in zip(found, given, strict=True)]
    return tf.nest.pack_sequence_as(arguments, gradients), function(*arguments, *constants)


def _layer(x: Any, w: Any, b: Any, activation: Function = tf.identity) -> Any:
    return activation(x @ w + b)


def _dense(x: Any, w: Any, b: Any, activation: Function | None = None) -> Any:
    dense = _keras_dense(w.dtype.name, *w.shape)
    dense.activation = keras.activations.get(activation)
    return dense.stateless_call([w, b[0]], [], x)[0]


def _half_square(error: Any) -> Any:
    """Not error ** 2: in float32 on the CPU, that is Eigen's general power and not the rounded product."""
    return tf.reduce_sum(tf.square(error), axis=(-2, -1)) / 2


def _descend(parameters: Any, gradients: Any, eta: Any) -> Any:
    return tf.nest.map_structure(lambda p, g: p - eta * g, parameters, gradients)


def _sgd(parameters: Any, gradients: Any, eta: Any) -> Any:
    sgd, variable = _keras_sgd(eta.dtype.name)
    sgd.learning_rate = eta

    def step(p: Any, g: Any) -> Any:
        variable.assign(p)
        sgd.apply([g])
        return tf.identity(variable)

    return tf.nest.map_structure(step, parameters, gradients)


@cache
def _keras_dense(dtype: str, inputs: int, units: int) -> Any:
    dense = keras.layers.Dense(units, kernel_initializer="zeros", dtype=dtype)
    dense.build((None, inputs))
    return dense


@cache
def _keras_sgd(dtype: str) -> tuple[Any, Any]:
    variable = tf.Variable(tf.zeros((), dtype), shape=tf.TensorShape(None))
    sgd = keras.optimizers.SGD()
    sgd.build([variable])
    return sgd, variable


def _keras_graph(function: Function) -> Function:
    graph = _graph(function)

    def run(w: Any, *others: Any) -> Any:
        _keras_sgd(w[0].dtype.name)  # before the graph, which may not make variables each time it is traced
        for w_l in w:
            _keras_dense(w_l.dtype.name, *w_l.shape[-2:])
        return graph(w, *others)

    return run


_graph = partial(tf.function, autograph=False)
_jacobian = tf.GradientTape.batch_jacobian


class Mode(NamedTuple):
    """A way to run: how to compile, differentiate and step, what layer, σ and loss are, and what its arithmetic adds."""

    compile: Callable[[Function], Function] = _graph
    differentiate: Callable[[Function, Any, Any], tuple[Any, Any]] = _reverse
    layer: Function = _layer
    sigmoid: Function = tf.sigmoid
    loss: Function = _half_square
    step: Function = _descend
    jacobian: Function | None = None
    sigmoid_ulp: Mapping[str, Mapping[str, float]] = _KERNELS
    arithmetic: Mapping[str, Any] = MappingProxyType({})


MODES = {
    # `pfor`, which vectorizes Jacobians, would trace a new graph in each eager call
    "eager": Mode(lambda function: function, jacobian=partial(_jacobian, experimental_use_pfor=False)),
    "function": Mode(jacobian=_jacobian),
    "xla": Mode(partial(_graph, jit_compile=True), jacobian=_jacobian, sigmoid_ulp=_XLA),
    "vmap": Mode(differentiate=partial(_per_network, fallback_to_while_loop=False)),
    "forward": Mode(differentiate=_forward, arithmetic={"forward": True}),
    "modules": Mode(
        _keras_graph,
        differentiate=partial(_per_network, warn=False),  # that it makes a loop of l2_loss, which it cannot vectorize
        layer=_dense,
        sigmoid=keras.activations.sigmoid,
        loss=tf.nn.l2_loss,
        step=_sgd,
        arithmetic={"learning_rate": keras.config.floatx()},  # whatever the weights are
    ),
}


class TensorFlow(Adapter):
    """Derivatives of the loss, with zeros added to a and h whose gradients are the inner derivatives."""

    name = "tensorflow"
    framework = "TensorFlow"
    version = tf.__version__
    modes = tuple(MODES)
    same_kernels: ClassVar[Mapping[str, str]] = {mode: "function" for mode in MODES if mode not in ("function", "xla")}

    def __init__(self, device: str = "cpu") -> None:
        kind = {"cpu": "CPU", "cuda": "GPU"}.get(device, device)
        if not tf.config.list_physical_devices(kind):
            raise NotOffered(f"TensorFlow has no device {device!r} here")
        self.kind, self.device = kind, f"/{kind}:0"
        with _full_precision():
            self.settings = {
                "TF_ENABLE_ONEDNN_OPTS": os.environ.get("TF_ENABLE_ONEDNN_OPTS", "not set"),
                "ONEDNN_DEFAULT_FPMATH_MODE": os.environ.get("ONEDNN_DEFAULT_FPMATH_MODE", "not set"),
                "tensor_float_32": str(tf.config.experimental.tensor_float_32_execution_enabled()),
                "threads": str(tf.config.threading.get_intra_op_parallelism_threads() or os.cpu_count()),
                "keras": keras.__version__,
            }

    def arithmetic(self, mode: str, dtype: str) -> Arithmetic:
        way = MODES[mode]
        sigmoid_ulp = way.sigmoid_ulp.get(self.kind, {})
        if dtype not in sigmoid_ulp:
            raise NotOffered(f"no bound is derived for {dtype} in TensorFlow on a {self.kind}")
        if way.layer is _dense and keras.config.backend() != "tensorflow":
            raise NotOffered(f"Keras has been imported with its backend {keras.config.backend()}")
        xla, short = way.sigmoid_ulp is _XLA, dtype in ("bfloat16", "float16")
        return Arithmetic(
            dtype,
            sigmoid_ulp[dtype],
            # kernels run with subnormals of float32 flushed to zero, those of float64 too; float16's are normal there
            flushes=dtype != "float16",
            accumulate="float32" if short else None,
            sums="float32" if short and xla else None,  # tf2xla's SumAccumulationType
            # without oneDNN, the product of bfloat16 is one of float32, of which FloatToBFloat16 keeps the upper half
            truncates=dtype == "bfloat16" and not xla,
            excess=xla and dtype == "bfloat16",  # xla_allow_excess_precision
            **way.arithmetic,
        )

    def trace(self, problem: Problem, mode: str) -> Trace:
        with _full_precision(), tf.device(self.device):
            eta = tf.constant(problem.eta, problem.dtype)
            return Trace(**_numpy(_run(_trace, mode)(*_hold(problem), eta)))

    def gradients(self, problem: Problem, mode: str) -> Gradients:
        with _full_precision(), tf.device(self.device):
            return Gradients(**_numpy(_run(_gradients, mode)(*_hold(problem))))

    def jacobians(self, problem: Problem, mode: str) -> Jacobians | None:
        if MODES[mode].jacobian is None:
            return None
        with _full_precision(), tf.device(self.device):
            return Jacobians(**_numpy(_run(_jacobians, mode)(*_hold(problem)[:-1])))

    def activation(self, a: Any, mode: str) -> tuple[Any, Any]:
        with _full_precision(), tf.device(self.device):
            h, dh_da = _run(_activation, mode)([tf.constant(a[:, None, None])])
        return np.asarray(h)[:, 0, 0], np.asarray(dh_da)[:, 0, 0]  # no copies: `certify` asks for billions

    def short_activations(self, rows: Any, mode: str) -> tuple[Any, Any] | None:
        if mode in self.same_kernels:
            return None
        row_by_row, size = (_in_a_loop, len(rows)) if mode == "xla" else (_unrolled, _ROWS)
        found = []
        with _full_precision(), tf.device(self.device):
            for start in range(0, len(rows), size):
                block = np.resize(rows[start : start + size], (size, rows.shape[1], 1, 1))
                found.append(_run(row_by_row, mode)(tf.constant(block)))
        h, dh_da = (np.concatenate(parts)[: len(rows), :, 0, 0] for parts in zip(*found, strict=True))
        return h, dh_da


def _hold(problem: Problem) -> tuple[Any, ...]:
    held = [tf.constant(array) for _, array in problem.named()]
    assert_held(problem, (tensor.numpy() for tensor in held))
    depth = problem.network.depth
    return held[:depth], held[depth : 2 * depth], *held[2 * depth :]


def _network(mode: Mode, w: Any, b: Any, x: Any, t: Any, da: Any = None, dh: Any = None) -> tuple[Any, ...]:
    a: list[Any] = []
    h = [x]

    def sigmoid(linear: Any) -> Any:
        layer = len(a)
        a.append(linear + da[layer])
        return mode.sigmoid(a[layer]) + dh[layer]

    for w_l, b_l in zip(w, b, strict=True):
        h.append(mode.layer(h[-1], w_l, b_l, mode.sigmoid if da is None else sigmoid))
    return mode.loss(h[-1] - t), a, h[1:]


def _gradients(mode: Mode, w: Any, b: Any, x: Any, t: Any) -> dict[str, Any]:
    (dL_dw, dL_db), (loss, *_) = mode.differentiate(partial(_network, mode), (w, b), (x, t))
    return {"loss": loss, "dL_dw": dL_dw, "dL_db": dL_db}


def _trace(mode: Mode, w: Any, b: Any, x: Any, t: Any, eta: Any) -> dict[str, Any]:
    da, dh = ([tf.zeros((*x.shape[:-1], w_l.shape[-1]), x.dtype) for w_l in w] for _ in range(2))
    gradients, (loss, a, h) = mode.differentiate(
        lambda w, b, da, dh, x, t: _network(mode, w, b, x, t, da, dh), (w, b, da, dh), (x, t)
    )
    (dh_da,), _ = mode.differentiate(lambda a: [_total(map(mode.sigmoid, a))], (a,), ())
    (da_dw,), _ = mode.differentiate(lambda w, x, b: [_total(map(mode.layer, x, w, b))], (w,), ([x, *h[:-1]], b))
    w_new, b_new = mode.step((w, b), gradients[:2], eta)
    found = dict(zip(("dL_dw", "dL_db", "dL_da", "dL_dh"), gradients, strict=True))
    return found | {"loss": loss, "a": a, "h": h, "dh_da": dh_da, "da_dw": da_dw, "w_new": w_new, "b_new": b_new}


def _activation(mode: Mode, a: Any) -> tuple[Any, Any]:
    (dh_da,), (h,) = mode.differentiate(lambda a: [mode.sigmoid(a)], tuple(a), ())
    return h, dh_da


def _unrolled(mode: Mode, rows: Any) -> tuple[Any, Any]:
    """A graph with nodes of its own for each row."""
    h, dh_da = zip(*(_activation(mode, [row]) for row in tf.unstack(rows)), strict=True)
    return tf.stack(h), tf.stack(dh_da)


def _in_a_loop(mode: Mode, rows: Any) -> Any:
    """A loop in one compiled program, whose body has the shape of a row."""
    return tf.map_fn(lambda row: _activation(mode, [row]), rows, fn_output_signature=(rows.dtype, rows.dtype))


def _total(layers: Any) -> Any:
    return sum(tf.reduce_sum(each, axis=(-2, -1)) for each in layers)


def _jacobians(mode: Mode, w: Any, b: Any, x: Any) -> dict[str, Any]:
    assert mode.jacobian is not None
    found: dict[str, Any] = {"h": [], "dh_da": [], "da_dw": [], "da_dx": []}
    for w_l, b_l in zip(w, b, strict=True):
        *rows, width = x.shape  # of all networks, as one batch, each with a copy of its network's parameters
        x_row = tf.reshape(x, (-1, width))
        w_row, b_row = (tf.repeat(tf.reshape(p, (-1, *p.shape[-2:])), rows[-1], axis=0) for p in (w_l, b_l))
        with tf.GradientTape(persistent=True) as tape:
            tape.watch((x_row, w_row))
            a_row = mode.layer(x_row[:, None], w_row, b_row)[:, 0]
            h_row = mode.sigmoid(a_row)
        pairs = {"dh_da": (h_row, a_row), "da_dw": (a_row, w_row), "da_dx": (a_row, x_row)}
        layer = {"h": h_row} | {name: mode.jacobian(tape, *pair) for name, pair in pairs.items()}
        for name, array in layer.items():
            found[name].append(tf.reshape(array, (*rows, *array.shape[1:])))
        x = found["h"][-1]
    return found


def _numpy(quantities: dict[str, Any]) -> dict[str, Any]:
    return tf.nest.map_structure(lambda tensor: tensor.numpy(), quantities)  # type: ignore[no-any-return]


@cache
def _run(function: Function, mode: str) -> Function:
    return MODES[mode].compile(partial(function, MODES[mode]))


@contextmanager
def _full_precision() -> Iterator[None]:
    """Matrix products in full float32; as before afterwards."""
    experimental = tf.config.experimental
    before = experimental.tensor_float_32_execution_enabled()
    experimental.enable_tensor_float_32_execution(False)
    try:
        yield
    finally:
        experimental.enable_tensor_float_32_execution(before)
