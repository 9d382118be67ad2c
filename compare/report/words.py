"""What is said of a run, on a terminal and in a CI's reports: of the content of results.json alone.

Whatever comes from outside, such as an adapter's name or reason, is on one line and can be printed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby, zip_longest
from typing import Any

from compare.expect import AGREES, DEVIATES
from reference.formulas import LEDGER
from reference.rounding import FORMATS

Content = Mapping[str, Any]
"""Of results.json, or a part of it."""

MOST = 10
"""Mismatches, reasons and wrong values that are shown; results.json has all."""

OPERANDS = 24
"""Of a failure that are shown."""

TEXTS = {formula.number: formula.text for formula in LEDGER}
"""Each formula by its number, in the ledger's order."""

END_TO_END = "gradients, end to end"

_ORDER = {number: place for place, number in enumerate(TEXTS)}


def plain(text: str) -> str:
    """A text in characters that can be printed, so on one line: others are written as Python writes them in a string."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def verdict(content: Content) -> str:
    """What follows the word."""
    entries = sum(check["entries"] for check in content["checks"])
    failures, known = (sum(c["failures"] for c in content["checks"] if differs(c) == wrong) for wrong in (True, False))
    compared = f"{entries:,} entries compared in {content['timings']['total']:.0f} s"
    values = sum(judged["values"] for judged in content["vectors"])
    wrong = sum(len(judged["wrong"]) for judged in content["vectors"])
    expected = f" Of {values:,} expected values, {wrong:,} are wrong." if values else ""
    listed = len(deviations(content, DEVIATES))
    expected += f" {known:,} entries of {listed:,} rows deviate as expected." if known else ""
    agreeing = len(deviations(content, AGREES))
    expected += f" {agreeing:,} rows that are expected to deviate agree." if agreeing else ""
    return {
        "agree": f"{compared}, every {'other one' if known else 'one'} within its derived bound.",
        "mismatch": f"{compared}, {failures:,} outside their bounds.",
        "incomplete": f"{compared}; not all that was asked for could be judged.",
    }[content["verdict"]] + expected


def who(adapter: Content) -> str:
    """An adapter's name, and its interpreter if that is another one."""
    under = f" under {adapter['python']}" if adapter["python"] else ""
    return plain(adapter["name"] + under)


def modes(content: Content, adapter: Content) -> list[str]:
    """The ways to run of an adapter, the first one first as far as that is known."""
    name = adapter["name"]
    run = (check["mode"] for check in content["checks"] if check["adapter"] == name)
    refused = (place["mode"] for place in adapter["not_offered"] if place["mode"])
    return list(dict.fromkeys((*content["shown"].get(name, ()), *run, *refused)))


# --- failures -------------------------------------------------------------------------------------------------------


def outcome(checks: Sequence[Content]) -> str:
    """What became of some checks, in a word: "mismatch", "expected" if only listed rows deviate, "agree" or "unjudged"."""
    if any(map(differs, checks)):
        return "mismatch"
    if any(check["failures"] for check in checks):
        return "expected"
    return "agree" if any(check["entries"] for check in checks) else "unjudged"


def differs(check: Content) -> bool:
    """Whether an entry failed, in a row that is not expected to deviate."""
    return bool(check["failures"]) and not check["expected"]


def deviations(content: Content, found: str) -> list[str]:
    """A line for each row that is expected to deviate, of those that were found to do so, to agree, or not compared."""
    return [
        plain(
            f"{row['adapter']} {row['mode']} {row['dtype']}, {row['problem']}, {row['check']}: formula {row['formula']}:"
            f" {row['reason']} ({row['link']})"
        )
        for row in content["expected"]
        if row["found"] == found
    ]


def first_failures(content: Content, adapter: Content) -> list[tuple[Content, int]]:
    """The first check that failed, in the ledger's order, of each mode, precision, problem and kind of an adapter's
    checks, and how many further formulas failed there.
    """
    failed = [check for check in content["checks"] if check["adapter"] == adapter["name"] and differs(check)]
    failed.sort(key=lambda check: (*_group(check), _ORDER[check["formula"]], check["layer"]))
    groups = [list(group) for _, group in groupby(failed, _group)]
    return [(group[0], len({check["formula"] for check in group}) - 1) for group in groups]


def _group(check: Content) -> tuple[Any, ...]:
    return (check["mode"], check["dtype"], check["problem"], check["check"] != "step")


def by_importance(content: Content) -> list[tuple[Content, int]]:
    """The `first_failures` of all adapters: the first of each, then the second of each, and so on."""
    ranks = zip_longest(*(first_failures(content, adapter) for adapter in content["adapters"]))
    return [failure for rank in ranks for failure in rank if failure is not None]


def title(check: Content) -> str:
    """Who failed, on what, by which check, in which formula."""
    ran = f"{check['adapter']} {check['mode']} {check['dtype']}, {check['problem']}, {check['check']}"
    return plain(f"{ran}: formula {check['formula']}, layer {check['layer']}")


