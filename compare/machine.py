"""Faults of the machine that a program meets: it is told to end, or what it prints can no longer be written.

Of the standard library only, so that it is in force before the imports that take a second.
"""

from __future__ import annotations

import atexit
import errno
import io
import os
import signal
import sys
from types import FrameType
from typing import Any

JUDGED_NOTHING = 2
"""Exit status: it could not be judged."""

ENDS = ("SIGINT", "SIGTERM", "SIGHUP")
"""Ctrl-C, what a system or a CI sends to end a program, and a terminal that is closed."""


def withstand(program: str, left: str = "nothing was judged") -> None:
    """From now on, end by these signals with one sentence and status 2, and print where that is possible.

    ``left``: the sentence's second half, what there is then.

    A signal that was ignored when the program started, as by ``nohup``, stays ignored. As an exception the end passes
    through every ``finally``. What can no longer be printed is lost, and costs neither the work nor its exit status:
    where the reader is gone, as in ``| head``, in silence, else (a full disk) with one sentence.
    """

    def end(number: int, _: FrameType | None) -> None:
        deaf()
        print(f"{program}: interrupted by {signal.Signals(number).name}; {left}", file=sys.stderr)
        sys.exit(JUDGED_NOTHING)

    for number in _ends():
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, end)
    if sys.stderr is not None:  # as ``2>&-`` leaves it
        sys.stderr = _printed(sys.stderr)
    if sys.stdout is not None:
        sys.stdout = _printed(sys.stdout, f"{program}: standard output")


def deaf() -> None:
    """Hear no signal from now on: the end has begun, and a second Ctrl-C must not break it off."""
    _hear(lambda *_: None)  # where one waits already, Python takes SIG_IGN for an error
    atexit.register(_hear, signal.SIG_IGN)  # Python's own end gives back what is not SIG_IGN: then a signal kills


def _hear(handler: Any) -> None:
    for number in _ends():
        signal.signal(number, handler)


def _ends() -> list[signal.Signals]:
    return [signal.Signals[name] for name in ENDS if hasattr(signal, name)]


class _Output(io.FileIO):
    """A file descriptor that takes everything, and writes it while it can. With a name, it says why it cannot."""

    def __init__(self, descriptor: int, name: str | None) -> None:
        super().__init__(descriptor, "w", closefd=False)
        self._called = name

    def write(self, data: Any) -> int:
        """Write, or discard this and what follows."""
        try:
            return super().write(data) or 0
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.fileno())
            if self._called and error.errno != errno.EPIPE:
                print(f"{self._called}: {error.strerror}", file=sys.stderr)
            return len(data)


def _printed(stream: Any, name: str | None = None) -> io.TextIOWrapper:
    """A text stream like the one given. What its encoding lacks is escaped."""
    output = io.BufferedWriter(_Output(stream.fileno(), name))
    return io.TextIOWrapper(output, stream.encoding, "backslashreplace", line_buffering=stream.line_buffering)
