"""Small drawn volumes in the Decathlon layout, for smoke runs and tests (what is drawn: medseg.data.anatomy).

Spacing is anisotropic and the affine oblique; the stored axis order differs from case to case. The MRI-like
kind has a bias field, Rician noise and an arbitrary scale for each case; the CT-like kind is in HU with
Gaussian noise. Intensities are a function of the tissue, so the ambiguity of the anatomy stays.
"""

import json
import os
import shutil
import tempfile
from pathlib import Path
from typing import Literal

import nibabel as nib
import numpy as np
from scipy.ndimage import gaussian_filter
from scipy.spatial.transform import Rotation

from medseg.data.anatomy import SHAPE, anatomy
from medseg.data.catalog import DATASETS
from medseg.errors import InputError
from medseg.files import make_folder

ORIENTATIONS = ("LPS", "RAS", "PIR", "LAS", "SRA", "RPI")

# One level for each tissue of the anatomy: air, body, organ, vessel.
_HU = (-1000.0, -90.0, 50.0, 150.0)
_SIGNAL = (0.0, 0.25, 0.55, 0.9)


def phantom(
    seed: int, index: int, modality: Literal["ct", "mri"] = "mri"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image, labels and affine of one case, as they are stored.

    Args:
        seed: of the whole set.
        index: number of the case in it.
        modality: "mri" or "ct"; both have the same anatomy.

    Returns:
        Image float32 and labels uint8 with axes x, y, z in the stored orientation (48, 40 and 16 voxels along
        the canonical axes), and the 4x4 affine from stored indices to RAS millimetres.

    Raises:
        InputError: an unknown modality.

    >>> image, labels, affine = phantom(seed=0, index=1)
    >>> image.shape, "".join(nib.aff2axcodes(affine))
    ((48, 40, 16), 'RAS')
    """
    if modality not in ("ct", "mri"):
        raise InputError(
            "unknown modality", expected="ct or mri", got=str(modality), do="choose one of the two"
        )
    parts = anatomy(seed, index)
    rng = np.random.default_rng([seed, index, 1])
    affine = _affine(rng)
    draw = _draw_ct if modality == "ct" else _draw_mri
    image = draw(np.random.default_rng([seed, index, 2]), parts.tissue).astype(np.float32)
    code = ORIENTATIONS[index % len(ORIENTATIONS)]
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(code)
    )
    stored = affine @ nib.orientations.inv_ornt_aff(turn, SHAPE)
    image, labels = (
        np.ascontiguousarray(nib.orientations.apply_orientation(voxels, turn))
        for voxels in (image, parts.labels)
    )
    # NIfTI keeps the affine in 32 bits: round here, so that what is returned is what a file gives back.
    return image, labels, stored.astype(np.float32).astype(np.float64)


def _affine(rng: np.random.Generator) -> np.ndarray:
    axis = rng.normal(size=3)
    turn = Rotation.from_rotvec(np.deg2rad(rng.uniform(3.0, 9.0)) * axis / np.linalg.norm(axis)).as_matrix()
    spacing_mm = np.array([1.0, 1.0, rng.uniform(2.5, 4.0)])
    affine = np.eye(4)
    affine[:3, :3] = turn * spacing_mm
    affine[:3, 3] = -affine[:3, :3] @ (np.array(SHAPE) / 2) + rng.uniform(-30.0, 30.0, size=3)
    return affine


def _blurred(levels: np.ndarray, tissue: np.ndarray) -> np.ndarray:
    # In the slice only: a blur across slices would let a nodule's last slice give itself away.
    return gaussian_filter(levels[tissue], sigma=(0.6, 0.6, 0.0), truncate=3.0)


def _draw_ct(rng: np.random.Generator, tissue: np.ndarray) -> np.ndarray:
    levels = np.array(_HU) + np.array([0.0, 1.0, 1.0, 1.0]) * rng.uniform(-10.0, 10.0, size=4)
    image = _blurred(levels, tissue) + rng.normal(0.0, 15.0, size=SHAPE)
    return np.clip(np.rint(image), -1024.0, 3071.0)


def _draw_mri(rng: np.random.Generator, tissue: np.ndarray) -> np.ndarray:
    levels = np.array(_SIGNAL) * rng.uniform(0.93, 1.07, size=4)
    x, y, z = np.meshgrid(*[np.linspace(-1.0, 1.0, n) for n in SHAPE], indexing="ij")
    slopes, curves = rng.uniform(-0.15, 0.15, size=3), rng.uniform(-0.1, 0.1, size=3)
    bias = np.exp(
        slopes @ np.stack([x, y, z]).reshape(3, -1) + curves @ np.stack([x, y, z]).reshape(3, -1) ** 2
    )
    clean = _blurred(levels, tissue) * bias.reshape(SHAPE)
    real, imaginary = rng.normal(0.0, 0.03, size=(2, *SHAPE))
    scale = 10.0 ** rng.uniform(0.0, 6.0)
    return scale * np.hypot(clean + real, imaginary)


def write_phantoms(folder: Path, cases: int, seed: int, modality: Literal["ct", "mri"] = "mri") -> None:
    """Write phantoms in the Decathlon layout; the folder appears when all of it is written.

    Args:
        folder: new or empty. Named "Phantom" (mri) or "PhantomCT" (ct) it is known to the catalog.
        cases: number of cases, at least one.
        seed: of the set.
        modality: "mri" or "ct".

    Raises:
        InputError: the folder has something in it, no cases are asked for, or an unknown modality.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(
            f"{folder} is not empty",
            expected="a new or empty folder",
            got="existing files",
            do="choose another",
        )
    if cases < 1:
        raise InputError(
            "no phantoms asked for", expected="at least one case", got=str(cases), do="ask for more"
        )
    make_folder(folder.parent)
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        _write(work / "done", cases, seed, modality)
        os.replace(work / "done", folder)
    finally:
        shutil.rmtree(work)


def _write(folder: Path, cases: int, seed: int, modality: Literal["ct", "mri"]) -> None:
    card = DATASETS["PhantomCT" if modality == "ct" else "Phantom"]
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    entries = []
    for index in range(cases):
        image, labels, affine = phantom(seed, index, modality)
        entry = {
            "image": f"./imagesTr/phantom_{index:03d}.nii.gz",
            "label": f"./labelsTr/phantom_{index:03d}.nii.gz",
        }
        for voxels, name in ((image, entry["image"]), (labels, entry["label"])):
            file = nib.Nifti1Image(voxels, affine)
            file.header.set_xyzt_units("mm")
            nib.save(file, folder / name)
        entries.append(entry)
    facts = {
        "name": card.title,
        "description": f"{cases} phantoms, seed {seed}",
        "reference": card.citation,
        "licence": card.licence,
        "tensorImageSize": "3D",
        "modality": {str(number): channel for number, channel in enumerate(card.channels)},
        "labels": {str(value): name for value, name in card.labels.items()},
        "numTraining": cases,
        "numTest": 0,
        "training": entries,
        "test": [],
    }
    (folder / "dataset.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
