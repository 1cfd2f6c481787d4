"""Reading onto the canonical grid and writing back: laws over orientations, and what is refused."""

import os
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from spaces import ORIENTATIONS, oblique_affine, random_image, random_labels, save_nifti

from medseg.data.volume import case_name, read, read_labels, write_labels
from medseg.errors import InputError

SHAPE = (7, 6, 5)


@pytest.fixture(params=ORIENTATIONS)
def pair(request, tmp_path):
    """(image path, label path, affine) of one oblique anisotropic case in each orientation."""
    affine = oblique_affine(request.param)
    assert "".join(nib.aff2axcodes(affine)) == request.param
    image = save_nifti(tmp_path / "case.nii.gz", random_image(SHAPE), affine)
    return image, save_nifti(tmp_path / "case_labels.nii.gz", random_labels(SHAPE), affine), affine


def test_array_is_the_ras_ordered_image(pair):
    image, labels, _ = pair
    volume = read(image, labels)
    ras = nib.as_closest_canonical(nib.load(image))
    np.testing.assert_array_equal(volume.array[0], ras.get_fdata(dtype=np.float32).transpose(2, 1, 0))
    np.testing.assert_allclose(volume.affine, ras.affine, atol=1e-12)
    assert volume.array.dtype == np.float32 and volume.labels.dtype == np.uint8
    assert volume.array.flags.c_contiguous and volume.labels.flags.c_contiguous
    assert volume.name == "case"


def test_every_voxel_keeps_its_place(pair):
    image, _, affine = pair
    volume = read(image)
    stored = nib.load(image).get_fdata(dtype=np.float32)
    for d, h, w in [(0, 0, 0), (1, 2, 3), tuple(n - 1 for n in volume.array.shape[1:])]:
        place = volume.affine @ (w, h, d, 1)
        index = np.linalg.inv(affine) @ place
        np.testing.assert_allclose(index[:3], np.rint(index[:3]), atol=1e-6)
        assert volume.array[0, d, h, w] == stored[tuple(np.rint(index[:3]).astype(int))]


def test_spacing_follows_depth_height_width(pair):
    # The stored order does not matter: depth is the axis that lies closest to superior.
    np.testing.assert_allclose(read(pair[0]).spacing_mm, (3.0, 1.1, 0.8), rtol=1e-5)


def test_oblique_affine_is_kept_whole(pair):
    axes = read(pair[0]).affine[:3, :3]
    assert np.abs(axes - np.diag(np.diag(axes))).max() > 0.05


