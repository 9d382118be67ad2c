"""Whether an adapter's answer is its framework's own: a reference that is compared with itself agrees in every bit."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from reference.backprop import backprop
from reference.formulas import linear

_REFERENCE = {function.__code__.co_filename: function.__module__ for function in (backprop, linear)}


class NotIndependent(Exception):  # noqa: N818 - a verdict
    """Raised where an adapter calls the reference. Its text is the reason shown."""


def independent(method: Callable[..., Any], *arguments: Any) -> Any:
    """The answer of an adapter's ``method``, which may not call into the files of the reference's formulas.

    Every call of a Python function is looked at, also in threads that start meanwhile; another process is not seen.

    Raises
    ------
    NotIndependent
        Naming the first function of the reference that was called.
    """
    called: list[str] = []

    def look(frame: FrameType, event: str, _: Any) -> None:
        module = _REFERENCE.get(frame.f_code.co_filename)
        if event == "call" and module:
            called.append(f"{module}.{frame.f_code.co_name}")

    before, before_in_threads = sys.getprofile(), threading.getprofile()
    threading.setprofile(look)
    sys.setprofile(look)
    try:
        answer = method(*arguments)
    finally:
        sys.setprofile(before)
        threading.setprofile(before_in_threads)
    if called:
        raise NotIndependent(
            f"not independent: {method.__name__} called {called[0]}; expected the framework's own code"
        )
    return answer
