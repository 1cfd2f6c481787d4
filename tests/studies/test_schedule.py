"""What is missing shrinks as records appear, and an interrupted task is gone on with."""

import pytest

from medseg.errors import InputError
from medseg.records import store
from medseg.studies import schedule
from medseg.studies.schedule import Task, missing, run_task
from medseg.studies.study import ROOT, load


@pytest.fixture
def study():
    return load("transseg_main", ROOT)


@pytest.fixture
def found(tiny_run):
    """A record of the cell, seed and profile asked for."""

    def record(cell, seed, profile="colab"):
        base = tiny_run.record
        identity = base.identity.model_copy(update={"cell": cell, "seed": seed, "study": "transseg_main"})
        config = base.config.model_copy(update={"profile": profile})
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


def test_a_record_of_another_budget_does_not(study, found):
    everything = missing(study, [], "colab")
    assert missing(study, [found("transfer", 1234, profile="full")], "colab") == everything
    assert len(missing(study, [found("transfer", 1234, profile="full")], "full")) == len(everything) - 1


def test_unknown_cell(study):
    with pytest.raises(InputError, match="no cell"):
        missing(study, [], "colab", cells=["nobody"])


@pytest.mark.parametrize("interrupted", [False, True])
def test_a_task_is_filed_and_resumed(study, found, phantom_data, tmp_path, monkeypatch, interrupted):
    runs, results = tmp_path / "runs", tmp_path / "results"
    task, calls = Task(study.choose(["depth"])[0], 910), []
    run_dir = runs / "transseg_main" / "depth-colab-s910"
    if interrupted:
        run_dir.mkdir(parents=True)
        (run_dir / "checkpoint.pt").write_bytes(b"")

    def run_one(config, data, folder, study_name, cell, resume, overwrite, on_step):
        calls.append((config, folder, study_name, cell, resume, overwrite))
        return found(cell, config.train.seed)

    monkeypatch.setattr(schedule, "run_one", run_one)
    record = run_task(study, task, "colab", phantom_data, runs, results)
    config = study.config(task.cell, 910, "colab")
    assert calls == [(config, run_dir, "transseg_main", "depth", interrupted, not interrupted)]
    assert store.read(results / "transseg_main" / store.file_name(record)) == record
    filed = store.read_study(results, "transseg_main")
    assert task not in missing(study, filed, "colab")
