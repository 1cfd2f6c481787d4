"""Phantoms: seeded, anisotropic, oblique, stored in varied orders, in a folder that is whole or not there."""

import hashlib
import json

import jaxtyping
import nibabel as nib
import numpy as np
import pytest

from medseg.data import phantoms
from medseg.data.anatomy import SHAPE, VESSEL, anatomy
from medseg.data.checks import check_pair
from medseg.data.layouts import read_msd
from medseg.data.native import from_nifti
from medseg.data.phantoms import phantom, write_phantoms
from medseg.data.volume import read
from medseg.errors import InputError


def canonical(voxels, affine):
    """Stored x y z to canonical x y z."""
    return nib.orientations.apply_orientation(voxels, nib.io_orientation(affine))


@pytest.mark.parametrize("modality", ["ct", "mri"])
def test_same_seed_gives_the_same_bytes(modality):
    first, second = phantom(3, 2, modality), phantom(3, 2, modality)
    assert all(a.tobytes() == b.tobytes() and a.dtype == b.dtype for a, b in zip(first, second, strict=True))
    assert first[0].tobytes() != phantom(4, 2, modality)[0].tobytes()
    assert first[0].dtype == np.float32 and first[1].dtype == np.uint8 and first[2].dtype == np.float64


def test_both_modalities_show_the_same_anatomy():
    ct, mri = phantom(0, 1, "ct"), phantom(0, 1, "mri")
    np.testing.assert_array_equal(ct[1], mri[1])
    np.testing.assert_array_equal(ct[2], mri[2])


def test_affines_are_oblique_anisotropic_and_turned():
    codes = set()
    for index in range(6):
        image, labels, affine = phantom(0, index)
        codes.add("".join(nib.aff2axcodes(affine)))
        assert image.shape == labels.shape
        space = from_nifti(nib.Nifti1Image(image, affine).header, affine, image.shape)
        axes = space.canonical_affine[:3, :3]
        spacing_mm = np.linalg.norm(axes, axis=0)
        np.testing.assert_allclose(spacing_mm[:2], 1.0, rtol=1e-6)
        assert 2.5 <= spacing_mm[2] <= 4.0
        cosines = axes / spacing_mm
        np.testing.assert_allclose(cosines.T @ cosines, np.eye(3), atol=1e-6)
        assert np.abs(cosines - np.eye(3)).max() > 0.01
        assert space.to_canonical(image).shape == (1, *SHAPE[::-1])
    assert len(codes) == 6 and {"RAS", "LPS", "PIR"} <= codes


def test_labels_are_the_anatomy_in_stored_order():
    for index in range(6):
        _, labels, affine = phantom(5, index)
        np.testing.assert_array_equal(canonical(labels, affine), anatomy(5, index).labels)


@pytest.mark.parametrize("index", range(6))
def test_intensity_does_not_tell_vessel_from_nodule(index):
    image, labels, affine = phantom(0, index, "ct")
    parts = anatomy(0, index)
    image = canonical(image, affine)
    assert image.min() >= -1024 and abs(image[:2, :2].mean() + 1000) < 15  # air, in HU
    vessel, nodule = (image[(parts.tissue == VESSEL) & (parts.labels == value)] for value in (2, 3))
    # Two samples of one distribution: their means agree within 4 standard errors.
    error = np.sqrt(vessel.var() / vessel.size + nodule.var() / nodule.size)
    assert abs(vessel.mean() - nodule.mean()) < 4 * error


def test_mri_scales_differ_wildly():
    highest = [phantom(0, index, "mri")[0].max() for index in range(8)]
    assert max(highest) / min(highest) > 100


def test_written_folder_reads_back_as_the_phantom_card(tmp_path):
    write_phantoms(tmp_path / "Phantom", cases=3, seed=11)
    card, cases = read_msd(tmp_path / "Phantom")
    assert card.name == "Phantom" and [case.id for case in cases] == [f"phantom_{i:03d}" for i in range(3)]
    for index, case in enumerate(cases):
        volume = read(case.image, case.labels)
        check_pair(volume, card)
        image, labels, affine = phantom(11, index)
        np.testing.assert_array_equal(volume.native.affine, affine)
        np.testing.assert_array_equal(volume.native.to_native(volume.array[0]), image)
        np.testing.assert_array_equal(volume.native.to_native(volume.labels), labels)
        assert volume.array.shape == (1, 16, 40, 48) and volume.native.units == "mm"
    assert [path.name for path in tmp_path.iterdir()] == ["Phantom"]


def test_ct_phantoms_get_the_window(tmp_path):
    write_phantoms(tmp_path / "PhantomCT", cases=1, seed=0, modality="ct")
    card, _ = read_msd(tmp_path / "PhantomCT")
    assert card.name == "PhantomCT" and card.window == (-175.0, 250.0)


def test_the_same_seed_writes_the_same_files(tmp_path):
    digests = []
    for name in ("a", "b"):
        write_phantoms(tmp_path / name, cases=2, seed=1)
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        digests.append([(p.name, hashlib.sha256(p.read_bytes()).hexdigest()) for p in files])
    assert digests[0] == digests[1] and len(digests[0]) == 5
    assert json.loads((tmp_path / "a" / "dataset.json").read_text())["numTraining"] == 2


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "own.txt").write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        write_phantoms(tmp_path, cases=1, seed=0)
    assert [path.name for path in tmp_path.iterdir()] == ["own.txt"]


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "new").mkdir()
    write_phantoms(tmp_path / "new", cases=1, seed=0)
    assert (tmp_path / "new" / "dataset.json").is_file()


def test_nothing_is_left_when_writing_fails(tmp_path, monkeypatch):
    def full(seed, index, modality):
        if index == 1:
            raise OSError("disk full")
        return phantom(seed, index, modality)

    monkeypatch.setattr(phantoms, "phantom", full)
    with pytest.raises(OSError, match="disk full"):
        write_phantoms(tmp_path / "Phantom", cases=2, seed=0)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("arguments", [{"cases": 0}, {"cases": 1, "modality": "pet"}])
def test_bad_arguments_are_refused(tmp_path, monkeypatch, arguments):
    # Without the type check of the tests, as a caller has it.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    with pytest.raises(InputError):
        write_phantoms(tmp_path / "x", seed=0, **arguments)
    assert list(tmp_path.iterdir()) == []
