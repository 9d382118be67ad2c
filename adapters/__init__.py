"""The frameworks, one file each. A framework is imported when its adapter is loaded, never before."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from types import MappingProxyType
from typing import NamedTuple

from adapters.interface import Adapter, NotOffered

__all__ = ["REGISTRY", "Adapter", "Entry", "NotOffered", "installed", "load"]


class Entry(NamedTuple):
    """Where a registered adapter is, the framework it imports, and its modes, known without importing either."""

    spec: str  # module:Class
    imports: str
    modes: tuple[str, ...]


REGISTRY: Mapping[str, Entry] = MappingProxyType(
    {
        "numpy": Entry("adapters.numpy_:NumPy", "numpy", ("eager",)),
        "pytorch": Entry(
            "adapters.pytorch:PyTorch", "torch", ("eager", "func", "vmap", "forward", "compile", "modules")
        ),
        "jax": Entry("adapters.jax:JAX", "jax", ("jit", "eager", "vmap", "forward", "checkpoint", "accurate", "optax")),
        "tensorflow": Entry(
            "adapters.tensorflow:TensorFlow", "tensorflow", ("eager", "function", "xla", "vmap", "forward", "modules")
        ),
        "sklearn": Entry("adapters.sklearn:SKLearn", "sklearn", ("eager",)),
    }
)


def installed(name: str) -> bool:
    """Whether a registered adapter's framework can be found, without importing it."""
    return find_spec(REGISTRY[name].imports) is not None


_MEMBERS = ("name", "framework", "version", "modes", "arithmetic", "trace", "gradients")


def load(name: str, device: str = "cpu") -> Adapter:
    """The adapter registered as ``name``, or the one at ``module:Class``, ready to run on ``device``.

    Raises
    ------
    ValueError
        For a name that is not registered, a class that is not there, or one that is not an adapter.
    ImportError
        If the module, or the framework it needs, cannot be imported.
    NotOffered
        If the adapter does not have ``device``.
    """
    spec = REGISTRY[name].spec if name in REGISTRY else name
    module_name, colon, class_name = spec.partition(":")
    if not (colon and module_name and class_name):
        raise ValueError(f"adapter: found {name!r}, expected one of {', '.join(REGISTRY)}, or MODULE:CLASS")
    try:
        module = import_module(module_name)
    except ImportError as error:
        hint = f"; install it with: python -m pip install --group {name}" if name in REGISTRY else ""
        raise ImportError(f"adapter {name}: cannot import {module_name}: {error}{hint}") from error
    found = getattr(module, class_name, None)
    if found is None:
        raise ValueError(f"adapter {name}: module {module_name} has no {class_name}")
    missing = [member for member in _MEMBERS if not hasattr(found, member) and member != "version"]
    if not isinstance(found, type) or missing:
        lacks = f" (it lacks {', '.join(missing)})" if missing else ""
        raise ValueError(f"adapter {name}: {class_name} is not an adapter class{lacks}")
    adapter: Adapter = found(device)
    if not isinstance(getattr(adapter, "version", None), str):
        raise ValueError(f"adapter {name}: {class_name} is not an adapter class (it lacks version)")
    return adapter
