"""A process of its own for each framework: functions are called in it from here, with a limit of time."""

from __future__ import annotations

import pickle
import signal
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any


class Failed(Exception):  # noqa: N818 - an answer, as the adapters' NotOffered
    """Something could not be measured. Its text is one sentence."""


class Process:
    """A Python process that starts with the first call, and again with the first one after it was ended."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._process: Any = None

    def call(self, function: Callable[..., Any], *arguments: Any, limit: float | None = None) -> Any:
        """What a function of a module returns there; errors as of `result`."""
        self.start(function, *arguments)
        return self.result(limit)

    def start(self, function: Callable[..., Any], *arguments: Any) -> None:
        """Begin a call, and do not wait for it."""
        if self._process is None:
            context = get_context("spawn")
            self._pipe, theirs = context.Pipe()
            self._process = context.Process(target=_serve, args=(theirs,), daemon=True)
            self._process.start()
            theirs.close()  # else its end would not be heard
        self._asked = function.__name__
        with suppress(ConnectionError):  # it has died since: `result` says so
            self._pipe.send((function, arguments))

    def result(self, limit: float | None = None) -> Any:
        """What the call returned.

        Raises
        ------
        TimeoutError
            After ``limit`` seconds, with the process ended.
        Failed
            If the function raised an error, or the process died.
        """
        if not self._pipe.poll(limit):
            self.end()
            raise TimeoutError
        try:
            value, error = self._pipe.recv()
        except (EOFError, ConnectionError):
            self._process.join()
            status = self._process.exitcode
            ended = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
            self.end()
            raise Failed(f"{self.name}: its process ended {ended} in {self._asked}") from None
        if error is not None:
            raise Failed(f"{self.name}: {self._asked}: {error}")
        return value

    def end(self) -> None:
        """End the process, whatever it does."""
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._pipe.close()
            self._process = None


@contextmanager
def processes(names: Iterable[str]) -> Iterator[dict[str, Process]]:
    """A process for each name, all ended at the end."""
    made = {name: Process(name) for name in names}
    try:
        yield made
    finally:
        for process in made.values():
            process.end()


def _serve(pipe: Connection) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this one
    while True:
        try:
            asked = pipe.recv_bytes()
        except EOFError:
            return
        try:
            function, arguments = pickle.loads(asked)  # which imports the function's module
            answer: tuple[Any, str | None] = function(*arguments), None
        except Exception as error:  # noqa: BLE001 - whatever a framework raises is the sentence of `Failed`
            answer = None, "".join(traceback.format_exception_only(error)).splitlines()[0]
        pipe.send(answer)
