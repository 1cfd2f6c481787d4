"""Cards agree with the sources they state."""

import csv
from pathlib import Path

import pytest
from pydantic import ValidationError

from medseg.data.catalog import CT_WINDOW_HU, DATASETS, clipped
from medseg.data.splits import MSD_CASES
from medseg.errors import InputError

TABLE_1 = Path(__file__).parents[2] / "studies" / "papers" / "transseg_t1_datasets.csv"


def test_md5_is_the_one_of_monai():
    import medseg.compat  # noqa: F401  isort: skip
    from monai.apps import DecathlonDataset

    with_download = {name: card.md5 for name, card in DATASETS.items() if card.md5}
    assert "Task04_Hippocampus" in with_download
    for name, md5 in with_download.items():
        assert md5 == DecathlonDataset.md5[name] and name in DecathlonDataset.resource


@pytest.mark.parametrize("name", DATASETS)
def test_cards_are_consistent(name):
    card = DATASETS[name]
    assert card.name == name and card.licence and card.citation
    # BraTS has no label 3.
    values = [0, 1, 2, 4] if name.startswith("BraTS") else list(range(len(card.labels)))
    assert card.labels[0] == "background" and list(card.labels) == values
    assert (card.window is None) == (card.normalise == "percentile")
    assert card.nsd_tolerance_mm > 0 and len(card.channels) >= 1


def test_hippocampus_is_as_published():
    card = DATASETS["Task04_Hippocampus"]
    assert card.labels == {0: "background", 1: "Anterior", 2: "Posterior"}
    assert card.split_sizes == (208, 39, 13) and sum(card.split_sizes) == 260
    assert card.licence == "CC BY-SA 4.0" and card.nsd_tolerance_mm == 1.0


def rows_of_table_1():
    with TABLE_1.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("row", rows_of_table_1(), ids=lambda row: row["data"])
def test_cards_are_as_in_table_1_of_transseg(row):
    names = {"Brain": "BrainTumour", "Vessel": "HepaticVessel"}
    (card,) = (c for n, c in DATASETS.items() if n.split("_")[-1] == names.get(row["data"], row["data"]))
    of_cases = 2 if card.name == "ACDC" else 1  # the table counts patients, of two frames each
    assert card.split_sizes == tuple(of_cases * int(n) for n in row["split_train_val_test"].split("/"))
    assert len(card.labels) == int(row["out_ch"]) == int(row["n_labels"]) + 1
    assert len(card.channels) == int(row["in_ch"])
    assert card.modality == row["modality_true"].split()[0]
    assert card.window == (CT_WINDOW_HU if card.modality == "CT" else None)


def test_there_is_a_card_of_every_decathlon_task():
    tasks = {name: card for name, card in DATASETS.items() if name.startswith("Task")}
    assert list(tasks) == list(MSD_CASES)
    assert {name: sum(card.split_sizes) for name, card in tasks.items()} == MSD_CASES


def test_acdc_is_as_published():
    card = DATASETS["ACDC"]
    assert list(card.labels) == [0, 1, 2, 3] and card.labels[1] == "right ventricle"
    # TransSeg, Table 1: 70, 10 and 20 patients, of two frames each.
    assert card.split_sizes == (2 * 70, 2 * 10, 2 * 20)
    assert (card.modality, card.normalise, card.licence) == ("MRI", "percentile", "CC BY-NC-SA 4.0")


def test_the_sets_of_med_tuning_are_as_published():
    for name in ("BraTS2019", "BraTS2020"):
        card = DATASETS[name]
        assert card.title.endswith(f"({name[:5]} {name[5:]})") and name[5:] in card.source
        assert card.labels[4] == "enhancing tumour" and card.channels == ("FLAIR", "T1ce", "T1", "T2")
    card = DATASETS["KiTS19"]
    assert card.labels == {0: "background", 1: "kidney", 2: "tumour"}
    assert (card.modality, card.normalise, card.licence) == ("CT", "window", "CC BY-NC-SA 4.0")


def test_the_regions_of_med_tuning_name_its_rows():
    brats = {1: ("ET", (4,)), 2: ("TC", (1, 4)), 3: ("WT", (1, 2, 4))}
    # Rows of records hold these numbers: a number never gets another meaning.
    assert DATASETS["BraTS2019"].regions == DATASETS["BraTS2020"].regions == brats
    assert DATASETS["KiTS19"].regions == {1: ("kidney", (1, 2)), 2: ("tumour", (2,))}
    assert DATASETS["BraTS2019"].structures == {1: "ET", 2: "TC", 3: "WT"}
    assert DATASETS["Task04_Hippocampus"].structures == {1: "Anterior", 2: "Posterior"}


@pytest.mark.parametrize("card", [c for c in DATASETS.values() if c.regions], ids=lambda card: card.name)
def test_regions_are_of_labels_and_cover_them(card):
    assert list(card.regions) == list(range(1, len(card.regions) + 1))
    labels = {label for region in card.regions.values() for label in region.labels}
    assert labels == set(card.labels) - {0}
    assert type(card).model_validate_json(card.model_dump_json()) == card


def test_a_card_written_before_fields_were_added_is_read():
    card = DATASETS["Phantom"]
    assert type(card)(**card.model_dump(exclude={"spacing_known", "regions"})) == card
    assert card.spacing_known and card.regions == {}


def test_cards_do_not_change_and_know_their_fields():
    card = DATASETS["Phantom"]
    with pytest.raises(ValidationError):
        card.name = "other"
    with pytest.raises(ValidationError):
        type(card)(**card.model_dump(), colour="red")
    assert type(card).model_validate_json(card.model_dump_json()) == card


def test_a_window_of_transsegs_code():
    heart, brats = DATASETS["ACDC"], DATASETS["BraTS2020"]
    assert clipped(heart, None) is heart and heart.normalise == "percentile"
    assert clipped(heart, "transseg").window == CT_WINDOW_HU != clipped(heart, (0.0, 1.0)).window
    assert clipped(DATASETS["Task04_Hippocampus"], "transseg").window == (29, 205431)
    with pytest.raises(InputError, match="no window"):
        clipped(brats, "transseg")
