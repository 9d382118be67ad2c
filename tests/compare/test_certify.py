"""Certifying sigmoids: what is measured, put together, written, printed and refused."""

import json
import math
import re
from collections import Counter
from typing import Any, ClassVar

import numpy as np
import pytest

from adapters import REGISTRY
from adapters.numpy_ import NumPy
from compare import certify
from compare.accuracy import Found, Truth, Worst, _Chunk, edges, inputs, measure
from compare.problems import DTYPES
from reference.formulas import activation_derivative, sigmoid
from reference.rounding import Arithmetic

INACCURATE = "tests.adapters.inaccurate:"
ALONE = ["--frameworks", "--adapter"]
FLOAT32 = Arithmetic("float32", 4.0)

# --- what is measured -----------------------------------------------------------------------------------------------


def rounded(a):
    """σ and σ′, each the float32 nearest to it."""
    truth = Truth(a, FLOAT32)
    return truth.sigmoid.astype(np.float32), truth.derivative.astype(np.float32)


def test_rounded_results_are_off_by_half_an_ulp_and_nothing_is_lost() -> None:
    a = np.linspace(-80, 80, 100_001, dtype=np.float32)
    found = Truth(a, FLOAT32).measure(*rounded(a))
    assert found.counts == Counter(inputs=100_001)
    for name in ("sigmoid", "derivative"):
        assert 0.49 < found.worst[name].size <= 0.5
    assert found.worst["lost"].size == found.worst["zero"].size == -math.inf


def test_an_error_of_k_ulp_is_measured_where_it_is() -> None:
    a = np.array([-3, -1, 2], np.float32)
    h, dh_da = rounded(a)
    exact = Truth(a, FLOAT32).sigmoid
    h[1] += 3 * np.spacing(h[1])
    worst = Truth(a, FLOAT32).measure(h, dh_da).worst["sigmoid"]
    assert worst == Worst(abs(float(h[1]) - float(exact[1])) / float(np.spacing(np.float32(exact[1]))), -1.0)
    assert 2.5 <= worst.size <= 3.5


def test_the_derivative_of_the_formula_is_lost_where_one_minus_y_is() -> None:
    a = np.linspace(10, 30, 20_001, dtype=np.float32)
    h, _ = rounded(a)
    found = Truth(a, FLOAT32).measure(h, activation_derivative(h))
    assert found.worst["formula"].size < 1.5
    lost, zero = found.worst["lost"], found.worst["zero"]
    first = a[h == 1][0]
    assert zero == (-first, first)
    assert 16 < lost.at <= first
    assert found.worst["derivative"].size > 2**20


def test_results_below_the_least_normal_number_are_told_from_flushed_ones() -> None:
    a = np.linspace(-103, -88, 1000, dtype=np.float32)
    h, dh_da = rounded(a)
    kept, flushed = Truth(a, FLOAT32).measure(h, dh_da), Truth(a, FLOAT32).measure(0 * h, 0 * dh_da)
    assert kept.counts["subnormal"] == np.count_nonzero(h) > 900
    assert kept.worst["sigmoid_below"].size <= 0.5
    assert flushed.counts["subnormal"] == 0
    assert flushed.worst["sigmoid_below"].size > 2**22
    assert kept.worst["sigmoid"].size == flushed.worst["sigmoid"].size == -math.inf


