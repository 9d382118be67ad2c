"""Files changed at random, read under limits: ``python -m tests.compare.fuzz_vectors [N [SEED]]``, or ``nox -s fuzz``.

Each of N files is loaded, and where that works taken through all that `compare` does with it before the frameworks see
it. Of each there is one outcome: what was loaded and converted, or one sentence with the file and the place. All else
ends the program: another exception, more than `SECONDS`, more memory than `MEMORY`, and every event that Python's audit
hooks tell of (exec, compile, import, pickle, subprocess, socket, …) but the opening of that file.
"""

from __future__ import annotations

import copy
import faulthandler
import json
import random
import re
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from compare.published import MOST_BYTES, VECTORS, judge, load, problem
from reference.rounding import FORMATS

MEMORY = 2**28
"""Bytes beyond those that the imports take."""

SECONDS = 10.0
"""Of the processor; after ten times as many by the clock, it hangs."""

OWN = {
    "inputs": {
        "w": [[[1.5, -2], ["0x1.8p-3", 1e-5]]],
        "b": [[[0, -0.0]]],
        "x": [[1, 2], [0.1, 3e300]],
        "t": [[0, 1]] * 2,
    },
    "values": [{"quantity": "a", "layer": 0, "index": [0, 0], "printed": 1.5}, {"quantity": "loss", "printed": "1"}],
}
SEEDS = [(VECTORS / name).read_bytes() for name in ("mazur-2-2-2.json", "cs231n-sigmoid-neuron.json")]
SEEDS += [json.dumps(OWN).encode(), json.dumps(OWN | {"eta": "-0x1.fffffffffffffp+1023"}).encode()]

# fmt: off
NUMBERS = [
    "1e999999999", "1e-999999999", "1e308", "-1e999", "1" * 70, "1" * 5000, "9" * 64, "-0", "-0.0", "0e-999", "1e0400",
    "NaN", "-Infinity", "0x1p0", "01", "+1", ".5", "1.", "1e", "--1", "1_000", "0.1e+01", "12345", "123456", "2e308",
    "5e-324", "0x1.fffffffffffffp+1023", "0x0.0000000000001p-1022", "0x1.8p-1074", "1e-200", "1e200",
]
TEXTS = [
    "", "\0", "\n", "\u2028", "\u0661", "é" * 100, "\U0001d7cf", "a" * 10_000, "nan", "inf", "../x",
    "{0.__class__}", "loss", "loss_after", "dL_dw", "a", "right", "wrong", "not printed", "NoBiasUpdate",
    "cos\nsystem\n(S'true'\ntR.",
]
JSON = [
    "null", "true", "[]", "{}", "[[]]", '""', r'"\ud800"', r'"\udc00\ud800"', "[" * 5000, "[" * 500 + "]" * 500,
    "//", "'x'", '{"a":' * 990 + "1" + "}" * 990, '{"id": 1, "id": 2}', "[[1, 2], [3]]", "[[1], []]", "[1, [1]]",
    "\ufeff", ",",
]
# fmt: on
TOKEN = re.compile(rb'"[^"]*"|[-+.\w]+|[][{},:]')


def _number(rng: random.Random) -> str:
    ordinary = [repr(rng.uniform(-2, 2)), repr(2.0 ** rng.randint(-1074, 1023)), f"{rng.uniform(-9, 9):.2f}"]
    number = rng.choice(ordinary if rng.random() < 0.8 else NUMBERS)
    return rng.choice([number, json.dumps(number)])


def _any(rng: random.Random) -> str:
    return rng.choice([_number(rng), json.dumps(rng.choice(TEXTS)), rng.choice(JSON)])


def _bytes(rng: random.Random, content: bytes) -> bytes:
    """Bytes flipped, inserted and deleted."""
    changed = bytearray(content)
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(changed) + 1)
        added = rng.choice(
            [b"", rng.randbytes(rng.randint(1, 4)), b"\xff", b"\xef\xbb\xbf", b"\0", b'"', b"[", b",", b"0"]
        )
        changed[place : place + rng.choice([0, 1, 1, 20])] = added
    return bytes(changed)


def _tokens(rng: random.Random, content: bytes) -> bytes:
    """Tokens of JSON replaced by hostile ones, repeated, or exchanged: no longer JSON, or only in its form."""
    for _ in range(rng.randint(1, 3)):
        spans = [match.span() for match in TOKEN.finditer(content)]
        (start, end), (other, end_of_other) = rng.choice(spans), rng.choice(spans)
        new = rng.choice(
            [_any(rng).encode("utf-8", "surrogatepass"), content[other:end_of_other], content[start:end] * 2]
        )
        content = content[:start] + new + content[end:]
    return content


def _document(rng: random.Random, content: bytes) -> bytes:
    """Items of the document replaced, removed, repeated, exchanged or renamed: JSON still, with other numbers."""
    document = json.loads(content)
    marks: dict[str, str] = {}

    def mark(text: str) -> str:
        marks[f"@{len(marks)}@"] = text
        return f"@{len(marks) - 1}@"

    for _ in range(rng.randint(1, 3)):
        places = list(_places(document))
        numbers = [(item, key) for item, key in places if re.fullmatch(r"-?[\d.]+", str(item[key]))]
        action = rng.choice([*["number"] * 12, "any", "remove", "repeat", "exchange", "rename"])
        item, key = rng.choice(numbers if action == "number" and numbers else places)
        if action in ("number", "any"):
            item[key] = mark(_number(rng) if action == "number" else _any(rng))
        elif action == "remove":
            del item[key]
        elif action == "repeat" and isinstance(item, list):
            item[key:key] = [copy.deepcopy(item[key]) for _ in range(rng.choice([1, 40, 300]))]
        elif action == "rename" and isinstance(item, dict):
            item[rng.choice([*TEXTS, "eta", "status", "layer", "\ud800"])] = item.pop(key)
        else:
            other = rng.choice(list(item) if isinstance(item, dict) else range(len(item)))
            item[key], item[other] = item[other], item[key]
        if not any(_places(document)):
            break
    text = json.dumps(document)
    for name, replacement in marks.items():
        text = text.replace(json.dumps(name), replacement)
    return text.encode("utf-8", "surrogatepass")


