"""What the page shows of a framework: its own numbers, errors against what is exact, and a reason where it fails."""

from typing import Any

import numpy as np
import pytest

from adapters import load
from compare import show
from compare.worker import Job, run
from reference.backprop import backprop
from reference.network import Trace, single
from tests.compare import fake_adapters

DTYPES = ("float64", "float32", "float16")


@pytest.fixture(scope="module")
def shown() -> dict[str, Any]:
    (mode,) = show.show(load("numpy"), ["eager"], (*DTYPES, "bfloat16"), networks=200).values()
    return mode


def test_every_part_of_every_precision_that_there_is(shown):
    assert list(shown) == list(DTYPES)  # NumPy has no bfloat16
    for dtype, parts in shown.items():
        assert parts["reason"] is None
        assert (parts["growth"] is None) == (dtype == "float16")
        assert None not in (parts["figure"], parts["saturation"], parts["learning"])


@pytest.mark.parametrize("dtype", DTYPES)
def test_figure_is_the_document_s_network_to_the_last_bit(shown, dtype):
    problem = single(show._figure_and_sweep(dtype, 1), 0)
    assert (problem.network.widths, problem.x.tolist()) == ((2, 3, 2), np.array([[0.35, 0.9]], dtype).tolist())
    expected = dict(problem.named()) | {"η": np.array(0.5, dtype)}
    for name, arrays in vars(backprop(problem)).items():
        expected |= {name: arrays} if name == "loss" else {f"{name}[{i}]": array for i, array in enumerate(arrays)}
    numbers = shown[dtype]["figure"]
    assert len(numbers) == sum(np.size(array) for array in expected.values()) == 21 + 1 + 72
    for name, array in expected.items():
        for index in np.ndindex(np.shape(array)):
            number = numbers[name + (str(list(index)) if index else "")]
            assert number["hex"] == float(array[index]).hex()
            assert np.array(number["decimal"], dtype) == array[index]
    assert numbers["w[0][1, 2]"]["decimal"] == "0.55"


def test_numbers_of_the_figure_are_no_two_alike():
    numbers = [abs(n) for array in (show.W, show.U, show.B, show.C, show.X, show.T) for n in np.ravel(array)]
    assert len(set(numbers)) == len(numbers) == 21


@pytest.mark.parametrize("dtype", DTYPES)
def test_saturation_takes_the_derivative_and_spares_the_other_form(shown, dtype):
    saturation = shown[dtype]["saturation"]
    unit = {"float64": 2.0**-53, "float32": 2.0**-24, "float16": 2.0**-11}[dtype]
    lost = {"float64": 37.5, "float32": 17.5, "float16": 8.5}[dtype]
    a, derivative, reflected = (np.array(saturation[name]) for name in ("a", "derivative", "reflected"))
    assert saturation["form"] == "y(1 − y)"
    assert len(a) == show.SWEEP
    assert (derivative[a > lost] == 1).all()
    assert (a > lost).sum() > 10
    safe = np.abs(a) < lost / 4
    assert (reflected[safe] < 20 * unit).all()
    assert (derivative[np.abs(a) < 1] < 20 * unit).all()
    assert derivative[(a > lost / 2) & (a < lost)].max() > 0.1


def test_errors_grow_less_than_bounds(shown):
    for dtype in show.GROWN:
        rows = shown[dtype]["growth"]
        assert [(row["depth"], row["width"]) for row in rows] == list(show.SHAPES)
        assert all(0 < row["error"] <= row["bound"] for row in rows)


def test_reference_stays_with_itself_and_learns(shown):
    for parts in shown.values():
        losses, distances = (parts["learning"][name] for name in ("loss", "distance"))
        assert len(losses) == len(distances) == show.STEPS
        assert set(distances) == {0}
        assert losses[0] > 10 * losses[-1] > 0


class RoundsOff(fake_adapters.Fake):
    """Steps that are not the reference's."""

    def trace(self, problem: Any, mode: str) -> Trace:
        trace = super().trace(problem, mode)
        assert trace.w_new is not None
        for w in trace.w_new:
            w[:] = np.nextafter(w, 9, dtype=w.dtype)
        return trace


def test_distance_is_in_ulp():
    parts = show.show(RoundsOff(), ["eager"], ["float32"], networks=10)["eager"]["float32"]
    distances = parts["learning"]["distance"]
    assert distances[0] == 1
    assert distances[-1] > 10


def test_reason_in_place_of_what_fails():
    parts = show.show(fake_adapters.Raises(), ["eager"], ["float32"], networks=10)["eager"]["float32"]
    assert parts == dict.fromkeys(("figure", "saturation", "growth", "learning")) | {
        "reason": "ZeroDivisionError: division by zero"
    }
    parts = show.show(fake_adapters.ReturnsNothing(), ["eager"], ["float32"], networks=10)["eager"]["float32"]
    assert parts["reason"] == "ValueError: the adapter returns no dL_dw"
    assert len(parts["figure"]) == 22  # what it was given


@pytest.mark.parametrize(("problems", "parts"), [(["wide"], None), (["document"], (0, 1))])
def test_shown_only_with_the_document_s_problem_and_in_no_soak(problems, parts):
    job = Job("numpy", "cpu", None, ["float32"], problems, False, 5, 0, parts=parts)
    assert [event for event in run(job) if event["event"] == "shown"] == []


def test_event_of_a_worker():
    job = Job("numpy", "cpu", None, ["float32"], ["document"], False, 5, 0)
    (event,) = (event for event in run(job) if event["event"] == "shown")
    assert list(event["shown"]["eager"]) == ["float32"]
    assert len(event["shown"]["eager"]["float32"]["saturation"]["a"]) == 4  # one network is the figure
