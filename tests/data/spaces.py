"""Oblique, anisotropic grids for the tests of reading and writing."""

import nibabel as nib
import numpy as np
from scipy.spatial.transform import Rotation

ORIENTATIONS = ("RAS", "LPS", "PIR", "LAS", "SAR", "IPL", "ALS")


def oblique_affine(
    code: str, shape=(7, 6, 5), spacing=(0.8, 1.1, 3.0), degrees=(5.0, -8.0, 11.0)
) -> np.ndarray:
    """4x4 affine of a grid stored in orientation `code`, turned by small angles; exact in 32 bits."""
    turned = Rotation.from_euler("xyz", degrees, degrees=True).as_matrix()
    affine = np.eye(4)
    affine[:3, :3] = turned * spacing
    affine[:3, 3] = (-31.25, 12.5, 40.75)
    turn = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(code)
    )
    stored = affine @ nib.orientations.inv_ornt_aff(turn, shape)
    return stored.astype(np.float32).astype(np.float64)


def random_image(shape, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def random_labels(shape, seed=1) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 4, size=shape).astype(np.uint8)


def save_nifti(path, voxels, affine, units="mm"):
    image = nib.Nifti1Image(voxels, affine)
    image.header.set_xyzt_units(units)
    nib.save(image, path)
    return path
