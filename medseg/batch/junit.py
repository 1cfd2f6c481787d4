"""Outcomes as a JUnit XML file, which continuous integration shows."""

import re
from collections.abc import Iterable
from pathlib import Path
from xml.etree import ElementTree

from medseg.batch.tasks import Outcome, counts
from medseg.files import write_atomic

# XML 1.0 has no control characters; tracebacks have colours.
_NOT_XML = re.compile(r"\x1b\[[0-9;]*m|[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def write_junit(outcomes: Iterable[Outcome], path: Path, suite: str) -> None:
    """Write one test case a task: failed as failure, lost as error, skipped as skipped.

    What is fresh passes with the time 0 and says so in its output.
    """
    outcomes = list(outcomes)
    found = counts(outcomes)
    root = ElementTree.Element("testsuites")
    cases = ElementTree.SubElement(
        root,
        "testsuite",
        name=suite,
        tests=str(len(outcomes)),
        failures=str(found.get("failed", 0)),
        errors=str(found.get("lost", 0)),
        skipped=str(found.get("skipped", 0)),
        time=f"{sum(_seconds(outcome) for outcome in outcomes):.1f}",
    )
    for outcome in outcomes:
        case = ElementTree.SubElement(
            cases, "testcase", classname=suite, name=outcome.name, time=f"{_seconds(outcome):.1f}"
        )
        message = _NOT_XML.sub("", outcome.message)
        if kind := {"failed": "failure", "lost": "error", "skipped": "skipped"}.get(outcome.state):
            ElementTree.SubElement(case, kind, message=message.partition("\n")[0]).text = message
        else:
            note = "unchanged since the last run" if outcome.state == "fresh" else ""
            ElementTree.SubElement(case, "system-out").text = note
    ElementTree.indent(root)
    write_atomic(path, ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))


def _seconds(outcome: Outcome) -> float:
    return 0.0 if outcome.state == "fresh" else outcome.seconds
