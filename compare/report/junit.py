"""The results as JUnit XML, which CI systems show: a suite for each adapter, a case for each mode, precision and formula.

A case is its formula step by step, in all problems and layers; one more is the gradients end to end. There is a failure
or an error if and only if the verdict is not "agree".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from compare.expect import AGREES, DEVIATES, NOT_COMPARED
from compare.report import words
from compare.report.words import END_TO_END, TEXTS, Content, plain

EXPECTED = "expected values"
"""The suite of the files that --vectors named."""


DEVIATIONS = "expected deviations"
"""The suite of the rows that --expect lists."""


def make(content: Content) -> str:
    """The XML of the content of a results.json, valid by its schema."""
    root = Element("testsuites", name="compare", time=f"{content['timings']['total']:.3f}")
    for adapter in content["adapters"]:
        seconds = sum(content["timings"]["adapters"].get(adapter["name"], {}).values())
        properties = {name: adapter[name] for name in ("framework", "version", "python")}
        _add_suite(root, adapter["name"], seconds, properties, _cases(content, adapter))
    if content["expected"]:
        _add_suite(root, DEVIATIONS, 0, {}, _deviations(content))
    if content["vectors"]:
        _add_suite(root, EXPECTED, 0, {}, map(_file, content["vectors"]))
    _count(root)
    indent(root)
    xml: bytes = tostring(root, "utf-8", xml_declaration=True)
    return xml.decode() + "\n"


def _add_suite(root: Element, name: str, seconds: float, properties: Content, cases: Iterable[Element]) -> None:
    suite = SubElement(root, "testsuite", name=plain(name), time=f"{seconds:.3f}")
    given = {name: plain(value) for name, value in properties.items() if value}
    if given:
        found = SubElement(suite, "properties")
        for own, value in given.items():
            SubElement(found, "property", name=own, value=value)
    suite.extend(cases)
    _count(suite)
    suite.set("skipped", str(len(list(suite.iter("skipped")))))


def _count(element: Element) -> None:
    for attribute, tag in {"tests": "testcase", "failures": "failure", "errors": "error"}.items():
        element.set(attribute, str(len(list(element.iter(tag)))))


def _cases(content: Content, adapter: Content) -> Iterator[Element]:
    name = adapter["name"]
    places: dict[tuple[str, str], dict[str, list[Content]]] = {}
    for check in content["checks"]:
        if check["adapter"] == name:
            own = places.setdefault((check["mode"], check["dtype"]), {})
            own.setdefault(check["formula"] if check["check"] == "step" else END_TO_END, []).append(check)
    titles = {number: f"{number}: {text}" for number, text in TEXTS.items()} | {END_TO_END: END_TO_END}
    for (mode, dtype), checks in places.items():
        for compared, title in titles.items():
            yield _compared(f"{name}.{mode}.{dtype}", title, checks.get(compared, []))
    for refused in adapter["not_offered"]:
        place = ".".join(filter(None, (name, refused["mode"], refused["dtype"])))
        yield _case(place, "not available", "skipped", refused["reason"])
    if adapter["status"] == "failed":
        yield _case(name, "failed", "error", adapter["reason"])
    elif adapter["status"] == "not compared":
        others = any(check["entries"] for check in content["checks"])  # else the verdict is "incomplete"
        yield _case(name, "not compared", "skipped" if others else "error", "nothing of it was compared")


def _compared(place: str, name: str, checks: Sequence[Content]) -> Element:
    failed = [check for check in checks if words.differs(check)]
    if failed:
        lines = [f"{name:<12} {text}".rstrip() for name, text in words.facts(failed[0])]
        lines += [f"{len(failed) - 1} further checks of it failed."] if failed[1:] else []
        message = f"{words.title(failed[0])}: {failed[0]['first_failure']['message']}"
        return _case(place, name, "failure", message, "\n".join(lines))
    entries, unjudged = (sum(check[name] for check in checks) for name in ("entries", "unjudged"))
    reasons = sorted({f"not covered: {check['not_covered']}" for check in checks if check["not_covered"]})
    known = sum(check["failures"] for check in checks)
    if known:
        return _case(place, name, "skipped", f"{known:,} of {entries:,} entries deviate, as is expected")
    if not entries:
        return _case(place, name, "skipped", "; ".join(reasons) or "no problem that was run has it")
    worst = max(check["worst_bound_fraction"] for check in checks)
    found = [f"{entries:,} entries compared, the worst at {worst:.2f} of its bound", *reasons]
    found[1:1] = [f"{unjudged:,} not judged"] if unjudged else []
    case = _case(place, name)
    SubElement(case, "system-out").text = plain("; ".join(found))
    return case


def _deviations(content: Content) -> Iterator[Element]:
    for found, kind in ((DEVIATES, "skipped"), (AGREES, "failure"), (NOT_COMPARED, "skipped")):
        for line in words.deviations(content, found):
            row, _, reason = line.partition(": formula ")
            yield _case(DEVIATIONS, f"{row}: formula {reason.partition(':')[0]}", kind, f"{found}: {reason}")


def _file(judged: Content) -> Element:
    wrong = words.wrong_values(judged)
    message = f"{len(wrong):,} of {judged['values']:,} expected values are wrong"
    return _case(EXPECTED, judged["file"], "failure" if wrong else "", message, "\n".join(wrong[: words.MOST]))


def _case(place: str, name: str, kind: str = "", message: str = "", text: str = "") -> Element:
    """A test case; ``kind``: what became of it, if it did not pass."""
    case = Element("testcase", classname=plain(place), name=plain(name))
    if kind:
        SubElement(case, kind, message=plain(message)).text = text or None
    return case
