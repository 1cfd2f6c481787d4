"""The layouts of BraTS 2019 and 2020: what is a case, the order of its channels, and what is refused."""

import numpy as np
import pytest
from brats_trees import FOLDER_2019, FOLDER_2020, LEVELS, NAMES_2019, SHAPE, brats_2019, brats_2020, patient

from medseg.data.brats import MODALITIES, brats_patient, is_brats, read_brats
from medseg.data.catalog import DATASETS
from medseg.data.channels import read_channels
from medseg.data.checks import check_pair
from medseg.data.transforms import normalise
from medseg.errors import InputError

IDS = {
    brats_2019: sorted(sum(NAMES_2019.values(), ())),
    brats_2020: [f"BraTS20_Training_{number}" for number in ("001", "002", "355")],
}


def refused(words, folder, read=read_brats):
    with pytest.raises(InputError, match=words) as caught:
        read(folder)
    assert caught.value.expected and caught.value.got and caught.value.do
    return caught.value


@pytest.mark.parametrize(("write", "name"), [(brats_2019, "BraTS2019"), (brats_2020, "BraTS2020")])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_each_patient_is_a_case_of_four_channels(write, name, suffix, tmp_path):
    if write is brats_2020 and suffix == ".nii.gz":
        write(tmp_path, suffix, numbers=(1, 2))  # the file of case 355 is not compressed
    else:
        write(tmp_path, suffix)
    card, cases = read_brats(tmp_path)
    assert card is DATASETS[name]
    assert [case.id for case in cases] == IDS[write][: len(cases)] and len(cases) >= 2
    for case in cases:
        files = (case.image, *case.more_channels)
        assert [path.name for path in files] == [f"{case.id}_{m}{suffix}" for m in MODALITIES]
        volume = read_channels(files, case.labels)
        check_pair(volume, card)
        assert volume.array.shape == (4, *SHAPE[::-1]) and volume.spacing_mm == (1, 1, 1)
        assert set(np.unique(volume.labels)) == {0, 1, 2, 4}
        for channel, modality in zip(volume.array, MODALITIES, strict=True):
            assert LEVELS[modality] <= channel.min() and channel.max() < LEVELS[modality] + 50
        assert np.abs(normalise(volume.array, card)).max() == 1


@pytest.mark.parametrize(("write", "official"), [(brats_2019, FOLDER_2019), (brats_2020, FOLDER_2020)])
def test_the_folder_may_be_the_official_one_or_the_one_above(write, official, tmp_path):
    write(tmp_path)
    assert is_brats(tmp_path) and is_brats(tmp_path / official)
    assert read_brats(tmp_path) == read_brats(tmp_path / official)
    assert not is_brats(tmp_path / "none")


def test_case_355_has_its_labels_under_their_published_name(tmp_path):
    case = read_brats(brats_2020(tmp_path))[1][-1]
    assert case.labels.name == "W39_1998.09.19_Segm.nii"
    # Only of this case.
    place = patient(tmp_path / FOLDER_2020, "BraTS20_Training_003", labels=False)
    case.labels.rename(place / case.labels.name)
    assert "no seg" in refused("files are missing", tmp_path).got


def test_validation_data_have_no_labels(tmp_path):
    places = tmp_path / "MICCAI_BraTS_2019_Data_Validation", tmp_path / "MICCAI_BraTS2020_ValidationData"
    for place, name in zip(places, ("BraTS19_CBICA_AAM_1", "BraTS20_Validation_001"), strict=True):
        case = brats_patient(patient(place, name, labels=False))
        assert case.id == name and case.labels is None and len(case.more_channels) == 3
        assert "validation data" in refused("files are missing", place).do
        assert brats_patient(place) is None and brats_patient(place / "BraTS19_nobody_1") is None
    brats_2019(tmp_path)
    assert len(read_brats(tmp_path)[1]) == 3


@pytest.mark.parametrize("part", [*MODALITIES, "seg"])
def test_missing_files_are_named(part, tmp_path):
    place = brats_2019(tmp_path) / FOLDER_2019 / "LGG" / "BraTS19_TCIA09_141_1"
    (place / f"{place.name}_{part}.nii.gz").unlink()
    assert refused("files are missing", tmp_path).got == f"no {part}"


def test_one_release_and_every_patient_once(tmp_path):
    assert refused("not a folder of one release", tmp_path).got.startswith("0 patients")
    brats_2019(tmp_path)
    double = patient(tmp_path / FOLDER_2019 / "LGG", NAMES_2019["HGG"][0])
    assert "4 patients, 3 different" in refused("not a folder of one release", tmp_path).got
    double.rename(tmp_path / "away")
    brats_2020(tmp_path)
    assert "2 releases" in refused("not a folder of one release", tmp_path).got