def test_written_labels_lie_on_the_source_grid(pair, tmp_path):
    image, labels, affine = pair
    volume = read(image, labels)
    write_labels(volume, volume.labels, tmp_path / "out.nii.gz")
    source, written = nib.load(labels), nib.load(tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(written.affine, affine)
    np.testing.assert_array_equal(np.asanyarray(written.dataobj), np.asanyarray(source.dataobj))
    assert written.get_data_dtype() == np.uint8
    for field in ("qform_code", "sform_code", "pixdim", "xyzt_units", "quatern_b", "qoffset_x", "srow_z"):
        np.testing.assert_array_equal(written.header[field], source.header[field])


def test_reread_labels_equal_what_was_written(pair, tmp_path):
    volume = read(pair[0])
    prediction = random_labels(volume.array.shape[1:], seed=5)
    write_labels(volume, prediction, tmp_path / "out.nii")
    again = read_labels(tmp_path / "out.nii")
    np.testing.assert_array_equal(again.labels, prediction)
    np.testing.assert_array_equal(again.array, prediction[np.newaxis])
    np.testing.assert_array_equal(again.affine, volume.affine)
    assert again.spacing_mm == volume.spacing_mm


def test_labels_stored_in_another_orientation_are_matched_in_space(tmp_path):
    image = save_nifti(tmp_path / "i.nii", random_image(SHAPE), oblique_affine("RAS"))
    labels = nib.Nifti1Image(random_labels(SHAPE), oblique_affine("RAS"))
    turned = labels.as_reoriented(np.array([[1, -1], [0, 1], [2, -1]]))
    nib.save(labels, tmp_path / "same.nii")
    nib.save(turned, tmp_path / "turned.nii")
    same, other = read(image, tmp_path / "same.nii"), read(image, tmp_path / "turned.nii")
    np.testing.assert_array_equal(same.labels, other.labels)


@pytest.mark.parametrize("code", ["RAS", "PIR"])
def test_fourth_axis_becomes_channels(code, tmp_path):
    voxels = random_image((*SHAPE, 2))
    volume = read(save_nifti(tmp_path / "two.nii.gz", voxels, oblique_affine(code)))
    assert volume.array.shape[0] == 2
    for channel in range(2):
        one = read(save_nifti(tmp_path / "one.nii.gz", voxels[..., channel], oblique_affine(code)))
        np.testing.assert_array_equal(volume.array[channel], one.array[0])
    write_labels(volume, np.zeros(volume.array.shape[1:], np.uint8), tmp_path / "out.nii.gz")
    written = nib.load(tmp_path / "out.nii.gz")
    assert (
        written.shape == SHAPE
        and written.header.get_zooms() == nib.load(tmp_path / "one.nii.gz").header.get_zooms()
    )


@pytest.mark.parametrize(
    ("units", "factor"), [("mm", 1.0), ("meter", 1000.0), ("micron", 0.001), ("unknown", 1.0)]
)
def test_other_units_become_millimetres_and_come_back(units, factor, tmp_path):
    affine = oblique_affine("LPS")
    path = save_nifti(tmp_path / "i.nii", random_image(SHAPE), affine, units)
    volume = read(path)
    np.testing.assert_allclose(volume.spacing_mm, np.array((3.0, 1.1, 0.8)) * factor, rtol=1e-5)
    write_labels(volume, np.zeros(volume.array.shape[1:], np.uint8), tmp_path / "o.nii")
    written = nib.load(tmp_path / "o.nii")
    np.testing.assert_array_equal(written.affine, affine)
    assert written.header.get_xyzt_units()[0] == volume.native.units == units
    np.testing.assert_allclose(volume.native.zooms, written.header.get_zooms(), rtol=1e-6)


@pytest.mark.parametrize("codes", [(1, 0), (0, 1), (0, 0), (1, 2)])
def test_affine_survives_with_qform_only_sform_only_and_neither(codes, tmp_path):
    image = nib.Nifti1Image(random_image(SHAPE), oblique_affine("LAS"))
    image.header.set_qform(image.affine, code=codes[0])
    image.header.set_sform(image.affine, code=codes[1])
    nib.save(nib.Nifti1Image(random_image(SHAPE), None, image.header), tmp_path / "i.nii.gz")
    volume = read(tmp_path / "i.nii.gz")
    write_labels(volume, random_labels(volume.array.shape[1:]), tmp_path / "o.nii.gz")
    source, written = nib.load(tmp_path / "i.nii.gz"), nib.load(tmp_path / "o.nii.gz")
    np.testing.assert_array_equal(written.affine, source.affine)
    assert (written.header["qform_code"], written.header["sform_code"]) == codes


def test_nifti2_stays_nifti2_and_free_text_is_dropped(tmp_path):
    image = nib.Nifti2Image(random_image(SHAPE), oblique_affine("LPS"))
    image.header["descrip"] = b"name of a person"
    nib.save(image, tmp_path / "i.nii")
    volume = read(tmp_path / "i.nii")
    write_labels(volume, random_labels(volume.array.shape[1:]), tmp_path / "o.nii")
    written = nib.load(tmp_path / "o.nii")
    assert isinstance(written, nib.Nifti2Image) and bytes(written.header["descrip"]).strip(b"\0") == b""


def test_scaled_integers_are_read_with_their_scale(tmp_path):
    image = nib.Nifti1Image(np.arange(np.prod(SHAPE), dtype=np.int16).reshape(SHAPE), oblique_affine("RAS"))
    image.header.set_slope_inter(2.0, -1024.0)
    nib.save(image, tmp_path / "i.nii")
    stored = nib.load(tmp_path / "i.nii")
    volume = read(tmp_path / "i.nii")
    np.testing.assert_array_equal(volume.array[0].transpose(2, 1, 0), stored.get_fdata(dtype=np.float32))
    write_labels(volume, random_labels(volume.array.shape[1:]), tmp_path / "o.nii")
    np.testing.assert_array_equal(
        read_labels(tmp_path / "o.nii").labels, random_labels(volume.array.shape[1:])
    )


def test_the_same_labels_give_the_same_bytes(tmp_path):
    volume = read(save_nifti(tmp_path / "i.nii.gz", random_image(SHAPE), oblique_affine("PIR")))
    prediction = random_labels(volume.array.shape[1:])
    for name in ("a.nii.gz", "b.nii.gz"):
        write_labels(volume, prediction, tmp_path / name)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


@pytest.mark.parametrize(
    ("value", "dtype"), [(True, np.uint8), (255, np.uint8), (256, np.int16), (-1, np.int16)]
)
def test_written_type_is_the_smallest_that_holds_the_labels(value, dtype, tmp_path):
    volume = read(save_nifti(tmp_path / "i.nii", random_image(SHAPE), oblique_affine("RAS")))
    labels = np.zeros(volume.array.shape[1:], dtype=type(value))
    labels[1, 2, 3] = value
    write_labels(volume, labels, tmp_path / "o.nii")
    assert nib.load(tmp_path / "o.nii").get_data_dtype() == dtype
    assert read_labels(tmp_path / "o.nii").labels[1, 2, 3] == value


@pytest.mark.parametrize(
    ("labels", "name", "words"),
    [
        (np.zeros((5, 6, 8), np.uint8), "o.nii.gz", "another shape"),
        (np.zeros((7, 6, 5), np.uint8), "o.nii.gz", "another shape"),
        (np.zeros((5, 6, 7), np.float32), "o.nii.gz", "integers"),
        (np.full((5, 6, 7), 70_000), "o.nii.gz", "16 bits"),
        (np.zeros((5, 6, 7), np.uint8), "o.mha", "how to write"),
    ],
)
def test_bad_output_is_refused_and_nothing_is_written(labels, name, words, tmp_path):
    volume = read(save_nifti(tmp_path / "i.nii", random_image(SHAPE), oblique_affine("RAS")))
    with pytest.raises(InputError, match=words):
        write_labels(volume, labels, tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["i.nii"]


def test_a_write_that_fails_leaves_the_older_file(tmp_path, monkeypatch):
    volume = read(save_nifti(tmp_path / "i.nii", random_image(SHAPE), oblique_affine("RAS")))
    labels = random_labels(volume.array.shape[1:])
    write_labels(volume, labels, tmp_path / "o.nii")
    before = (tmp_path / "o.nii").read_bytes()

    def full(image, path):
        Path(path).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(nib, "save", full)
    with pytest.raises(OSError, match="disk full"):
        write_labels(volume, labels + 1, tmp_path / "o.nii")
    assert (tmp_path / "o.nii").read_bytes() == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["i.nii", "o.nii"]


def test_missing_and_unknown_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="missing"):
        read(tmp_path / "none.nii.gz")
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(InputError, match="not known"):
        read(tmp_path / "notes.txt")
    image = save_nifti(tmp_path / "i.nii", random_image(SHAPE), oblique_affine("RAS"))
    with pytest.raises(InputError, match="missing"):
        read(image, tmp_path / "none.nii.gz")


def test_labels_of_several_channels_are_refused(tmp_path):
    path = save_nifti(tmp_path / "l.nii", np.zeros((*SHAPE, 3), np.uint8), oblique_affine("RAS"))
    with pytest.raises(InputError, match="not a label map"):
        read_labels(path)


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("a.b.nii.gz", "a.b"),
        ("a.nii", "a"),
        ("A.NII.GZ", "A"),
        ("x.mha", "x"),
        ("x.nrrd", "x"),
        ("series_3", "series_3"),
    ],
)
def test_names_lose_their_suffix_only(name, stem):
    assert case_name(Path(name)) == stem