def _places(item: Any) -> Iterator[tuple[Any, Any]]:
    for key, inner in list(item.items() if isinstance(item, dict) else enumerate(item)):
        yield item, key
        if isinstance(inner, dict | list):
            yield from _places(inner)


def _large(rng: random.Random, _: bytes) -> bytes:
    """Files that are as expensive as the limits allow, or more so."""
    number = rng.choice(["0", "1e-99", '"0x1.8p-1022"', "1" * 64])
    row = "[" + ",".join([number] * rng.choice([1, 2, 300, 30_000])) + "]"
    matrix = "[" + ",".join([row] * min(rng.choice([1, 100, 10_000, 40_000]), MOST_BYTES // len(row) + 1)) + "]"
    inputs = dict.fromkeys("wb", f"[{rng.choice(['[[1]]', matrix])}]") | {
        n: rng.choice(["[[1]]", matrix]) for n in "xt"
    }
    values = rng.choice(["", ',"values":[' + ",".join(['{"quantity":"loss","printed":1}'] * 15_000) + "]"])
    text = '{"inputs":{' + ",".join(f'"{name}":{value}' for name, value in inputs.items()) + "}" + values + "}"
    return text[: MOST_BYTES + 1].encode()


MUTATORS: list[tuple[Callable[[random.Random, bytes], bytes], float]]
MUTATORS = [(_bytes, 2), (_tokens, 3), (_document, 5), (_large, 0.002)]


def mutated(seed: int, number: int) -> bytes:
    """File ``number`` of those of ``seed``."""
    rng = random.Random(f"{seed} {number}")
    mutator: Callable[[random.Random, bytes], bytes]
    mutator = rng.choices([m for m, _ in MUTATORS], [weight for _, weight in MUTATORS])[0]
    return mutator(rng, rng.choice(SEEDS))


def outcome(path: Path) -> str:
    """What becomes of a file: a word, or AssertionError where it is neither used nor refused in one sentence."""
    try:
        example = load(path)
    except ValueError as error:
        return _refused(path, error, "refused")
    words = ["loaded"]
    for dtype in FORMATS:
        try:
            made = problem(example, dtype)
            assert {str(array.dtype) for _, array in made.named()} == {dtype}
        except ValueError as error:
            words.append(_refused(path, error, f"not in {dtype}"))
    try:
        words += ["an expected value wrong"] if judge(example).wrong else []
    except ValueError as error:
        words.append(_refused(path, error, "not judged"))
    return ", ".join(words)


def _refused(path: Path, error: ValueError, what: str) -> str:
    sentence = str(error)
    assert re.fullmatch(rf"{re.escape(str(path))}: \$\S*: found .+, expected .+", sentence), sentence
    assert sentence.isprintable(), sentence
    assert len(sentence) < 1000, sentence
    return what


class Watch:
    """While it is entered nothing but the opening of ``path`` may happen in this process."""

    def __init__(self, path: Path) -> None:
        self.path, self.watching = path, False
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        own = event == "open" and arguments[:2] == (str(self.path), "r")
        if self.watching and not own:
            self.watching = False
            raise SystemError(f"while loading: {event} {arguments}")

    def __enter__(self) -> None:
        self.watching = True

    def __exit__(self, *_: object) -> None:
        self.watching = False


def main(count: int = 100_000, seed: int = 0) -> None:
    """Print how many of the files had which outcome."""
    with TemporaryDirectory() as directory:
        path = Path(directory) / "mazur-2-2-2.json"
        for content in SEEDS:  # what is imported or compiled at first use is so now
            for size in (len(content), 1):
                path.write_bytes(content[:size])
                outcome(path)
        watch = Watch(path)
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY, resource.RLIM_INFINITY))
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        outcomes: Counter[str] = Counter()
        slowest, start = (0.0, -1), time.monotonic()
        for number in range(count):
            path.write_bytes(mutated(seed, number))
            faulthandler.dump_traceback_later(10 * SECONDS, exit=True)
            began = time.process_time()
            try:
                with watch:
                    outcomes[outcome(path)] += 1
            except BaseException as error:
                error.add_note(f"file {number} of seed {seed}")
                raise
            slowest = max(slowest, (time.process_time() - began, number))
            assert slowest[0] < SECONDS, f"{slowest[0]} s for file {slowest[1]} of seed {seed}"
        faulthandler.cancel_dump_traceback_later()
        peak = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"{count:,} files of seed {seed} in {time.monotonic() - start:.0f} s")
    for what, times in outcomes.most_common():
        print(f"{times:>9,}  {what}")
    print(f"longest {slowest[0]:.2f} s (file {slowest[1]}), memory {peak:.0f} MiB beyond that of the imports")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
