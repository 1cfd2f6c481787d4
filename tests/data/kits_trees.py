"""Tiny trees in exactly the official layout of KiTS19, with the affine that its publisher states."""

import numpy as np
from spaces import save_nifti

# Slices first. Spacing of its branch of interpolated cases: 3 mm between slices, 0.78 mm in the plane.
SHAPE = (5, 7, 6)
AFFINE = np.array([[0, 0, -0.78162497, 0], [0, -0.78162497, 0, 0], [-3.0, 0, 0, 0], [0, 0, 0, 1]])


def voxels(slices_first):
    """Intensities that say where they are stored: 100 slice + 10 row + column."""
    s, r, c = np.indices(slices_first)
    return (100 * s + 10 * r + c).astype(np.float32)


def kits(folder, numbers=(0, 1, 209), unlabelled=(210,), shape=SHAPE):
    for number in (*numbers, *unlabelled):
        place = folder / "data" / f"case_{number:05d}"
        place.mkdir(parents=True)
        save_nifti(place / "imaging.nii.gz", voxels(shape), AFFINE)
        if number in numbers:
            labels = np.random.default_rng(number).integers(0, 3, shape).astype(np.uint8)
            save_nifti(place / "segmentation.nii.gz", labels, AFFINE)
    (folder / "data" / "kits.json").write_text("[]")
    return folder
