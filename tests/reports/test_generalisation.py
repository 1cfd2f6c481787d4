"""Tables 3 and 5: the studies print what the paper prints, and what is missing says why."""

import shutil
from statistics import fmean

import pytest
from study_records import as_result

from medseg.data.catalog import DATASETS
from medseg.metrics.regions import as_server_2020
from medseg.metrics.summary import summarise
from medseg.records import store
from medseg.reports.generalisation import (
    NO_DATA,
    beside_print_table,
    generalisation_table,
    organ_table,
    records_of,
    server_table,
    structure_table,
)
from medseg.reports.papers import paper_table
from medseg.reports.tables import NOT_RUN, cut
from medseg.studies.study import ROOT, load

COLUMNS = {
    "ACDC": "transseg_main_acdc",
    "Bra": "transseg_brain",
    "Hea": "transseg_heart",
    "Liv": "transseg_liver",
    "Hip": "transseg_main",
    "Pro": "transseg_prostate",
    "Lun": "transseg_lung",
    "Pan": "transseg_pancreas",
    "Ves": "transseg_vessel",
    "Spl": "transseg_spleen",
    "Col": "transseg_colon",
}


@pytest.fixture
def root(tmp_path, monkeypatch):
    """A book without records and without data."""
    shutil.copytree(ROOT / "studies", tmp_path / "studies")
    shutil.copytree(ROOT / "book" / "_data", tmp_path / "book" / "_data")
    (tmp_path / "results").mkdir()
    monkeypatch.setenv("MEDSEG_ROOT", str(tmp_path))
    monkeypatch.delenv("MEDSEG_DATA", raising=False)
    return tmp_path


@pytest.fixture
def filed(root, tiny_run):
    """Files a record of a study, cell and seed, every Dice moved by as much."""

    def file(name, cell, seed, dice_plus=0.0):
        record = as_result(tiny_run.record, load(name), cell, seed, dice_plus)
        store.write(record, root / "results" / name / store.file_name(record))
        return record

    return file


@pytest.mark.parametrize(("column", "name"), COLUMNS.items())
def test_a_study_prints_its_column_of_table_5(column, name):
    study, printed = load(name, ROOT), paper_table("transseg_t5_generalisation", ROOT)[column].dropna()
    cells = {cell.cell: cell.paper_dice for cell in study.cells}
    assert cells["transfer_depth"] == printed["Ours"] and cells["transfer"] == printed["Ours w/o D"]
    assert study.paper_table == f"TransSeg, Table 5, column {column}" and study.dataset in DATASETS
    assert study.references[0].paper_dice == printed["nnUNet (other ratio)"]
    assert {r.paper_dice for r in study.references} <= set(printed)


def test_bcv_prints_table_2a():
    study, printed = load("transseg_bcv", ROOT), paper_table("transseg_t2a_main_bcv", ROOT)
    crossed = {(cell.factors["transfer"], cell.factors["depth"]): cell.paper_dice for cell in study.cells}
    own = printed[printed.origin == "own"]
    assert crossed == {(bool(r.transfer), bool(r.depth)): r.dsc8 for r in own.itertuples()}
    assert {r.paper_dice for r in study.references} == set(printed[printed.origin != "own"].dsc8)


@pytest.mark.parametrize("name", [*COLUMNS.values(), "transseg_bcv"])
def test_the_full_recipe_has_the_pixels_and_steps_of_the_paper(name):
    study, paper = load(name, ROOT), paper_table("transseg_t1_datasets", ROOT)
    title = study.dataset.split("_")[-1].replace("BrainTumour", "Brain").replace("HepaticVessel", "Vessel")
    config = study.config(study.cells[0], 1234, "full")
    assert config.model.image_px == int(paper.input_reso[title].split("x")[0])
    assert config.train.steps == paper.max_steps_paper[title]


