"""Tiny trees in exactly the official layouts of BraTS 2019 and 2020."""

import numpy as np
from spaces import save_nifti

SHAPE = (7, 6, 5)
# BraTS: 1 mm, the first two axes towards left and posterior, the last voxel of the second at the origin.
AFFINE = np.array([[-1.0, 0, 0, 0], [0, -1, 0, 239], [0, 0, 1, 0], [0, 0, 0, 1]])
# Each modality at another level, so that an order of channels is seen.
LEVELS = {"flair": 100, "t1ce": 200, "t1": 300, "t2": 400}
FOLDER_2019, FOLDER_2020 = "MICCAI_BraTS_2019_Data_Training", "MICCAI_BraTS2020_TrainingData"
NAMES_2019 = {"HGG": ("BraTS19_2013_2_1", "BraTS19_CBICA_AAB_1"), "LGG": ("BraTS19_TCIA09_141_1",)}


def patient(place, name, suffix=".nii.gz", labels=True, shape=SHAPE):
    """One patient: four modalities and, of the training data, the labels."""
    folder = place / name
    folder.mkdir(parents=True)
    rng = np.random.default_rng(len(name))
    for modality, level in LEVELS.items():
        voxels = (level + rng.integers(0, 50, shape)).astype(np.int16)
        save_nifti(folder / f"{name}_{modality}{suffix}", voxels, AFFINE)
    if labels:
        voxels = rng.choice([0, 1, 2, 4], shape).astype(np.uint8)
        save_nifti(folder / f"{name}_seg{suffix}", voxels, AFFINE)
    return folder


def brats_2019(folder, suffix=".nii.gz", names=NAMES_2019, shape=SHAPE):
    for grade, of_grade in names.items():
        for name in of_grade:
            patient(folder / FOLDER_2019 / grade, name, suffix, shape=shape)
    (folder / FOLDER_2019 / "name_mapping.csv").write_text("Grade\n")
    return folder


def brats_2020(folder, suffix=".nii", numbers=(1, 2, 355), shape=SHAPE):
    """Case 355 has its labels under the name that they were published with."""
    for number in numbers:
        name = f"BraTS20_Training_{number:03d}"
        place = patient(folder / FOLDER_2020, name, suffix, shape=shape)
        if number == 355:
            (place / f"{name}_seg{suffix}").rename(place / "W39_1998.09.19_Segm.nii")
    (folder / FOLDER_2020 / "survival_info.csv").write_text("Brats20ID\n")
    return folder
