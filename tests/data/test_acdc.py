"""The ACDC layout: which frames are cases, what its headers say, and what is refused."""

import os
from pathlib import Path

import pytest
from acdc_trees import flat, official, patient

from medseg.data.acdc import read_acdc
from medseg.data.cases import load_case
from medseg.data.catalog import DATASETS
from medseg.data.splits import ACDC_TEST_PATIENTS, acdc_split
from medseg.errors import InputError
from medseg.records import store
from medseg.studies.run import open_data, run_one
from medseg.studies.status import Measured, measure

CARD = DATASETS["ACDC"]


def refused(words, folder):
    with pytest.raises(InputError, match=words) as caught:
        read_acdc(folder)
    assert caught.value.expected and caught.value.got and caught.value.do
    return caught.value


@pytest.mark.parametrize("write", [official, flat])
def test_cases_are_the_two_frames_of_each_patient(write, tmp_path):
    folder = write(tmp_path / "ACDC", numbers=(12, 3))
    _, cases = read_acdc(folder)
    frames = ("frame01", "frame12")
    assert [case.id for case in cases] == [f"patient{n}_{f}" for n in ("003", "012") for f in frames]
    for case in cases:
        assert case.image.name == f"{case.id}.nii.gz" and case.labels.name == f"{case.id}_gt.nii.gz"
        assert case.image.is_file() and case.labels.is_file()


def test_info_cfg_says_which_frame_is_which(tmp_path):
    official(tmp_path, numbers=(1,), frames=(11, 4))
    place = tmp_path / "training" / "patient001"
    assert [case.id for case in read_acdc(tmp_path)[1]] == ["patient001_frame11", "patient001_frame04"]
    # Frames that Info.cfg does not name are no cases.
    patient(tmp_path / "more", 1, frames=(7,), info=False)
    for path in (tmp_path / "more" / "patient001").iterdir():
        path.rename(place / path.name)
    assert [case.id for case in read_acdc(tmp_path)[1]] == ["patient001_frame11", "patient001_frame04"]


def test_without_info_cfg_the_first_frame_is_the_end_of_diastole(tmp_path):
    patient(tmp_path, 1, frames=(11, 4), info=False)
    assert [case.id for case in read_acdc(tmp_path)[1]] == ["patient001_frame04", "patient001_frame11"]


def test_the_card_knows_whether_the_headers_have_a_spacing(tmp_path):
    card, cases = read_acdc(official(tmp_path / "official"))
    assert card is CARD and card.spacing_known
    assert load_case(cases[0], card).volume.spacing_mm == pytest.approx((10.0, 1.5, 1.5))
    card, cases = read_acdc(flat(tmp_path / "flat"))
    assert card == CARD.model_copy(update={"spacing_known": False})
    assert load_case(cases[0], card).volume.spacing_mm is None


def test_both_releases_are_split_alike(tmp_path):
    ids = [[case.id for case in read_acdc(write(tmp_path / write.__name__))[1]] for write in (official, flat)]
    assert acdc_split(ids[0]) == acdc_split(ids[1])


def test_missing_labels_and_images_are_named(tmp_path):
    place = patient(tmp_path, 1)
    (place / "patient001_frame12_gt.nii.gz").unlink()
    assert refused("files are missing", tmp_path).got == "no patient001_frame12_gt.nii.gz"
    (place / "patient001_frame01.nii.gz").unlink()
    assert refused("files are missing", tmp_path).got == "no patient001_frame01.nii.gz"


@pytest.mark.parametrize("frames", [(), (1,), (1, 5, 9)])
def test_other_than_two_frames_are_refused(frames, tmp_path):
    patient(tmp_path, 1, frames=frames, info=False)
    assert refused("frames of one patient", tmp_path).got == (
        ", ".join(f"frame{number:02d}" for number in frames) or "no frame"
    )


@pytest.mark.parametrize("text", ["", "ED: 1\n", "ED: 1\nES: one\n", "ED: 1\nES: 1\n", "\xff\x00"])
def test_a_malformed_info_cfg_is_refused(text, tmp_path):
    place = patient(tmp_path, 1)
    (place / "Info.cfg").write_text(text, encoding="latin-1")
    refused("does not name the labelled frames", tmp_path)


def test_frames_that_info_cfg_names_must_be_there(tmp_path):
    place = patient(tmp_path, 1)
    (place / "Info.cfg").write_text("ED: 1\nES: 13\n")
    assert "patient001_frame13.nii.gz" in refused("files are missing", tmp_path).got


def test_other_labels_are_refused(tmp_path):
    patient(tmp_path, 1, top_label=4)
    card, cases = read_acdc(tmp_path)
    with pytest.raises(InputError, match="label values that ACDC does not name"):
        load_case(cases[0], card)


def test_an_image_that_is_none_is_refused(tmp_path):
    place = patient(tmp_path, 1)
    (place / "patient001_frame01.nii.gz").write_bytes(b"no image")
    refused("cannot be read as NIfTI", tmp_path)


def test_a_folder_without_patients_is_refused(tmp_path):
    assert refused("not an ACDC folder", tmp_path).got == "none"
    assert refused("not an ACDC folder", tmp_path / "none").got == "no such folder"


def test_a_run_without_spacing_reports_no_millimetres(tiny_config, tmp_path):
    data = open_data(flat(tmp_path / "ACDC"), split_seed=1234)
    record = run_one(tiny_config(), data, tmp_path / "run")
    assert record == store.read(tmp_path / "run" / "record.json")
    scores = record.scores()
    assert {score.case for score in scores} == {*data.split.validation, *data.split.test}
    for score in scores:
        assert score.dice is not None and score.tp + score.fn > 0
        assert score.hd95_mm is score.nsd is score.volume_ml is score.reference_ml is None
    found = measure([record])
    assert 0 <= found.dice <= 1 and found.hd95_mm is found.nsd is None
    assert Measured.model_validate_json(found.model_dump_json()) == found


@pytest.mark.real_data
def test_the_real_frames_are_read_and_split():
    root = Path(os.environ.get("MEDSEG_DATA", "")) / "ACDC"
    if not root.is_dir():
        pytest.skip("MEDSEG_DATA does not hold ACDC")
    card, cases = read_acdc(root)
    assert len(cases) == 200 and len({case.id[:10] for case in cases}) == 100
    split = acdc_split([case.id for case in cases])
    assert (len(split.train), len(split.validation), len(split.test)) == card.split_sizes
    assert {int(name[7:10]) for name in split.test} == set(ACDC_TEST_PATIENTS)
    for case in (cases[0], cases[101], cases[-1]):
        loaded = load_case(case, card)
        assert (
            loaded.labels.unique().tolist() == [0, 1, 2, 3]
            and loaded.image.shape[1:] == loaded.labels.shape[1:]
        )
        assert (loaded.volume.spacing_mm is None) == (not card.spacing_known)