def facts(check: Content) -> Iterator[tuple[str, str]]:
    """The first entry of a check that failed, and the command that repeats it, line by line: a name and a text."""
    failure = check["first_failure"]
    where = plain(failure["array"])
    where += "" if failure["stage"] in ("shape", "dtype") else f", network {failure['network']}"
    where += f", entry {list(failure['entry'])}" if failure["entry"] else ""
    yield "where", f"{where}; {check['failures']:,} of {check['entries']:,} entries failed"
    if failure["got"]:
        numbers = {name: failure[name] for name in ("got", "expected")} | {"allowed ±": failure["allowed"]}
        read = list(failure["operands"].items())
        for name, number in (*numbers.items(), *read[:OPERANDS]):
            yield plain(name), f"{number['decimal']}   {number['hex']}"
        if len(read) > OPERANDS:
            yield f"… {len(read) - OPERANDS} more", ""
    else:
        yield "what", plain(failure["message"])
    yield "repeat", plain(failure["repeat"])


def further(others: int) -> str:
    """That so many further formulas failed there."""
    return f"{others} further formulas disagree here." if others else ""


def wrong_values(judged: Content) -> list[str]:
    """A line for each expected value of a file that is wrong."""
    return [
        plain(f"{wrong['place']}: found {wrong['found']}, expected what the exact value {wrong['exact']} rounds to")
        for wrong in judged["wrong"]
    ]


# --- what was not compared ------------------------------------------------------------------------------------------


def not_covered(content: Content, adapter: Content) -> Iterator[str]:
    """What an adapter did not return, and why: a line for each reason."""
    own = [check for check in content["checks"] if check["adapter"] == adapter["name"]]
    missing: dict[tuple[str, str, str], set[str]] = {}
    for check in own:
        if check["not_covered"]:
            place = (check["not_covered"], check["mode"], check["dtype"])
            missing.setdefault(place, set()).add(check["formula"])
    lines: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for (reason, mode, dtype), numbers in missing.items():
        formulas = ", ".join(number for number in TEXTS if number in numbers)
        lines.setdefault((reason, formulas), set()).add((mode, dtype))
    dtypes = {check["dtype"] for check in own}
    for (reason, formulas), places in lines.items():
        yield plain(f"{adapter['name']} {_places(places, modes(content, adapter), dtypes)}, {formulas}: {reason}")


def not_judged(content: Content, adapter: Content) -> Iterator[str]:
    """How many entries no bound can judge, problem by problem."""
    counts: dict[str, int] = {}
    for check in content["checks"]:
        if check["adapter"] == adapter["name"] and check["unjudged"]:
            counts[check["problem"]] = counts.get(check["problem"], 0) + check["unjudged"]
    if counts:
        found = ", ".join(f"{count:,} entries of {problem}" for problem, count in sorted(counts.items()))
        reason = "their network was given an infinity or a NaN, correct code may overflow, or a sum is too long"
        yield plain(f"{adapter['name']}, {found}: {reason}")


def not_available(content: Content, adapter: Content) -> Iterator[str]:
    """What an adapter does not have here, and why: a line for each reason."""
    lines: dict[str, set[tuple[str, str]]] = {}
    for refused in adapter["not_offered"]:
        places = lines.setdefault(refused["reason"], set())
        if refused["mode"] and refused["dtype"]:  # else it is the device, and everything
            places.add((refused["mode"], refused["dtype"]))
    dtypes = set(content["environment"]["options"]["dtypes"])
    for reason, places in lines.items():
        where = " ".join(filter(None, (adapter["name"], _places(places, modes(content, adapter), dtypes))))
        yield plain(f"{where}: {reason}")


def _places(places: set[tuple[str, str]], modes: Iterable[str], dtypes: set[str]) -> str:
    """Pairs of a mode and a precision in few words: "forward vmap (bfloat16 float16), jit"; every one is not named."""
    groups: dict[str, list[str]] = {}
    for mode in modes:
        found = {dtype for m, dtype in places if m == mode}
        if found:
            groups.setdefault("" if found == dtypes else f" ({' '.join(ordered(found))})", []).append(mode)
    return ", ".join(" ".join(group) + found for found, group in groups.items())


def ordered(dtypes: Iterable[str]) -> list[str]:
    """Each precision once, in the order of their columns."""
    return sorted(set(dtypes), key=list(FORMATS).index)


# --- numbers --------------------------------------------------------------------------------------------------------


def covered(checks: Sequence[Content]) -> int:
    """How many formulas were compared step by step, wherever that was asked for."""
    steps = [check for check in checks if check["check"] == "step"]
    missing = {check["formula"] for check in steps if check["not_covered"]}
    return len({check["formula"] for check in steps if check["entries"]} - missing)
