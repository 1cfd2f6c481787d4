"""The Decathlon layout: what is read, in which order, and what is refused."""

import json
import os
from pathlib import Path

import pytest

from medseg.data.catalog import DATASETS
from medseg.data.checks import check_pair
from medseg.data.msd import read_msd, read_msd_unlabelled
from medseg.data.splits import msd_split
from medseg.data.volume import read
from medseg.errors import InputError

NAMES = ["liver_2", "liver_0", "liver_11"]


def make(folder, names=NAMES, dot="./", **changes):
    """A folder in the official layout, with empty files; `changes` replace entries of dataset.json."""
    for part in ("imagesTr", "labelsTr", "imagesTs"):
        (folder / part).mkdir(parents=True)
    for name in names:
        for part in ("imagesTr", "labelsTr"):
            (folder / part / f"{name}.nii.gz").touch()
    facts = {
        "name": "LIVER",
        "reference": "somebody",
        "licence": "CC-BY-SA 4.0",
        "modality": {"0": "CT"},
        "labels": {"0": "background", "2": "cancer", "1": "liver"},
        "training": [
            {"image": f"{dot}imagesTr/{name}.nii.gz", "label": f"{dot}labelsTr/{name}.nii.gz"}
            for name in names
        ],
        "test": [],
    }
    facts.update(changes)
    facts = {key: value for key, value in facts.items() if value is not None}
    (folder / "dataset.json").write_text(json.dumps(facts))
    return folder


def refused(words, folder, reader=read_msd):
    with pytest.raises(InputError, match=words) as caught:
        reader(folder)
    assert caught.value.expected and caught.value.got and caught.value.do
    return caught.value


@pytest.mark.parametrize("dot", ["./", ""])
def test_cases_stand_in_the_order_of_dataset_json(dot, tmp_path):
    _, cases = read_msd(make(tmp_path / "Task03_Liver", dot=dot))
    assert [case.id for case in cases] == NAMES
    assert cases[0].image == tmp_path / "Task03_Liver" / "imagesTr" / "liver_2.nii.gz"
    assert cases[0].labels == tmp_path / "Task03_Liver" / "labelsTr" / "liver_2.nii.gz"


def test_an_unknown_folder_gets_a_card_from_dataset_json(tmp_path):
    card, _ = read_msd(make(tmp_path / "MyLiver"))
    assert card.name == "MyLiver" and card.labels == {0: "background", 1: "liver", 2: "cancer"}
    assert (card.normalise, card.window, card.channels) == ("window", (-175.0, 250.0), ("CT",))
    assert card.licence == "CC-BY-SA 4.0" and card.md5 is None and card.split_sizes is None


def test_channels_stand_in_the_order_of_their_numbers(tmp_path):
    modality = {"1": "ADC", "0": "T2"}
    card, _ = read_msd(make(tmp_path / "MyProstate", modality=modality))
    assert card.channels == ("T2", "ADC") and card.normalise == "percentile" and card.window is None


def test_a_known_folder_gets_the_card_of_the_catalog(tmp_path):
    labels = {"0": "background", "1": "Anterior", "2": "Posterior"}
    folder = make(tmp_path / "Task04_Hippocampus", modality={"0": "MRI"}, labels=labels)
    assert read_msd(folder)[0] is DATASETS["Task04_Hippocampus"]


@pytest.mark.parametrize(
    "changes", [{"modality": {"0": "MRI", "1": "CT"}}, {"labels": {"0": "background", "1": "x"}}]
)
def test_a_known_folder_at_odds_with_the_catalog_is_refused(changes, tmp_path):
    labels = {"0": "background", "1": "Anterior", "2": "Posterior"}
    folder = make(tmp_path / "Task04_Hippocampus", **({"modality": {"0": "MRI"}, "labels": labels} | changes))
    assert "Task04_Hippocampus" in refused("malformed", folder).expected


def test_files_left_by_macos_are_skipped(tmp_path):
    folder = make(tmp_path / "set", names=["._liver_2", *NAMES], test=["./imagesTs/._liver_7.nii.gz"])
    assert [case.id for case in read_msd(folder)[1]] == NAMES
    assert read_msd_unlabelled(folder) == []


def test_unlabelled_cases_are_listed_apart(tmp_path):
    folder = make(tmp_path / "set", test=["./imagesTs/liver_7.nii.gz"])
    (folder / "imagesTs" / "liver_7.nii.gz").touch()
    assert len(read_msd(folder)[1]) == 3
    (case,) = read_msd_unlabelled(folder)
    assert case.id == "liver_7" and case.labels is None and case.image.parent.name == "imagesTs"


def test_missing_folder_and_missing_dataset_json_are_refused(tmp_path):
    assert refused("not a Decathlon folder", tmp_path / "none").got == "no such folder"
    assert refused("not a Decathlon folder", tmp_path).got == "no dataset.json"


@pytest.mark.parametrize("text", ["", "{", "[]", "3"])
def test_a_dataset_json_that_is_no_object_is_refused(text, tmp_path):
    folder = make(tmp_path / "set")
    (folder / "dataset.json").write_text(text)
    refused("malformed", folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"training": None},
        {"training": {"image": "a"}},
        {"training": ["./imagesTr/liver_2.nii.gz"]},
        {"training": [{"image": "./imagesTr/liver_2.nii.gz"}]},
        {"training": [{"image": "../x.nii.gz", "label": "./labelsTr/liver_2.nii.gz"}]},
        {"training": [{"image": "/x.nii.gz", "label": "./labelsTr/liver_2.nii.gz"}]},
        {"training": [{"image": "./imagesTr/liver_2.nii.gz", "label": "./labelsTr/liver_2.nii.gz"}] * 2},
        {"labels": None},
        {"labels": {"liver": 1, "background": 0}},
        {"labels": {"1": "liver"}},
        {"labels": {"0": "background"}},
        {"modality": None},
        {"modality": {}},
        {"modality": {"1": "CT"}},
    ],
)
def test_malformed_entries_are_refused(changes, tmp_path):
    refused("malformed", make(tmp_path / "set", **changes))


def test_a_malformed_test_list_is_refused(tmp_path):
    refused("malformed", make(tmp_path / "set", test=[{"image": "x"}]), read_msd_unlabelled)


def test_no_cases_are_refused(tmp_path):
    refused("no cases", make(tmp_path / "set", names=[]))


def test_missing_files_are_counted_and_named(tmp_path):
    folder = make(tmp_path / "set")
    (folder / "labelsTr" / "liver_0.nii.gz").unlink()
    error = refused("missing", folder)
    assert error.got == "1 missing, the first is " + str(Path("labelsTr/liver_0.nii.gz"))


@pytest.mark.real_data
def test_the_real_hippocampus_is_read_and_split():
    root = Path(os.environ.get("MEDSEG_DATA", "")) / "Task04_Hippocampus"
    if "MEDSEG_DATA" not in os.environ or not root.is_dir():
        pytest.skip("MEDSEG_DATA does not hold Task04_Hippocampus")
    card, cases = read_msd(root)
    assert card is DATASETS["Task04_Hippocampus"] and len(cases) == 260
    split = msd_split([case.id for case in cases], card.name)
    assert (len(split.train), len(split.validation), len(split.test)) == card.split_sizes
    for case in (cases[0], cases[130], cases[-1]):
        volume = read(case.image, case.labels)
        check_pair(volume, card)
        assert volume.array.shape[1:] == volume.labels.shape and min(volume.labels.shape) > 20
