"""Adapters that fail, each in one way: NumPy, but for that."""

import ctypes
import os
import signal
import sys
import time
from dataclasses import replace
from importlib import import_module
from typing import Any, ClassVar, NoReturn

import numpy as np

from adapters.interface import Arithmetic, Gradients, NotOffered, Problem, Trace
from adapters.numpy_ import NumPy


class Fake(NumPy):
    """Named after its class."""

    framework = "NumPy, but for one thing"

    def __init_subclass__(cls) -> None:
        cls.name = cls.__name__


def hang() -> NoReturn:
    while True:
        time.sleep(60)


class Crashes(Fake):
    def trace(self, *_: Any) -> Trace:
        os.kill(os.getpid(), signal.SIGKILL)
        hang()


class Aborts(Fake):
    def gradients(self, *_: Any) -> Gradients:
        print("malloc(): corrupted top size", file=sys.stderr, flush=True)
        os.abort()


class Segfaults(Fake):
    def trace(self, *_: Any) -> Trace:
        ctypes.string_at(0)
        hang()


MEMORY = 1 << 34


def limit_memory() -> int:
    """Leave this process with address space for MEMORY bytes: less than the number returned."""
    import resource  # not on every system

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    return MEMORY + 1


class RunsOutOfMemory(Fake):
    def trace(self, *_: Any) -> Trace:
        bytearray(limit_memory())
        hang()


class RunsOutOfNativeMemory(Fake):
    """C++ code finds no memory, and nothing catches its exception."""

    def trace(self, *_: Any) -> Trace:
        operator_new = ctypes.CDLL("libstdc++.so.6")._Znwm
        operator_new(ctypes.c_size_t(limit_memory()))
        hang()


class Exits(Fake):
    def trace(self, *_: Any) -> Trace:
        sys.exit(0)


class CrashesOnceRefused(Crashes):
    """Refuses float32, crashes in float64: the one must not hide the other."""

    def arithmetic(self, mode: str, dtype: str) -> Arithmetic:
        if dtype == "float32":
            raise NotOffered("no float32 here")
        return super().arithmetic(mode, dtype)


class CrashesOnceFailed(Crashes):
    def arithmetic(self, mode: str, dtype: str) -> Arithmetic:
        if dtype == "float32":
            raise ValueError("float32 is too short")
        return super().arithmetic(mode, dtype)


class CrashesOnceCompared(Crashes):
    def trace(self, problem: Problem, mode: str) -> Trace:
        return super().trace() if problem.dtype == np.float64 else NumPy.trace(self, problem, mode)


class Hangs(Fake):
    def trace(self, *_: Any) -> Trace:
        hang()


class HangsInSilence(Fake):
    """Closes what it could be heard by."""

    def trace(self, *_: Any) -> Trace:
        os.closerange(0, 64)
        hang()


class LeavesAProcess(Fake):
    """Crashes, and what it has started lives on and keeps its output open."""

    def trace(self, *_: Any) -> Trace:
        if os.fork():
            os.kill(os.getpid(), signal.SIGKILL)
        hang()


class HangsInTwo(Fake):
    """And what it has started goes on, too."""

    def trace(self, *_: Any) -> Trace:
        os.fork()
        hang()


class NoConstructor(Fake):
    def __init__(self, *_: Any) -> None:
        raise OSError("the licence has expired")


class NoDevice(Fake):
    def __init__(self, device: str = "cpu") -> None:
        raise NotOffered(f"no device {device!r} here")


class NoFloat64(Fake):
    def arithmetic(self, mode: str, dtype: str) -> Arithmetic:
        if dtype == "float64":
            raise NotOffered("no float64 here")
        return super().arithmetic(mode, dtype)


class NothingOffered(Fake):
    def arithmetic(self, *asked: str) -> Arithmetic:
        raise NotOffered(f"no {asked[1]} here")


class NoArithmetic(Fake):
    def arithmetic(self, *asked: str) -> Any:
        return asked[1]


class OnlyFloat32(Fake):
    """Promises the arithmetic of float32 whatever it is asked for."""

    def arithmetic(self, *asked: str) -> Arithmetic:
        return super().arithmetic(asked[0], "float32")


class Raises(Fake):
    def trace(self, *_: Any) -> Trace:
        raise ZeroDivisionError("division by zero\nin the kernel")


class ReturnsNone(Fake):
    def trace(self, *_: Any) -> Any:
        return None


class ReturnsADict(Fake):
    def gradients(self, problem: Problem, mode: str) -> Any:
        return vars(super().gradients(problem, mode))


class ReturnsNothing(Fake):
    """A trace and gradients in which every quantity is missing."""

    def trace(self, *_: Any) -> Trace:
        return Trace()

    def gradients(self, *_: Any) -> Gradients:
        return Gradients()


class NoDelta(Fake):
    """Of formula 13 it returns one of two quantities."""

    def trace(self, *arguments: Any) -> Trace:
        return replace(super().trace(*arguments), dL_da=None)


class ChangesItsInput(Fake):
    def trace(self, problem: Problem, mode: str) -> Trace:
        trace = super().trace(problem, mode)
        problem.network.w[1][:] = trace.w_new[1]  # type: ignore[index]  # it is there
        return trace


class Prints(Fake):
    """What a framework prints must not mix with what its worker reports."""

    def trace(self, problem: Problem, mode: str) -> Trace:
        print('{"event": "done", "digests": {}}', flush=True)
        os.write(1, b"compiling...\n")
        return super().trace(problem, mode)


class OneHidden(Fake):
    """``spoil`` makes a of the hidden layer wrong."""

    spoil: ClassVar[Any]

    def trace(self, problem: Problem, mode: str) -> Trace:
        trace = super().trace(problem, mode)
        assert trace.a is not None
        return replace(trace, a=(type(self).spoil(trace.a[0].copy()), trace.a[1]))


class WrongShape(OneHidden):
    spoil = staticmethod(lambda a: a[..., 0, :])


class WrongDtype(OneHidden):
    spoil = staticmethod(lambda a: a.astype(np.float16))


class NotANumber(OneHidden):
    @staticmethod
    def spoil(a: Any) -> Any:
        a[3, 0, 2] = np.nan
        return a


class WrongValue(OneHidden):
    @staticmethod
    def spoil(a: Any) -> Any:
        a[3, 0, 2] += 1
        return a


class WrongSinceTwo(WrongValue):
    """NumPy up to version 1 of ``a_framework``, which only some environments have."""

    def __init__(self, device: str = "cpu") -> None:
        super().__init__(device)
        self.version = import_module("a_framework").__version__

    def trace(self, problem: Problem, mode: str) -> Trace:
        return NumPy.trace(self, problem, mode) if self.version.startswith("1.") else super().trace(problem, mode)


class WrongValueThenCrash(WrongValue):
    def gradients(self, problem: Problem, mode: str) -> Gradients:
        if problem.dtype == np.float64:
            os.abort()
        return super().gradients(problem, mode)


class Impostor(WrongValue):
    """Wrong, and has the name of another adapter."""


Impostor.name = "numpy"


class RarelyWrong(Fake):
    """One loss of a thousandth too much, in the stacks of one depth."""

    def trace(self, problem: Problem, mode: str) -> Trace:
        trace = super().trace(problem, mode)
        assert trace.loss is not None
        if problem.network.depth == 1:
            trace.loss[1234] = 1.001 * trace.loss[1234] + 0.001
        return trace


def not_a_class(device: str) -> Fake:
    return Raises(device)


class NotAnAdapter:
    name = "not-an-adapter"
