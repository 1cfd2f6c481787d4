"""Tasks in order, in this process and on workers: failures, skips, dead workers."""

import calls
import pytest

from medseg.batch.cluster import client
from medseg.batch.run import run
from medseg.batch.tasks import Task
from medseg.errors import InputError, Interrupted


@pytest.fixture(scope="module")
def workers():
    with client(workers=2, attempts=2) as made:
        yield made


@pytest.fixture(params=["here", "workers"])
def place(request):
    return None if request.param == "here" else request.getfixturevalue("workers")


def states(outcomes):
    return {outcome.name: outcome.state for outcome in outcomes}


def test_what_is_needed_comes_first(place, tmp_path):
    folder = str(tmp_path)
    tasks = [
        Task("page", calls.note, (folder, "page", "run", "other"), after=("run", "other")),
        Task("run", calls.note, (folder, "run", "data"), after=("data",)),
        Task("other", calls.note, (folder, "other")),
        Task("data", calls.note, (folder, "data")),
    ]
    seen = []
    outcomes = run(tasks, place, seen.append)
    assert [outcome.name for outcome in outcomes] == ["page", "run", "other", "data"]
    assert all((o.state, o.attempts, o.value) == ("done", 1, o.name) for o in outcomes)
    assert (tmp_path / "page").read_text() == "run other" and (tmp_path / "run").read_text() == "data"
    assert sorted(seen, key=str) == sorted(outcomes, key=str) and seen[-1].name == "page"


def test_a_failure_is_not_tried_again_and_what_needs_it_is_skipped(place, tmp_path):
    folder = str(tmp_path)
    tasks = [
        Task("bad", calls.fail, (folder, "tries")),
        Task("next", calls.note, (folder, "next"), after=("bad",)),
        Task("last", calls.note, (folder, "last"), after=("next",)),
        Task("free", calls.note, (folder, "free")),
    ]
    bad, after, last, _ = outcomes = run(tasks, place)
    assert states(outcomes) == {"bad": "failed", "next": "skipped", "last": "skipped", "free": "done"}
    assert (tmp_path / "tries").read_text() == "x" and bad.attempts == 1
    assert bad.message.startswith("KeyError: 'no such thing' (calls.py:")
    assert (after.message, last.message) == ("needs bad (failed)", "needs next (skipped)")
    assert not (tmp_path / "next").exists() and after.attempts == 0


def test_our_errors_speak_for_themselves(place):
    outcome = run([Task("bad", raise_input_error)], place)[0]
    assert outcome.message == str(input_error())


def input_error():
    return InputError("wrong", expected="a", got="b", do="c")


def raise_input_error():
    raise input_error()


def test_nothing_to_do(place):
    assert run([], place) == []


@pytest.mark.parametrize(
    "tasks",
    [
        [Task("a", print), Task("a", print)],
        [Task("a", print, after=("b",))],
        [Task("a", print, after=("b",)), Task("b", print, after=("a",))],
    ],
    ids=["name twice", "unknown need", "circle"],
)
def test_a_list_that_makes_no_sense(tasks):
    with pytest.raises(ValueError):
        run(tasks)


def test_an_interruption_ends_everything_here(tmp_path):
    def interrupted():
        raise Interrupted("saved")

    with pytest.raises(Interrupted):
        run([Task("run", interrupted), Task("page", calls.note, (str(tmp_path), "page"))])
    assert not (tmp_path / "page").exists()


def test_two_workers_work_at_the_same_time(workers, tmp_path):
    pair = [("a", "b"), ("b", "a")]
    tasks = [Task(own, calls.wait_for, (str(tmp_path), own, other)) for own, other in pair]
    first, second = run(tasks, workers)
    assert (first.state, second.state) == ("done", "done") and first.value != second.value


def test_the_longest_first(tmp_path):
    folder = str(tmp_path)
    known = {"short": 1.0, "long": 9.0, "unknown": None, "middle": 5.0}
    tasks = [Task(name, calls.sign, (folder, name), seconds=seconds) for name, seconds in known.items()]
    # The first one keeps the only worker until the others are in its queue.
    hold = Task("hold", calls.sign, (folder, "hold", 1.0), seconds=1e12)
    with client(workers=1) as only:
        run([hold, *tasks], only)
    assert (tmp_path / "order").read_text().split() == ["hold", "unknown", "long", "middle", "short"]


@pytest.mark.slow
def test_a_dead_worker_is_not_the_end(workers, tmp_path):
    folder = str(tmp_path)
    tasks = [
        Task("dies once", calls.die_first, (folder, 1)),
        Task("page", calls.note, (folder, "page"), after=("dies once",)),
        Task("free", calls.note, (folder, "free")),
    ]
    first, page, free = run(tasks, workers, attempts=2)
    assert (first.state, first.attempts, first.value) == ("done", 2, 1)
    assert page.state == free.state == "done"


@pytest.mark.slow
def test_lost_after_too_many_deaths_and_the_others_go_on(workers, tmp_path):
    folder = str(tmp_path)
    tasks = [
        Task("dies", calls.die_first, (folder, 99)),
        Task("page", calls.note, (folder, "page"), after=("dies",)),
        *[Task(f"free {n}", calls.note, (folder, f"free{n}")) for n in range(5)],
    ]
    lost, page, *free = run(tasks, workers, attempts=2)
    assert (lost.state, lost.attempts) == ("lost", 2) and "2 times" in lost.message
    assert page.state == "skipped" and {outcome.state for outcome in free} == {"done"}
    assert (tmp_path / "deaths").read_text() == "xx"
