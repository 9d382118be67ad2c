"""What a framework produced, to the bit: a digest of every quantity, and some of its entries in full.

With these in two results, `compare.diff` says which quantities changed, in how many of the entries kept, and how far.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from reference.network import Array, Gradients, Jacobians, Trace

KEPT = 100
"""Entries of a quantity that are kept in full, evenly spaced over all of its layers."""

DIGITS = 16
"""Of a digest: 64 bits, which no two of the some thousand in a file are likely to share."""


@dataclass(frozen=True)
class Quantity:
    """A quantity of one problem, all layers one after the other.

    Attributes
    ----------
    entries : how many it has
    dtype : their format
    kept : the little-endian bits, in base64, of `KEPT` of them or of all if they are fewer
    """

    entries: int
    dtype: str
    kept: str


def quantities(answers: Iterable[Trace | Gradients | Jacobians], dtype: str) -> dict[str, tuple[str, Quantity]]:
    """Every quantity of the answers to a problem in ``dtype``, by name: its digest, and the quantity.

    One that holds anything else has failed already, and is left out.
    """
    arrays: dict[str, list[Any]] = {}
    for answer in answers:
        for field in fields(answer):
            found = getattr(answer, field.name)
            if found is not None:
                arrays.setdefault(field.name, []).extend(found if isinstance(found, tuple) else (found,))
    return {name: _quantity(parts) for name, parts in arrays.items() if all(_is_of(dtype, part) for part in parts)}


def _is_of(dtype: str, array: Any) -> bool:
    return isinstance(array, np.ndarray | np.generic) and array.dtype == dtype and array.size > 0


def _quantity(arrays: Sequence[Array]) -> tuple[str, Quantity]:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype} {array.shape};".encode())
        digest.update(array.tobytes())
    flat = np.concatenate([array.reshape(-1) for array in arrays])
    kept = flat[np.linspace(0, flat.size - 1, min(flat.size, KEPT)).round().astype(int)]
    return digest.hexdigest()[:DIGITS], Quantity(flat.size, flat.dtype.name, base64.b64encode(kept.tobytes()).decode())