@pytest.mark.real_data
@pytest.mark.parametrize("case", ["hippocampus_001", "hippocampus_175", "hippocampus_394"])
def test_real_cases_come_back_on_their_own_grid(case, tmp_path):
    root = Path(os.environ.get("MEDSEG_DATA", "")) / "Task04_Hippocampus"
    if "MEDSEG_DATA" not in os.environ or not root.is_dir():
        pytest.skip("MEDSEG_DATA does not hold Task04_Hippocampus")
    image, labels = root / "imagesTr" / f"{case}.nii.gz", root / "labelsTr" / f"{case}.nii.gz"
    volume = read(image, labels)
    stored = nib.load(labels)
    assert volume.array.shape == (1, *stored.shape[::-1]) and volume.labels.shape == stored.shape[::-1]
    assert np.unique(volume.labels).tolist() == [0, 1, 2] and volume.spacing_mm == (1.0, 1.0, 1.0)
    write_labels(volume, volume.labels, tmp_path / "out.nii.gz")
    written = nib.load(tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(written.affine, nib.load(image).affine)
    np.testing.assert_array_equal(
        np.asanyarray(written.dataobj), np.asanyarray(stored.dataobj).astype(np.uint8)
    )
    assert written.header.get_xyzt_units() == nib.load(image).header.get_xyzt_units()