@pytest.mark.parametrize("result", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("quantity", [0, 1])
def test_results_that_are_no_numbers_are_counted(result, quantity) -> None:
    a = np.array([0, 1, np.nan, np.inf, -np.inf], np.float32)
    results = rounded(a)
    assert Truth(a, FLOAT32).measure(*results).counts["invalid"] == 0
    results[quantity][1] = result
    assert Truth(a, FLOAT32).measure(*results).counts["invalid"] == 1


def test_a_number_for_nan_is_counted() -> None:
    a = np.array([np.nan], np.float32)
    one = np.ones(1, np.float32)
    assert Truth(a, FLOAT32).measure(one, one).counts["invalid"] == 1


STARTS = [
    *range(0x3F000000, 0x43800000, 2**20),
    *range(0xBF000000, 0xC3800000, 2**20),
    0x25300000,
    0x32800000,
    0xB2800000,
]


def test_the_ends_tell_what_all_inputs_do() -> None:
    told, numpy = 0, NumPy()
    with np.errstate(all="ignore"):
        for start in [0, 0x80000000, *STARTS, 0x7F700000, 0x7F800000]:
            a = inputs("float32", start, 2**14)
            h, dh_da = numpy.activation(a, "eager")
            chunk = _Chunk(a, FLOAT32)
            ends = chunk.at_the_ends(h, dh_da) if chunk.constant(h, dh_da) else None
            if ends is not None:
                told += 1
                everything = chunk.measure(h, dh_da)
                assert ends.counts == everything.counts
                for name, (size, _) in everything.worst.items():
                    assert ends.worst[name].size == pytest.approx(size, abs=2**-20)
    assert told > 20


def test_results_that_vary_are_not_told_by_the_ends() -> None:
    a = np.array([1e-9, 2e-9, 3e-9], np.float32)
    h, dh_da = rounded(a)
    assert _Chunk(a, FLOAT32).known(h, dh_da).constant
    h[1] = 0.25
    known = _Chunk(a, FLOAT32).known(h, dh_da)
    assert not known.constant
    assert known.found == Truth(a, FLOAT32).measure(h, dh_da)


def test_measurements_are_shared_only_by_equal_results() -> None:
    a = np.linspace(-5, 5, 100, dtype=np.float32)
    h, dh_da = rounded(a)
    chunk, worse = _Chunk(a, FLOAT32), h.copy()
    worse[50] += 9 * np.spacing(worse[50])
    first = chunk.known(h, dh_da)
    assert chunk.known(h.copy(), dh_da.copy()) is first
    assert chunk.known(worse, dh_da).found.worst["sigmoid"].size > 8
    assert chunk.known(h, worse).found.worst["derivative"].size > 8


def test_found_is_put_together_in_any_order() -> None:
    a = inputs("float16", 0, 2**16)
    arithmetic = Arithmetic("float16", 3.0)
    with np.errstate(all="ignore"):
        h = sigmoid(a)
        parts = [
            Truth(a[i], arithmetic).measure(h[i], activation_derivative(h[i]))
            for i in (slice(0, 9999), slice(9999, 40000), slice(40000, None))
        ]
        whole = Truth(a, arithmetic).measure(h, activation_derivative(h))
    one, two, three = parts
    assert (one + two) + three == one + (two + three) == three + two + one
    assert (one + two + three).counts == whole.counts
    assert {name: worst.size for name, worst in (one + two + three).worst.items()} == {
        name: worst.size for name, worst in whole.worst.items()
    }
    assert Found() + one == one


# --- which inputs ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_inputs_of_16_bits_are_all_there_are(dtype) -> None:
    everything = np.concatenate([inputs(dtype, start, 2**14) for start in range(0, 2**16, 2**14)])
    assert np.array_equal(np.sort(everything.view(np.uint16)), np.arange(2**16))


def test_inputs_of_32_bits_count_up_to_the_last() -> None:
    bits = inputs("float32", 2**32 - 2**20, 2**20).view(np.uint32)
    assert (bits[0], bits[-1]) == (2**32 - 2**20, 2**32 - 1)


def test_a_sample_of_float64_begins_with_the_edges_and_is_the_same_again() -> None:
    first = inputs("float64", 0, 2**20)
    assert first.shape == (2**20,)
    assert np.isin(edges().view(np.int64), first.view(np.int64)).all()
    assert first.tobytes() == inputs("float64", 0, 2**20).tobytes()
    second = inputs("float64", 2**20, 2**20)
    assert np.all(np.abs(second) <= 800)
    assert not np.intersect1d(first, second).size


def test_edges_are_where_something_changes() -> None:
    found = edges()
    assert np.count_nonzero(np.isfinite(found)) == found.size - 3
    for number in (0, 1, -1, 5e-324, 2.0**-1022, np.finfo(np.float64).max, math.log(2), -1022 * math.log(2), np.inf):
        assert number in found


class OneByOne(NumPy):
    """Without a fast way for short arrays, but in the mode that has one; another mode has the same kernels."""

    modes: ClassVar[Any] = ("slow", "fast", "other")
    same_kernels: ClassVar = {"slow": "fast", "other": "fast"}

    def activation(self, a, mode):
        h, dh_da = super().activation(a, mode)
        return (np.nextafter(h, 0) if mode == "other" else h), dh_da

    def short_activations(self, rows, mode):
        return super().short_activations(rows, mode) if mode == "fast" else None


def test_all_varying_inputs_go_through_short_arrays_in_one_call() -> None:
    for start, few in ((0x40000000, 2**14), (0x10000000, 8)):  # σ varies; and does not
        a = inputs("float32", start, 2**14)
        found = {path: part for _, path, part in measure(NumPy(), ["eager"], a)}
        assert few / 2 < found["short"].counts["inputs"] <= few
        assert found["short"].counts["shared"] == found["short"].counts["left"] == 0


def test_all_inputs_go_through_short_arrays_if_it_is_to_be_complete() -> None:
    a = inputs("float32", 0x10000000, 2**14)  # σ does not vary
    found = {mode: part for mode, path, part in measure(OneByOne(), ["slow", "fast"], a, True) if path == "short"}
    assert [(part.counts["inputs"], part.counts["shared"]) for part in found.values()] == [(2**14, 2**14), (2**14, 0)]
    ((_, _, _), (_, _, few)) = measure(OneByOne(), ["other"], a, True)
    assert few.counts["left"] == 2**14 - few.counts["inputs"] > 0


def test_short_arrays_are_measured_in_the_mode_of_the_same_kernels_if_long_ones_have_the_same_results() -> None:
    a = inputs("float32", 0x40000000, 2**14)
    found = {mode: part for mode, path, part in measure(OneByOne(), OneByOne.modes, a) if path == "short"}
    assert {mode: (part.counts["inputs"], part.counts["shared"]) for mode, part in found.items()} == {
        "fast": (2**14, 0),
        "slow": (2**14, 2**14),
        "other": (found["other"].counts["inputs"], 0),
    }
    assert found["other"].counts["left"] == 2**14 - found["other"].counts["inputs"] > 2**13


def test_short_arrays_one_by_one_take_a_few_of_each_chunk_and_say_what_is_left() -> None:
    for start, few, left in ((0x40000000, 256, True), (0x10000000, 8, False)):  # σ varies; and does not
        a = inputs("float32", start, 2**20)
        found = {path: part for _, path, part in measure(OneByOne(), ["other"], a)}
        assert found["long"].counts["inputs"] == 2**20
        assert few / 2 < found["short"].counts["inputs"] <= few
        assert found["short"].counts["left"] == (2**20 - found["short"].counts["inputs"] if left else 0)


# --- what is written and said ---------------------------------------------------------------------------------------


def found(inputs: int, left: int = 0) -> Found:
    names = ("sigmoid", "sigmoid_below", "formula", "derivative", "derivative_below", "lost", "zero")
    return Found(Counter(inputs=inputs, left=left), {name: Worst() for name in names} | {"sigmoid": Worst(1.5, -2.0)})


@pytest.mark.parametrize(
    ("dtype", "inputs", "left", "sampled", "covered"),
    [
        ("float32", 2**32, 0, False, "all"),
        ("float32", 2**32 - 1, 0, True, "sampled"),
        ("float32", 2**29, 0, False, "all around which results vary"),
        ("float32", 2**29, 1, False, "sampled"),
        ("float16", 2**16, 0, True, "all"),
        ("float64", 2**32, 0, False, "sampled"),
    ],
)
def test_an_entry_never_says_that_more_was_covered_than_was(dtype, inputs, left, sampled, covered) -> None:
    entry = certify.entry(found(inputs, left) + Found(Counter(shared=inputs // 2)), dtype, 3.0, sampled)
    assert (entry["covered"], entry["inputs"], entry["shared"]) == (covered, inputs, inputs // 2)


def framework(size: float, invalid: int = 0) -> dict[str, Any]:
    content = certify.entry(found(2**32), "float32", 3.0, False)
    content |= {"invalid": invalid, "sigmoid_ulp": {"size": size, "at": "-0x1.0p+1"}}
    return {"version": "1", "modes": {"eager": {"float32": {"long": content}}}}


def test_what_exceeds_is_said_in_a_sentence() -> None:
    assert certify.exceeded({"one": framework(3.0)}) == []
    assert certify.exceeded({"one": framework(3.25)}) == [
        "one eager float32, long arrays: found 3.250 ULP at -0x1.0p+1, declared 3"
    ]
    assert certify.exceeded({"one": framework(1.0, invalid=2)}) == [
        "one eager float32, long arrays: found 2 results that are no numbers, or numbers for NaN"
    ]


def test_only_the_frameworks_that_ran_are_written_anew(tmp_path) -> None:
    path = tmp_path / "certified.json"
    certify.write({"two": framework(1.0), "one": framework(1.0)}, path)
    certify.write({"two": framework(2.0)}, path)
    assert list(json.loads(path.read_text()).items()) == [("one", framework(1.0)), ("two", framework(2.0))]
    before = path.read_text()
    with pytest.raises(ValueError, match="not JSON compliant"):
        certify.write({"two": framework(math.nan)}, path)
    assert path.read_text() == before
    assert list(tmp_path.iterdir()) == [path]


# --- the command line -----------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _file_is_left_alone(monkeypatch, tmp_path):
    monkeypatch.setattr(certify, "FILE", tmp_path / "certified.json")


def test_a_sample_is_measured_printed_and_not_written(capsys) -> None:
    assert certify.main(["--frameworks", "numpy", "--sample", "16384"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^numpy +float32 +long +eager +1\d,\d{3} sampled +\d\.\d{3} +4 ", out, re.MULTILINE)
    assert "Nothing is written" in out
    assert not certify.FILE.exists()


def test_complete_is_of_all_inputs_in_short_arrays_too(monkeypatch) -> None:
    """In the first 2²⁴ numbers σ is ½."""
    monkeypatch.setattr(certify, "_numbers", lambda _: 2**24)
    monkeypatch.setattr(certify, "DTYPES", ("float32",))
    for options, covered in (([], "all around which results vary"), (["--complete"], "all")):
        assert certify.main(["--frameworks", "numpy", *options]) == 0
        ((_, content),) = json.loads(certify.FILE.read_text()).items()
        found = content["modes"]["eager"]["float32"]
        assert (found["long"]["covered"], found["short"]["covered"]) == ("all", covered)
        assert (found["short"]["inputs"] == 2**24) == (covered == "all")


def test_all_of_an_adapter_is_written(monkeypatch) -> None:
    monkeypatch.setattr(certify, "DTYPES", ("float16", "bfloat16"))
    assert certify.main(["--frameworks", "numpy"]) == 0
    ((name, content),) = json.loads(certify.FILE.read_text()).items()
    assert (name, list(content), list(content["modes"]["eager"])) == (
        "numpy",
        ["version", "cpu", "date", "modes"],
        ["float16"],
    )
    for found in content["modes"]["eager"]["float16"].values():
        assert (found["covered"], found["inputs"], found["shared"], found["invalid"]) == ("all", 2**16, 0, 0)
        assert 1 < found["sigmoid_ulp"]["size"] < 3
        assert not found["below_least_normal"]["flushes"]


@pytest.mark.parametrize(
    ("adapter", "sentence"),
    [
        ("OffByFiveULP", r"off-by-five eager float16, long arrays: found [45]\.\d+ ULP at -0x1.0+p\+1, declared 3"),
        ("Saturates", r"saturates eager float16, short arrays: found \d+ results that are no numbers"),
        ("DeclaresTooLittle", r"declares-too-little eager float16, long arrays: found 1\.\d+ ULP at .*, declared 1"),
    ],
)
def test_a_sigmoid_that_is_less_accurate_than_declared_is_refused(adapter, sentence, capsys) -> None:
    assert certify.main([*ALONE, INACCURATE + adapter, "--dtypes", "float16"]) == 1
    assert re.search(f"exceeded  {sentence}", capsys.readouterr().out)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ("--frameworks torch", f"--frameworks: found 'torch', expected one of {', '.join(REGISTRY)}"),
        ("--frameworks", f"--frameworks: found no name and no --adapter, expected one of {', '.join(REGISTRY)}"),
        ("--dtypes float8", f"--dtypes: found 'float8', expected one of {', '.join(DTYPES)}"),
        ("--sample 1023", "argument --sample: found '1023', expected a whole number of at least 1024"),
        ("--sample many", "argument --sample: found 'many', expected a whole number of at least 1024"),
        ("--frameworks numpy --modes jit", "adapter numpy: found none of the modes and precisions that were named"),
        ("--frameworks numpy --dtypes bfloat16", "adapter numpy: found none of the modes and precisions"),
        ("--frameworks --adapter no.such:Adapter", "adapter no.such:Adapter: cannot import no.such"),
        (f"--frameworks --adapter {INACCURATE}HasNone", f"adapter {INACCURATE}HasNone: found no activation, expected"),
        ("--sampel 2000", "unrecognized arguments: --sampel 2000"),
    ],
)
def test_a_bad_option_ends_in_one_sentence(arguments, sentence, capsys) -> None:
    with pytest.raises(SystemExit) as end:
        certify.main(arguments.split())
    assert end.value.code == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"certify: {sentence}")
    assert err.count("\n") == 1


def test_every_precision_has_its_tasks_and_every_number_is_in_one() -> None:
    options = certify._options().parse_args([])
    declared = {"eager": dict.fromkeys(DTYPES, 3.0), "jit": {"float32": 3.0}}
    covered: dict[str, list[int]] = {}
    for modes, dtype, starts, size in certify._plan(declared, options):
        assert modes == (["eager", "jit"] if dtype == "float32" else ["eager"])
        covered.setdefault(dtype, []).extend(start + size for start in starts)
        assert len({size for _, d, _, size in certify._plan(declared, options) if d == dtype}) == 1
    for dtype, ends in covered.items():
        everything = certify.SAMPLE if dtype == "float64" else 2 ** (8 * np.dtype(dtype).itemsize)
        assert ends == list(range(ends[0], everything + 1, ends[0]))
