"""The space a file is stored in, and the way from there to the canonical grid and back."""

from dataclasses import dataclass

import nibabel as nib
import numpy as np

_UNITS_MM = {"unknown": 1.0, "mm": 1.0, "meter": 1000.0, "micron": 0.001}
_GEOMETRY_FIELDS = (
    *("xyzt_units", "qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d"),
    *("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"),
)
_CANONICAL = np.array([[0, 1], [1, 1], [2, 1]])


@dataclass(frozen=True, eq=False)
class NativeSpace:
    """Grid of the source file: what is needed to write a label map that lies exactly on it.

    Attributes:
        shape: voxels along the three stored axes.
        affine: 4x4 float64, from stored voxel indices to RAS, in the file's own unit.
        header: a NIfTI header that holds the geometry fields only, copied bit for bit from a NIfTI source
            (no description, no dates, no names of people).
    """

    shape: tuple[int, int, int]
    affine: np.ndarray
    header: nib.Nifti1Header

    @property
    def orientation(self) -> str:
        """Three letters, the direction in which each stored axis grows, "LPS" for example."""
        return "".join(nib.orientations.aff2axcodes(self.affine))

    @property
    def units(self) -> str:
        """Spatial unit as the file states it: mm, meter, micron or unknown (taken as mm)."""
        return self.header.get_xyzt_units()[0]

    @property
    def zooms(self) -> tuple[float, float, float]:
        """Voxel size along the three stored axes, in the file's own unit."""
        x, y, z = nib.affines.voxel_sizes(self.affine)
        return float(x), float(y), float(z)

    @property
    def canonical_affine(self) -> np.ndarray:
        """4x4 float64, from canonical (RAS-ordered x, y, z) voxel indices to RAS millimetres."""
        to_native = nib.orientations.inv_ornt_aff(nib.orientations.io_orientation(self.affine), self.shape)
        millimetres = np.diag([_UNITS_MM[self.units]] * 3 + [1.0])
        return millimetres @ self.affine @ to_native

    def to_canonical(self, voxels: np.ndarray) -> np.ndarray:
        """Stored order (x y z or x y z c) to C D H W, depth towards superior; values are untouched."""
        voxels = voxels[..., np.newaxis] if voxels.ndim == 3 else voxels
        ordered = nib.orientations.apply_orientation(voxels, nib.orientations.io_orientation(self.affine))
        return np.ascontiguousarray(ordered.transpose(3, 2, 1, 0))

    def to_native(self, voxels_dhw: np.ndarray) -> np.ndarray:
        """Canonical D H W back to the stored axis order and directions: the inverse of `to_canonical`."""
        stored = nib.orientations.io_orientation(self.affine)
        back = nib.orientations.ornt_transform(_CANONICAL, stored)
        return np.ascontiguousarray(nib.orientations.apply_orientation(voxels_dhw.transpose(2, 1, 0), back))


def from_nifti(header: nib.Nifti1Header, affine: np.ndarray, shape: tuple[int, int, int]) -> NativeSpace:
    """Native space of a NIfTI file; a NIfTI-2 source stays NIfTI-2."""
    geometry = type(header)()
    for field in _GEOMETRY_FIELDS:
        geometry[field] = header[field]
    geometry["pixdim"][:4] = header["pixdim"][:4]
    return NativeSpace(shape, np.asarray(affine, dtype=np.float64), geometry)


def from_affine(affine: np.ndarray, shape: tuple[int, int, int]) -> NativeSpace:
    """Native space of a file of another format, from its RAS affine in millimetres."""
    geometry = nib.Nifti1Header()
    geometry.set_data_shape(shape)
    geometry.set_qform(affine, code="scanner")
    geometry.set_sform(affine, code="scanner")
    geometry.set_xyzt_units("mm")
    return NativeSpace(shape, np.asarray(affine, dtype=np.float64), geometry)
