"""What is missing shrinks as records appear, and an interrupted task is gone on with."""

import subprocess
import sys
from pathlib import Path

import pytest

from medseg.data.catalog import DATASETS
from medseg.errors import InputError, OutOfMemory
from medseg.records import store
from medseg.records.schema import Outcome
from medseg.studies import run, schedule
from medseg.studies.fitted import fitted_to
from medseg.studies.patients import dice_by_seed
from medseg.studies.schedule import Task, answering, missing, run_task
from medseg.studies.status import measure, states
from medseg.studies.study import ROOT, load, names
from medseg.training import checkpoint, run_folder


@pytest.fixture
def study():
    return load("transseg_main", ROOT)


@pytest.fixture
def found(tiny_run, study):
    """A record of what the study asks at a cell, seed and profile, with changes to the recipe."""

    def record(cell, seed, profile="colab", **changes):
        base = tiny_run.record
        identity = base.identity.model_copy(update={"cell": cell, "seed": seed, "study": "transseg_main"})
        config = fitted_to(study.config(study.choose([cell])[0], seed, profile), DATASETS[study.dataset])
        train = config.train.model_copy(update=changes)
        config = config.model_copy(update={"train": train})
        return base.model_copy(update={"identity": identity, "config": config})

    return record


def pairs(tasks):
    return [(task.cell.cell, task.seed) for task in tasks]


def test_all_cells_of_a_seed_come_before_the_next_seed(study):
    cells = [cell.cell for cell in study.cells]
    expected = [(cell, seed) for seed in (1234, 5678, 910) for cell in cells]
    assert pairs(missing(study, [], "colab")) == expected
    assert pairs(missing(study, [], "colab", seeds=1)) == expected[: len(cells)]
    assert pairs(missing(study, [], "colab", cells=["unet3d"])) == [("unet3d", s) for s in (1234, 5678, 910)]


def test_a_record_takes_its_task_off_the_list(study, found):
    everything = missing(study, [], "colab")
    records = []
    for done, task in enumerate(everything, start=1):
        records.append(found(task.cell.cell, task.seed))
        assert missing(study, records, "colab") == everything[done:]


def on_fold(record, fold, *cases):
    """The record as if it were of a run on a fold, with these cases in its test part."""
    data = record.config.data.model_copy(update={"fold": fold})
    row = record.per_case["test"][0]
    own = {"validation": record.per_case["validation"], "test": tuple((case, *row[1:]) for case in cases)}
    config = record.config.model_copy(update={"data": data})
    return record.model_copy(update={"config": config, "per_case": own})


def test_folds_of_a_seed_come_before_the_next_seed_and_make_one_result(study, found):
    study = study.model_copy(update={"folds": (0, 2)})
    everything = missing(study, [], "colab", cells=["depth", "transfer"])
    assert [(t.cell.cell, t.seed, t.fold) for t in everything[:5]] == [
        ("depth", 1234, 0),
        ("transfer", 1234, 0),
        ("depth", 1234, 2),
        ("transfer", 1234, 2),
        ("depth", 5678, 0),
    ]
    assert len({schedule.folder_of(study, task, "colab", Path("runs")) for task in everything}) == 12
    first = on_fold(found("depth", 1234), 0, "a", "b")
    second = on_fold(found("depth", 1234), 2, "c")
    split, stranger = found("depth", 1234), on_fold(found("depth", 1234), 1, "d")
    assert answering(study, [split, first, stranger], "colab") == [first]
    assert missing(study, [first], "colab", cells=["depth", "transfer"]) == everything[1:]
    half, both = (
        {state.cell: state for state in states(study, records, "colab")}["depth"]
        for records in ([first], [first, second])
    )
    assert (half.status, half.seeds_done) == ("partial", ()) and half.measured.cases == 2
    assert both.seeds_done == (1234,) and both.measured.cases == 3
    # The validation cases of a fold are tested in another one: they count there alone.
    assert dice_by_seed([first, second]).keys() == {1234}
    assert dice_by_seed([first, second])[1234].keys() == {"a", "b", "c"}


def test_a_record_of_another_budget_does_not(study, found):
    everything = missing(study, [], "colab")
    assert missing(study, [found("transfer", 1234, profile="full")], "colab") == everything
    assert len(missing(study, [found("transfer", 1234, profile="full")], "full")) == len(everything) - 1


def test_the_table_counts_what_is_not_missing(study, found):
    cell = study.cells[0].cell
    now, former = found(cell, 1234), found(cell, 5678, steps=7)
    (state, *others) = states(study, [now, former], "colab")
    assert state.status == "partial" and state.seeds_done == (1234,)
    assert {other.status for other in others} == {"missing"}


def test_a_record_of_a_former_recipe_does_not(study, found):
    everything = missing(study, [], "colab")
    assert missing(study, [found("transfer", 1234, steps=7)], "colab") == everything
    both = [found("transfer", 1234, steps=7), found("transfer", 1234)]
    assert len(missing(study, both, "colab")) == len(everything) - 1


