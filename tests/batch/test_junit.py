"""The JUnit file is XML whatever a page said, and counts what it lists."""

from xml.etree import ElementTree

from medseg.batch.junit import write_junit
from medseg.batch.tasks import Outcome


def test_every_state_is_a_test_case(tmp_path):
    outcomes = [
        Outcome("notebooks/a", "done", 1.25, 2),
        Outcome("notebooks/b", "fresh", 9.0),
        Outcome("notebooks/c", "failed", 2.0, 1, "\x1b[31mValue<Error> & \x00so on\x1b[0m\nline 2"),
        Outcome("notebooks/d", "skipped", message="needs notebooks/c (failed)"),
        Outcome("notebooks/e", "lost", 0.0, 3, "its worker died, 3 times"),
    ]
    write_junit(iter(outcomes), tmp_path / "out" / "pages.xml", "book smoke")
    root = ElementTree.parse(tmp_path / "out" / "pages.xml").getroot()
    suite = root.find("testsuite")
    assert {key: suite.get(key) for key in ("name", "tests", "failures", "errors", "skipped", "time")} == {
        "name": "book smoke",
        "tests": "5",
        "failures": "1",
        "errors": "1",
        "skipped": "1",
        "time": "3.2",
    }
    cases = {case.get("name"): case for case in suite}
    assert list(cases) == [outcome.name for outcome in outcomes]
    assert cases["notebooks/b"].find("system-out").text.startswith("unchanged")
    assert cases["notebooks/b"].get("time") == "0.0"
    failure = cases["notebooks/c"].find("failure")
    assert failure.get("message") == "Value<Error> & so on" and failure.text.endswith("\nline 2")
    assert cases["notebooks/d"].find("skipped") is not None
    assert cases["notebooks/e"].find("error").get("message") == "its worker died, 3 times"
