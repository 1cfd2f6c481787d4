"""Tiny trees in exactly ACDC's official layout, with and without Info.cfg."""

import nibabel as nib
import numpy as np

SHAPE = (7, 6, 3)
# The real ones: about 1.5 mm in the plane, 5 to 10 mm between slices.
SPACING = (1.5, 1.5, 10.0)


def save(array_xyz, path, spacing=SPACING):
    image = nib.Nifti1Image(array_xyz, np.diag([*spacing, 1.0]))
    image.header.set_xyzt_units("unknown" if spacing == (1, 1, 1) else "mm")
    nib.save(image, path)


def patient(folder, number, frames=(1, 12), info=True, spacing=SPACING, top_label=3):
    """One patient: two labelled frames and, in the official release, Info.cfg and the series over time."""
    name = f"patient{number:03d}"
    place = folder / name
    place.mkdir(parents=True)
    rng = np.random.default_rng(number)
    for frame in frames:
        stem = f"{name}_frame{frame:02d}"
        save(rng.integers(0, 200, SHAPE).astype(np.int16), place / f"{stem}.nii.gz", spacing)
        labels = rng.integers(0, 4, SHAPE).astype(np.uint8)
        labels[0, 0, 0] = top_label
        save(labels, place / f"{stem}_gt.nii.gz", spacing)
    if info:
        save(rng.integers(0, 200, (*SHAPE, 2)).astype(np.int16), place / f"{name}_4d.nii.gz")
        ed, es = frames[0], frames[-1]
        text = f"ED: {ed}\nES: {es}\nGroup: DCM\nHeight: 184.0\nNbFrame: 30\nWeight: 95.0\n"
        (place / "Info.cfg").write_text(text)
    return place


def official(folder, numbers=(1, 2, 3, 4), **how):
    """A folder ACDC with training/patientNNN."""
    for number in numbers:
        patient(folder / "training", number, **how)
    return folder


def flat(folder, numbers=(1, 2, 3, 4)):
    """The flat release: no Info.cfg, no series over time, spacing lost."""
    for number in numbers:
        patient(folder, number, info=False, spacing=(1, 1, 1))
    return folder
