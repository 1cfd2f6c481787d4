"""What is not at hand is named; nothing is looked for where no folder is named."""

import pytest

from medseg.encoders.sources import SUMS, WEIGHTS
from medseg.studies.obstacle import lacks_data, lacks_weights
from medseg.studies.schedule import missing, startable
from medseg.studies.status import states
from medseg.studies.study import ROOT, load


@pytest.fixture
def folders(tmp_path, monkeypatch):
    for variable, name in (("MEDSEG_WEIGHTS", "weights"), ("MEDSEG_DATA", "data")):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(variable, str(tmp_path / name))
    return tmp_path


def test_weights_and_data_that_are_not_there(folders, monkeypatch):
    study = load("transseg_ablations", ROOT)
    (cell,) = study.choose(["deit"])
    config, file = study.config(cell, 1234, "colab"), WEIGHTS["deit_tiny"].file
    assert file in lacks_weights(config) and study.dataset in lacks_data(config)
    assert lacks_weights(study.config(cell, 1234, "smoke")) is None
    (folders / "weights" / file).touch()
    (folders / "data" / study.dataset).mkdir()
    assert lacks_weights(config) is None and lacks_data(config) is None
    monkeypatch.delenv("MEDSEG_WEIGHTS")
    monkeypatch.delenv("MEDSEG_DATA")
    (folders / "weights" / file).unlink()
    assert lacks_weights(config) is None and lacks_data(config) is None
    (unknown,) = study.choose(["beit"])
    unknown = study.config(unknown, 1234, "colab")
    assert "no sha256" in lacks_weights(unknown)
    monkeypatch.setenv("MEDSEG_WEIGHTS", str(folders / "weights"))
    assert "not at hand" in lacks_weights(unknown)
    (folders / "weights" / WEIGHTS["beit_base"].file).touch()
    assert "no sha256" in lacks_weights(unknown)
    (folders / "weights" / SUMS).write_text(f"{'0' * 64}  {WEIGHTS['beit_base'].file}\n")
    assert lacks_weights(unknown) is None


def test_only_what_can_start_is_started_and_the_rest_says_why(folders):
    study = load("transseg_ablations", ROOT)
    (folders / "data" / study.dataset).mkdir()
    everything = missing(study, [], "colab", seeds=1)
    assert [task.cell.cell for task in startable(study, everything, "colab")] == ["scratch"]
    assert startable(study, everything, "smoke") == everything
    reasons = {state.cell: state.reason for state in states(study, [], "colab")}
    assert reasons["scratch"] == "not run" and WEIGHTS["beit_base"].file in reasons["beit"]
