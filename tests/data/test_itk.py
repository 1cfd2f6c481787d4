"""MetaImage, NRRD and DICOM: LPS becomes RAS, labels go back onto the same grid, gaps are refused."""

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from scipy.spatial.transform import Rotation
from spaces import random_labels

from medseg.data.itk import load_dicom
from medseg.data.volume import read, read_labels, write_labels
from medseg.errors import InputError

SIZE = (7, 6, 5)  # x, y, z
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
TURNS = {
    "axial": np.eye(3),
    "oblique": Rotation.from_euler("xyz", [6.0, -9.0, 12.0], degrees=True).as_matrix(),
    "coronal": np.array([[1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]])
    @ Rotation.from_euler("xyz", [3.0, 4.0, -5.0], degrees=True).as_matrix(),
}


def make_image(turn, voxels=None):
    voxels = (
        np.random.default_rng(0).integers(-1000, 2000, SIZE[::-1]).astype(np.int16)
        if voxels is None
        else voxels
    )
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing((0.7, 0.9, 3.0))
    image.SetOrigin((10.0, -20.0, 30.5))
    image.SetDirection(turn.ravel().tolist())
    return image


def ras_affine(image):
    """Affine from what SimpleITK states, through its own index to point function."""
    affine = np.eye(4)
    origin = np.array(image.TransformIndexToPhysicalPoint((0, 0, 0)))
    for axis in range(3):
        step = [int(axis == other) for other in range(3)]
        affine[:3, axis] = np.array(image.TransformIndexToPhysicalPoint(step)) - origin
    affine[:3, 3] = origin
    return LPS_TO_RAS @ affine


def write_dicom(image, folder, series="1.2.3.4", first=0):
    folder.mkdir(exist_ok=True)
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for k in range(image.GetSize()[2]):
        part = image[:, :, k : k + 1]
        tags = {"0020|000d": "1.2.3", "0020|000e": series, "0008|0060": "CT", "0020|0013": str(k)}
        for tag, value in {**tags, "0008|0018": f"{series}.{k}"}.items():
            part.SetMetaData(tag, value)
        writer.SetFileName(str(folder / f"{first + k:03d}.dcm"))
        writer.Execute(part)
    return folder


def write(image, kind, tmp_path):
    if kind == "dicom":
        return write_dicom(image, tmp_path / "series")
    path = tmp_path / f"scan.{kind}"
    sitk.WriteImage(image, str(path))
    return path


@pytest.mark.parametrize("kind", ["mha", "nrrd", "dicom"])
@pytest.mark.parametrize("turn", TURNS)
def test_voxels_and_affine_are_what_simpleitk_states(kind, turn, tmp_path):
    image = make_image(TURNS[turn])
    volume = read(write(image, kind, tmp_path))
    np.testing.assert_allclose(volume.native.affine, ras_affine(image), atol=1e-5)
    stored = volume.native.to_native(volume.array[0])
    np.testing.assert_array_equal(stored, sitk.GetArrayFromImage(image).transpose(2, 1, 0))
    assert volume.native.units == "mm" and sorted(volume.spacing_mm) == pytest.approx(
        [0.7, 0.9, 3.0], rel=1e-5
    )
    assert volume.name == ("series" if kind == "dicom" else "scan")
    assert (np.diag(volume.affine)[:3] > 0).all()


@pytest.mark.parametrize("kind", ["mha", "nrrd", "dicom"])
@pytest.mark.parametrize("turn", TURNS)
def test_exported_labels_lie_on_the_source_grid(kind, turn, tmp_path):
    image = make_image(TURNS[turn])
    volume = read(write(image, kind, tmp_path))
    prediction = random_labels(volume.array.shape[1:])
    write_labels(volume, prediction, tmp_path / "out.nii.gz")
    # Read by the other library: the same physical grid, in its own LPS words.
    written = sitk.ReadImage(str(tmp_path / "out.nii.gz"))
    assert written.GetSize() == image.GetSize()
    np.testing.assert_allclose(ras_affine(written), ras_affine(image), atol=1e-4)
    again = read_labels(tmp_path / "out.nii.gz")
    np.testing.assert_array_equal(again.labels, prediction)
    np.testing.assert_allclose(again.affine, volume.affine, atol=1e-4)