def test_table_5_of_an_empty_book(root, tmp_path, monkeypatch):
    table = generalisation_table(COLUMNS, "colab")
    assert list(table.index) == [load(name).dataset for name in COLUMNS.values()]
    assert set(table["measured, per case"].to_numpy().ravel()) == {NO_DATA}
    assert set(table["seeds"].to_numpy().ravel()) == {"0 of 3"}
    assert table.loc["Task06_Lung", ("printed", "five slices")] == "70.20"
    assert table.loc["ACDC", ("printed, other split", "another")] == "SwinUNet 90.00"
    (tmp_path / "data" / "Task03_Liver").mkdir(parents=True)
    monkeypatch.setenv("MEDSEG_DATA", str(tmp_path / "data"))
    measured = generalisation_table(COLUMNS, "colab")["measured, pooled"]["one slice"]
    assert measured["Task03_Liver"] == NOT_RUN and measured["Task02_Heart"] == NO_DATA


def test_table_5_shows_what_was_measured(filed):
    found = summarise(filed("transseg_heart", "transfer", 1234).scores())
    row = generalisation_table(COLUMNS, "colab").loc["Task02_Heart"]
    assert row["measured, per case", "one slice"] == cut(100 * found.mean_dice)
    assert row["measured, pooled", "one slice"] == cut(100 * found.mean_pooled_dice)
    assert row["measured, per case", "five slices"] == NOT_RUN
    assert list(row["seeds"]) == ["1 of 3", "0 of 3"]


def test_organs_are_the_labels_of_the_data_set(filed):
    record = filed("transseg_main_acdc", "depth", 910)
    study = load("transseg_main_acdc")
    table = organ_table(study, records_of(study), "colab")
    assert [*table.columns[:-2]] == ["right ventricle", "myocardium", "left ventricle"]
    of_labels = [label.mean_dice for label in summarise(record.scores()).labels]
    row = table.loc["from scratch, depth"]
    assert list(row[:3]) == [cut(100 * dice) for dice in of_labels] and row["seeds"] == "1 of 3"
    assert set(table.loc["transfer and depth"][:4]) == {NOT_RUN}


def test_a_structure_has_its_size_and_the_gains_over_common_seeds(filed):
    study = load("transseg_main")
    assert (structure_table(study, [], "colab")["depth, with transfer"] == NOT_RUN).all()
    for seed, gain in ((1234, 0.02), (5678, 0.04)):
        filed(study.name, "transfer_depth", seed, gain)
        filed(study.name, "transfer", seed)
    filed(study.name, "transfer_depth", 910, 0.5)
    filed(study.name, "depth", 1234)
    table = structure_table(study, records_of(study), "colab")
    assert list(table.index) == ["Anterior", "Posterior"] and set(table["label maps"]) == {"260"}
    assert set(table["depth, with transfer"]) == {"+3.00, seeds: 2"}
    assert set(table["transfer, with depth"]) == {"+2.00, seeds: 1"}


def test_regions_are_scored_as_the_server_does(filed):
    record = filed("medtuning_brats20", "head", 1234)
    study = load("medtuning_brats20")
    table = server_table(study, records_of(study), "colab")
    names = {row.cell: row.title for row in study.cells}
    regions = DATASETS["BraTS2020"].structures
    filled = as_server_2020(record.scores("test"))
    for number, name in regions.items():
        own = [row for row in filled if row.label == number]
        assert own and all(row.dice is not None and row.hd95_mm is not None for row in own)
        assert table.loc[names["head"], f"Dice {name}"] == cut(100 * fmean(row.dice for row in own))
        assert table.loc[names["head"], f"HD95 {name}, mm"] == cut(fmean(row.hd95_mm for row in own))
        assert table.loc[names["full"], f"Dice {name}"] == NOT_RUN
    assert list(table.seeds).count("1 of 3") == 1 and len(table) == len(study.cells)


def test_the_best_arm_is_that_of_the_validation_cases(filed):
    filed("transseg_main", "transfer", 1234)
    best = filed("transseg_main", "depth", 1234, dice_plus=0.01)
    table = beside_print_table([load("transseg_main_acdc"), load("transseg_main")], "colab")
    assert table.loc["ACDC", "best arm"] == NOT_RUN and table.loc["ACDC", "nnU-Net printed"] == "91.79"
    row, found = table.loc["Task04_Hippocampus"], summarise(best.scores("test"))
    assert (row["best arm"], row["seeds"]) == ("from scratch, depth", "1")
    assert row["per case"] == cut(100 * found.mean_dice) and row["pooled"] == cut(
        100 * found.mean_pooled_dice
    )
    assert row["per case minus nnU-Net"].startswith("-") and row["TransSeg (five slices) printed"] == "86.83"
