import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from medseg.errors import InputError
from medseg.metrics.case import CaseScore, score_case
from medseg.metrics.folders import evaluate_folders, write_scores

# Spacing 0.8, 1.2, 3 mm along x, y, z, turned by 20 degrees about x: oblique and anisotropic.
COS, SIN = np.cos(np.deg2rad(20)), np.sin(np.deg2rad(20))
AFFINE = np.eye(4)
AFFINE[:3, :3] = np.array([[1, 0, 0], [0, COS, -SIN], [0, SIN, COS]]) @ np.diag([0.8, 1.2, 3.0])
AFFINE[:3, 3] = 10.0, -20.0, 5.0


def save(array_xyz, path, affine=AFFINE):
    path.parent.mkdir(exist_ok=True)
    nib.save(nib.Nifti1Image(array_xyz, affine), path)


@pytest.fixture
def folders(tmp_path):
    rng = np.random.default_rng(0)
    for name in ("case_1", "case_2"):
        reference = rng.integers(0, 3, (6, 5, 4)).astype(np.uint8)
        prediction = np.where(rng.random(reference.shape) < 0.8, reference, 0).astype(np.uint8)
        save(reference, tmp_path / "ref" / f"{name}.nii.gz")
        save(prediction, tmp_path / "pred" / f"{name}.nii")
    return tmp_path / "pred", tmp_path / "ref"


def test_rows_are_those_of_score_case(folders):
    pred, ref = folders
    frame = evaluate_folders(pred, ref, tolerance_mm=1.5)
    assert list(frame.columns) == list(CaseScore.model_fields)
    assert list(zip(frame["case"], frame["label"], strict=True)) == [
        ("case_1", 1),
        ("case_1", 2),
        ("case_2", 1),
        ("case_2", 2),
    ]
    # Axes D H W are z y x; this affine keeps the canonical order.
    arrays = [np.asarray(nib.load(path).dataobj).T for path in (pred / "case_2.nii", ref / "case_2.nii.gz")]
    expected = score_case("case_2", *arrays, [1, 2], (3.0, 1.2, 0.8), 1.5)
    got = frame[frame["case"] == "case_2"].to_dict("records")
    for row, want in zip(got, expected, strict=True):
        assert row.pop("case") == want.case
        assert row == pytest.approx(want.model_dump(exclude={"case"}), rel=1e-5)


def test_the_references_scored_against_themselves_are_perfect(folders):
    _, ref = folders
    frame = evaluate_folders(ref, ref)
    assert (frame["dice"] == 1).all() and (frame["hd95_mm"] == 0).all() and (frame["nsd"] == 1).all()


def test_files_that_lost_their_spacing_have_no_millimetres(folders):
    pred, ref = folders
    known, frame = evaluate_folders(pred, ref), evaluate_folders(pred, ref, spacing_known=False)
    lost = ["hd95_mm", "nsd", "volume_ml", "reference_ml"]
    assert frame[lost].isna().all(axis=None) and (frame.dtypes == known.dtypes).all()
    pd.testing.assert_frame_equal(frame.drop(columns=lost), known.drop(columns=lost))


def test_another_storage_order_of_the_same_grid_is_the_same_case(folders, tmp_path):
    _, ref = folders
    for path in ref.iterdir():
        image = nib.load(path)
        turned = image.as_reoriented(nib.orientations.axcodes2ornt(("L", "P", "S")))
        save(np.asarray(turned.dataobj), tmp_path / "turned" / path.name, turned.affine)
    assert (evaluate_folders(tmp_path / "turned", ref)["dice"] == 1).all()


def test_labels_of_the_card_add_rows(folders):
    frame = evaluate_folders(*folders, labels={0: "background", 1: "a", 2: "b", 3: "c"})
    third = frame[frame["label"] == 3]
    assert len(third) == 2 and third[["dice", "hd95_mm", "nsd"]].isna().all(axis=None)
    assert (third["tp"] + third["fp"] + third["fn"] == 0).all()


def test_a_missing_counterpart_is_named(folders):
    pred, ref = folders
    (pred / "case_2.nii").rename(pred / "case_9.nii")
    with pytest.raises(InputError, match=r"case_9\.nii[\s\S]*case_2\.nii\.gz"):
        evaluate_folders(pred, ref)


def test_another_shape_is_refused(folders):
    pred, ref = folders
    save(np.zeros((6, 5, 3), np.uint8), pred / "case_1.nii")
    with pytest.raises(InputError, match=r"shape[\s\S]*case_1\.nii"):
        evaluate_folders(pred, ref)


@pytest.mark.parametrize("what", ["identity", "moved"])
def test_another_affine_is_refused(folders, what):
    pred, ref = folders
    affine = np.eye(4) if what == "identity" else AFFINE + np.eye(4, k=3)
    save(np.zeros((6, 5, 4), np.uint8), pred / "case_1.nii", affine)
    with pytest.raises(InputError, match=r"affine[\s\S]*case_1\.nii"):
        evaluate_folders(pred, ref)


def test_a_spacing_that_drifts_along_the_long_axis_is_refused(tmp_path):
    labels, affine = np.ones((40, 2, 2), np.uint8), AFFINE.copy()
    affine[0, 0] += 0.003  # 0.12 mm after 39 voxels, too little to see over 2
    save(labels, tmp_path / "ref" / "a.nii")
    save(labels, tmp_path / "pred" / "a.nii", affine)
    with pytest.raises(InputError, match="affine"):
        evaluate_folders(tmp_path / "pred", tmp_path / "ref")


def test_a_rounded_header_is_accepted(folders):
    pred, ref = folders
    save(np.ones((6, 5, 4), np.uint8), pred / "case_1.nii", AFFINE + 1e-5 * np.eye(4, k=3))
    assert len(evaluate_folders(pred, ref)) == 4


def test_a_label_that_no_reference_has_is_refused_with_the_file(folders):
    pred, ref = folders
    save(np.full((6, 5, 4), 7, np.uint8), pred / "case_1.nii")
    with pytest.raises(InputError, match=r"case_1\.nii[\s\S]*\[7\]"):
        evaluate_folders(pred, ref)


def test_folders_without_maps_are_refused(folders, tmp_path):
    pred, _ = folders
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "._case_1.nii").write_text("")
    with pytest.raises(InputError, match="no label maps"):
        evaluate_folders(pred, tmp_path / "empty")
    with pytest.raises(InputError, match="folder is missing"):
        evaluate_folders(tmp_path / "nowhere", pred)


def test_two_files_of_one_case_are_refused(folders):
    pred, ref = folders
    save(np.zeros((6, 5, 4), np.uint8), pred / "case_1.nii.gz")
    with pytest.raises(InputError, match="same case name"):
        evaluate_folders(pred, ref)


def test_references_without_any_label_are_refused(tmp_path):
    save(np.zeros((3, 3, 3), np.uint8), tmp_path / "ref" / "a.nii")
    with pytest.raises(InputError, match="no label to score"):
        evaluate_folders(tmp_path / "ref", tmp_path / "ref")


def test_the_csv_holds_the_table_and_leaves_undefined_fields_empty(folders, tmp_path):
    frame = evaluate_folders(*folders, labels={1: "a", 2: "b", 3: "c"})
    target = tmp_path / "metrics.csv"
    write_scores(frame, target)
    pd.testing.assert_frame_equal(pd.read_csv(target), frame, check_dtype=False)
    assert target.read_text().splitlines()[3].startswith("case_1,3,,,,0.0,0.0,0,0,0")
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["metrics.csv"]
