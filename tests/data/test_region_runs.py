"""Runs on the data of Med-Tuning, from the official layout to a record whose rows are regions."""

import json
from functools import cache
from shutil import copytree

import nibabel as nib
import numpy as np
import pandas as pd
import pytest
from brats_trees import brats_2019, brats_2020
from kits_trees import kits

from medseg.data.catalog import DATASETS
from medseg.data.folds import five_folds
from medseg.data.splits import msd_split
from medseg.errors import InputError
from medseg.inference import export
from medseg.inference.export import predict_files
from medseg.metrics.folders import evaluate_folders
from medseg.metrics.summary import case_means
from medseg.records import store
from medseg.studies import run as runs
from medseg.studies.run import open_data, run_one
from medseg.studies.status import measure

NAMES = {
    "HGG": [f"BraTS19_{name}_1" for name in ("2013_2", "CBICA_AAB", "CBICA_AAG", "TCIA01_131")],
    "LGG": ["BraTS19_2013_0_1", "BraTS19_TCIA09_141_1"],
}
# Stored axes: BraTS left, posterior, superior; KiTS slices first.
TREES = {
    "BraTS2019": lambda folder: brats_2019(folder, names=NAMES, shape=(24, 22, 6)),
    "BraTS2020": lambda folder: brats_2020(folder, numbers=(1, 2, 3, 4, 5, 355), shape=(24, 22, 6)),
    "KiTS19": lambda folder: kits(folder, numbers=(0, 1, 2, 3, 4, 209), shape=(6, 24, 22)),
}


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_config):
    """A run of two steps on a set, by name, and the data it is on; each is made once."""

    @cache
    def made(name, fold=None):
        folder = tmp_path_factory.mktemp(name)
        config = tiny_config(data={"fold": fold}, train={"steps": 2})
        data = open_data(TREES[name](folder / "data"), config.data.split_seed).asked(config.data)
        record = run_one(config, data, folder / "run")
        assert record == store.read(folder / "run" / "record.json")
        return record, data

    return made


CHOICES = [("BraTS2019", 2), ("KiTS19", 0), pytest.param("BraTS2020", None, marks=pytest.mark.slow)]


@pytest.mark.parametrize(("name", "fold"), CHOICES)
def test_a_record_holds_the_regions_of_its_split(name, fold, run):
    record, data = run(name, fold)
    assert record.data.name == data.card.name == name and record.outcome.status == "done"
    assert record.data.regions == data.card.regions  # what the numbers of the rows stand for
    assert (record.config.data.fold, record.identity.fold) == (fold, fold or 0)
    ids = list(data.cases)
    test = msd_split(ids, name).test if fold is None else five_folds(ids)[fold]
    assert record.data.test == data.split.test == test
    for part in ("validation", "test"):
        rows = [(score.case, score.label) for score in record.scores(part)]
        assert rows == [(case, n) for case in getattr(record.data, part) for n in data.card.regions]
    for score in record.scores():
        file = nib.load(data.cases[score.case].labels)
        region = np.isin(np.asanyarray(file.dataobj), data.card.regions[score.label].labels)
        assert score.tp + score.fn == np.count_nonzero(region) > 0
        ml = region.sum() * abs(np.linalg.det(file.affine)) / 1000
        assert score.reference_ml == pytest.approx(ml, rel=1e-4)


@pytest.mark.parametrize(("name", "fold"), CHOICES)
def test_the_dice_of_a_record_is_the_mean_of_its_regions(name, fold, run):
    record, data = run(name, fold)
    # No region is empty here: KiTS19's composite and the mean of ET, TC and WT are the means of the rows.
    for case, mean in case_means(record.scores()).items():
        of_case = [score.dice for score in record.scores() if score.case == case]
        assert None not in of_case and mean == pytest.approx(sum(of_case) / len(data.card.regions))
    found = measure([record])
    assert list(found.dice_per_label) == list(data.card.structures)
    assert found.dice == pytest.approx(np.mean(list(found.dice_per_label.values())))