def test_a_record_of_other_data_does_not(study, found):
    record = found("transfer", 1234)
    here = record.config.model_copy(update={"data": record.config.data.model_copy(update={"name": "Mine"})})
    other, card = record.model_copy(update={"config": here}), DATASETS[study.dataset]
    everything = missing(study, [], "colab")
    assert missing(study, [other], "colab") == everything
    mine = card.model_copy(update={"name": "Mine"})
    assert len(missing(study, [other], "colab", card=mine)) == len(everything) - 1


def test_a_failed_run_is_not_missing(study, found):
    outcome = {"outcome": Outcome(status="failed", reason="NaN")}
    assert len(missing(study, [found("depth", 910).model_copy(update=outcome)], "colab")) == 14


def test_the_records_of_this_project_still_count():
    for name in names(ROOT):
        asked, records = load(name, ROOT), store.read_study(ROOT / "results", name)
        for profile in {record.config.profile for record in records}:
            kept = store.of_profile(records, profile)
            asks = {(t.cell.cell, t.seed, t.fold) for t in missing(asked, kept, profile)}
            assert not asks & {(r.identity.cell, r.identity.seed, r.config.data.fold) for r in kept}


def test_unknown_cell(study):
    with pytest.raises(InputError, match="no cell"):
        missing(study, [], "colab", cells=["nobody"])


@pytest.mark.parametrize(
    "held", ["nothing", "this run", "a run of a former recipe", "a run without checkpoint"]
)
def test_a_task_is_filed_once_and_resumed(study, found, phantom_data, tmp_path, monkeypatch, held):
    runs, results = tmp_path / "runs", tmp_path / "results"
    task, calls = Task(study.choose(["depth"])[0], 910), []
    config = fitted_to(study.config(task.cell, 910, "colab"), phantom_data.card)
    run_dir = schedule.folder_of(study, task, "colab", runs)
    if held != "nothing":
        former = config.model_copy(update={"train": config.train.model_copy(update={"steps": 7})})
        kept = former if held == "a run of a former recipe" else config
        run_dir.mkdir(parents=True)
        asked = run_folder.Run(config=kept, card=phantom_data.card)
        (run_dir / run_folder.RUN_FILE).write_text(asked.model_dump_json())
        monkeypatch.setattr(checkpoint, "has_whole", lambda folder: held != "a run without checkpoint")
    resumed = held == "this run"

    def run_one(config, data, folder, study_name, cell, resume, overwrite, *more):
        calls.append((folder, study_name, cell, resume, overwrite, *more))
        record = found(cell, config.train.seed)
        facts = record.data.model_copy(update={"split_sha256": data.split.digest})
        return record.model_copy(update={"config": config, "data": facts})

    monkeypatch.setattr(run, "run_one", run_one)
    record = run_task(study, task, "colab", phantom_data, runs, results)
    assert calls == [(run_dir, "transseg_main", "depth", resumed, not resumed, None, None, None)]
    path = results / "transseg_main" / store.file_name(record)
    assert store.read(path) == record and record.config == config
    filed = store.read_study(results, "transseg_main")
    assert task not in missing(study, filed, "colab", card=phantom_data.card)

    # A second attempt, after one that was filed and could not say so, does nothing.
    before = path.read_bytes()
    assert run_task(study, task, "colab", phantom_data, runs, results) == record
    assert len(calls) == 1 and path.read_bytes() == before and list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("error", [OutOfMemory("too big"), FloatingPointError("NaN")], ids=lambda e: str(e))
def test_a_failure_is_filed(study, found, phantom_data, tmp_path, monkeypatch, error):
    task = Task(study.choose(["depth"])[0], 910)
    failed = found("depth", 910).model_copy(update={"outcome": Outcome(status="failed", reason=str(error))})

    def run_one(config, data, folder, *more):
        store.write(failed, folder / run_folder.RECORD_FILE)
        raise error

    monkeypatch.setattr(run, "run_one", run_one)
    with pytest.raises(type(error), match=str(error)):
        run_task(study, task, "colab", phantom_data, tmp_path / "runs", tmp_path / "results")
    assert store.read_study(tmp_path / "results", "transseg_main") == [failed]


def test_asking_takes_no_torch():
    code = "import sys, medseg.studies.schedule, medseg.studies.spread; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_a_study_of_some_labels_shows_their_scores_alone(tiny_run):
    study = load("transseg_main", ROOT)
    config = fitted_to(study.config(study.choose(["transfer"])[0], 910, "colab"), DATASETS[study.dataset])
    identity = tiny_run.record.identity.model_copy(update={"cell": "transfer", "seed": 910})
    record = tiny_run.record.model_copy(update={"config": config, "identity": identity})
    labels = {row.label for row in record.scores()}
    few = study.model_copy(update={"labels": (1, 3)})
    (found,) = answering(few, [record], "colab")
    assert {row.label for row in found.scores()} == {1, 3} < labels
    assert answering(study, [record], "colab") == [record]
    assert measure([found]).dice_per_label.keys() == {1, 3}
    assert load("transseg_bcv", ROOT).labels == (1, 2, 3, 4, 6, 7, 8, 11)
