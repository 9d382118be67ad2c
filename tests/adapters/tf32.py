"""PyTorch with matrix products as an NVIDIA GPU makes them in TF32: their inputs keep 10 bits of the mantissa."""

from typing import Any, ClassVar

import torch
from torch import Tensor

from adapters.interface import Arithmetic, Gradients, Problem, Trace
from adapters.pytorch import Mode, PyTorch, _gradients, _trace


def cut(x: Tensor) -> Tensor:
    return (x.contiguous().view(torch.int32) & ~0x1FFF).view(torch.float32) if x.dtype == torch.float32 else x


def nearest(x: Tensor) -> Tensor:
    return cut((x.contiguous().view(torch.int32) + 0x1000).view(torch.float32)) if x.dtype == torch.float32 else x


class Product(torch.autograd.Function):  # type: ignore[misc]  # not seen by mypy
    """x @ w, all three products of it with inputs rounded by ``read``."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, read: Any) -> Tensor:
        ctx.read = read
        ctx.save_for_backward(x, w)
        return read(x) @ read(w)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor, None]:
        x, w = map(ctx.read, ctx.saved_tensors)
        return ctx.read(g) @ w.mT, x.mT @ ctx.read(g), None


class SilentTF32(PyTorch):
    """As a framework is whose default is TF32 and whose adapter does not know."""

    name = "silent-tf32"
    modes = ("eager",)
    read: ClassVar[Any] = staticmethod(cut)

    @property
    def mode(self) -> Mode:
        return Mode(linear=lambda x, w, b: Product.apply(x, w, self.read) + b)

    def trace(self, problem: Problem, mode: str) -> Trace:
        return Trace(**_trace(self.mode, *self._hold(problem), problem.eta))

    def gradients(self, problem: Problem, mode: str) -> Gradients:
        return Gradients(**_gradients(self.mode, *self._hold(problem)))


class DeclaredTF32(SilentTF32):
    """As one whose adapter says so: 10 bits kept, the others dropped."""

    name = "declared-tf32"

    def arithmetic(self, mode: str, dtype: str) -> Arithmetic:
        unit = 2.0**-10 if dtype == "float32" else 0.0
        return Arithmetic(dtype, super().arithmetic(mode, dtype).sigmoid_ulp, product_unit=unit)


class RoundedTF32(DeclaredTF32):
    """10 bits, rounded to nearest: half the error."""

    name = "rounded-tf32"
    read = staticmethod(nearest)

    def arithmetic(self, mode: str, dtype: str) -> Arithmetic:
        unit = 2.0**-11 if dtype == "float32" else 0.0
        return Arithmetic(dtype, super().arithmetic(mode, dtype).sigmoid_ulp, product_unit=unit)