@pytest.mark.parametrize(("name", "fold"), CHOICES)
def test_patients_folders_are_predicted_and_scored_as_in_the_record(name, fold, run, tmp_path):
    record, data = run(name, fold)
    cases = [data.cases[case] for case in record.data.test]
    folder = next(p / "run" for p in cases[0].image.parents if (p / "run").is_dir())
    written = list(predict_files(folder, [case.image.parent for case in cases], tmp_path / "out"))
    assert [path.name for path in written] == [f"{case}.nii.gz" for case in record.data.test]
    (tmp_path / "ref").mkdir()
    for case in cases:
        nib.save(nib.load(case.labels), tmp_path / "ref" / f"{case.id}.nii.gz")
    frame = evaluate_folders(tmp_path / "out", tmp_path / "ref", card=data.card)
    got = {(row.case, row.label): row.dice for row in frame.itertuples()}
    assert got == {(s.case, s.label): pytest.approx(s.dice, abs=1e-6) for s in record.scores("test")}


def test_predictions_follow_the_rule_of_the_run(run, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "predict", lambda network, image, *_: np.full(image.shape[1:], 3, np.uint8))
    record, data = run("BraTS2019", 2)
    case = data.cases[record.data.test[0]]
    folder = next(p / "run" for p in case.image.parents if (p / "run").is_dir())
    copytree(folder, tmp_path / "run")
    asked = json.loads((folder / "run.json").read_text())
    asked["config"]["data"]["least_enhancing_voxels"] = 10**6
    (tmp_path / "run" / "run.json").write_text(json.dumps(asked))
    before, after = (
        np.asanyarray(nib.load(next(predict_files(run_dir, [case.image.parent], tmp_path / out))).dataobj)
        for run_dir, out in ((folder, "plain"), (tmp_path / "run", "ruled"))
    )
    assert (before == 4).all() and (after == 1).all()


def test_rules_of_brats_need_its_card(run, tmp_path):
    with pytest.raises(InputError, match="rules of BraTS"):
        evaluate_folders(tmp_path, tmp_path, card=DATASETS["KiTS19"], server_2020=True)
    with pytest.raises(InputError, match="rules of BraTS"):
        evaluate_folders(tmp_path, tmp_path, least_enhancing_voxels=500)


def test_a_region_that_both_maps_lack_counts_as_the_server_has_it(tmp_path):
    labels = np.zeros((6, 5, 4), np.uint8)
    labels[2, 2, 2] = 2
    for folder in ("pred", "ref"):
        (tmp_path / folder).mkdir()
        nib.save(nib.Nifti1Image(labels, np.eye(4)), tmp_path / folder / "case.nii.gz")
    own, server = (
        evaluate_folders(tmp_path / "pred", tmp_path / "ref", card=DATASETS["BraTS2020"], server_2020=on)
        for on in (False, True)
    )
    assert own["dice"].isna().sum() == 2 and (server["dice"] == 1).all() and (server["hd95_mm"] == 0).all()


def test_while_training_the_regions_are_looked_at(tmp_path, tiny_config):
    config = tiny_config(train={"steps": 2, "validate_every": 2})
    data = open_data(TREES["KiTS19"](tmp_path / "data"), config.data.split_seed)
    record = run_one(config, data, tmp_path / "run")
    looked_at = pd.read_csv(tmp_path / "run" / "curve.csv")["dice"].iloc[-1]
    means = case_means(record.scores("validation")).values()
    assert looked_at == pytest.approx(np.mean(list(means)), abs=1e-6) and 0 < looked_at < 1


@pytest.mark.slow
def test_small_enhancing_tumours_are_scored_as_core_where_it_is_asked(tmp_path, tiny_config, monkeypatch):
    data = open_data(TREES["BraTS2019"](tmp_path), 1234)

    def all_enhancing_in_one_slice(segmenter, image, *_):
        classes = np.zeros(image.shape[1:], np.uint8)
        classes[0] = 3  # label 4
        return classes

    monkeypatch.setattr(runs, "predict", all_enhancing_in_one_slice)
    for least, kept in ((0, True), (22 * 24, True), (22 * 24 + 1, False)):
        config = tiny_config(data={"least_enhancing_voxels": least}, train={"steps": 1})
        record = run_one(config, data, tmp_path / str(least))
        assert record.config.data.least_enhancing_voxels == least
        for score in record.scores():
            assert score.tp + score.fp == (22 * 24 if kept or score.label > 1 else 0)


def test_what_does_not_fit_the_data_is_refused_before_a_folder_is_made(run, tiny_config, tmp_path):
    _, data = run("KiTS19", 0)
    with pytest.raises(InputError, match="no enhancing tumour"):
        run_one(tiny_config(data={"least_enhancing_voxels": 500}), data, tmp_path / "run")
    assert not (tmp_path / "run").exists()