def test_nifti_and_metaimage_of_one_scan_agree(tmp_path):
    image = make_image(TURNS["oblique"])
    sitk.WriteImage(image, str(tmp_path / "a.mha"))
    sitk.WriteImage(image, str(tmp_path / "a.nii.gz"))
    first, second = read(tmp_path / "a.mha"), read(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(first.array, second.array)
    np.testing.assert_allclose(first.affine, second.affine, atol=1e-4)


def test_labels_may_have_another_format_than_the_image(tmp_path):
    image = make_image(TURNS["oblique"])
    labels = sitk.GetImageFromArray(random_labels(SIZE[::-1]))
    labels.CopyInformation(image)
    sitk.WriteImage(image, str(tmp_path / "i.mha"))
    sitk.WriteImage(labels, str(tmp_path / "l.nii.gz"))
    assert read(tmp_path / "i.mha", tmp_path / "l.nii.gz").labels.shape == (5, 6, 7)


def test_vector_voxels_and_a_fourth_axis_become_channels(tmp_path):
    voxels = np.random.default_rng(0).normal(size=(2, *SIZE[::-1])).astype(np.float32)
    vector = sitk.GetImageFromArray(np.moveaxis(voxels, 0, -1).copy(), isVector=True)
    sitk.WriteImage(vector, str(tmp_path / "v.mha"))
    sitk.WriteImage(sitk.GetImageFromArray(voxels, isVector=False), str(tmp_path / "t.nrrd"))
    first, second = read(tmp_path / "v.mha"), read(tmp_path / "t.nrrd")
    assert first.array.shape == (2, 5, 6, 7)
    np.testing.assert_array_equal(first.array, second.array)


def test_a_missing_slice_is_refused_without_a_word_on_standard_error(tmp_path, capfd):
    folder = write_dicom(make_image(np.eye(3)), tmp_path / "series")
    (folder / "002.dcm").unlink()
    with pytest.raises(InputError, match="not evenly stacked") as caught:
        read(folder)
    assert "3.000 to 6.000 mm" in caught.value.got
    assert capfd.readouterr() == ("", "")


def test_a_tilted_gantry_is_refused(tmp_path):
    folder = tmp_path / "series"
    image = make_image(np.eye(3))
    for k in range(SIZE[2]):
        part = make_image(np.eye(3), sitk.GetArrayFromImage(image)[k : k + 1])
        part.SetOrigin((10.0, -20.0 + 0.8 * k, 30.5 + 3.0 * k))
        part.SetMetaData("0020|0013", str(k))
        folder.mkdir(exist_ok=True)
        for tag, value in {"0020|000d": "1.2", "0020|000e": "1.2.5", "0008|0018": f"1.2.5.{k}"}.items():
            part.SetMetaData(tag, value)
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(str(folder / f"{k}.dcm"))
        writer.Execute(part)
    with pytest.raises(InputError, match="not evenly stacked"):
        load_dicom(folder)


def test_two_series_or_none_are_refused(tmp_path, capfd):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="exactly one") as caught:
        read(tmp_path / "empty")
    assert caught.value.got == "0 series"
    folder = write_dicom(make_image(np.eye(3)), tmp_path / "both")
    write_dicom(make_image(np.eye(3)), folder, series="1.2.9", first=50)
    with pytest.raises(InputError, match="exactly one") as caught:
        read(folder)
    assert caught.value.got == "2 series"
    assert capfd.readouterr() == ("", "")


def test_damaged_and_flat_files_are_refused(tmp_path):
    (tmp_path / "x.mha").write_bytes(b"not a scan")
    (tmp_path / "x.nrrd").write_bytes(b"")
    for name in ("x.mha", "x.nrrd"):
        with pytest.raises(InputError, match="cannot be read"):
            read(tmp_path / name)
    sitk.WriteImage(make_image(np.eye(3)), str(tmp_path / "cut.mha"))
    whole = (tmp_path / "cut.mha").read_bytes()
    (tmp_path / "cut.mha").write_bytes(whole[:-100])
    with pytest.raises(InputError, match="cannot be read"):
        read(tmp_path / "cut.mha")
    sitk.WriteImage(sitk.GetImageFromArray(np.ones((4, 5), np.float32)), str(tmp_path / "flat.mha"))
    with pytest.raises(InputError, match="not a volume"):
        read(tmp_path / "flat.mha")


def test_orientation_codes_are_named(tmp_path):
    volume = read(write(make_image(np.eye(3)), "mha", tmp_path))
    assert volume.native.orientation == "LPS" == "".join(nib.aff2axcodes(volume.native.affine))
