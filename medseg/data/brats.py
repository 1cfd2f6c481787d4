"""The layouts of BraTS 2019 and 2020 (Menze et al. 2015): one folder a patient, one file a modality."""

import re
from pathlib import Path

from medseg.data.catalog import DATASETS, Case, DatasetCard
from medseg.data.nifti import SUFFIXES
from medseg.errors import InputError

PATIENT = re.compile(r"BraTS(19|20)_\w+")
# In the order of the card's channels, in which TransBTS (Med-Tuning trains on its files) stacks them.
MODALITIES = ("flair", "t1ce", "t1", "t2")
TRAINING = ("MICCAI_BraTS_2019_Data_Training", "MICCAI_BraTS2020_TrainingData")
# Label files that the publisher named otherwise.
OTHER_LABEL_NAMES = {"BraTS20_Training_355": "W39_1998.09.19_Segm.nii"}


def is_brats(folder: Path) -> bool:
    """Whether a folder holds patients of BraTS 2019 or 2020, in its folder of training data or at hand."""
    return bool(_patients(folder))


def read_brats(folder: Path) -> tuple[DatasetCard, list[Case]]:
    """Read the training data of BraTS 2019 (folders HGG and LGG) or BraTS 2020 (no such folders).

    Files end in .nii or .nii.gz. `folder` is the one that holds the patients, HGG and LGG, or the official
    folder (`TRAINING`). The label file of BraTS20_Training_355, published under another name, is found.

    Returns:
        The card of the release and the cases by name, the four modalities in the order of the card.

    Raises:
        InputError: no patients, both releases in one folder, a patient twice, files missing (also for a
            folder of validation data, whose labels are not public: see `brats_patient`).
    """
    folder = Path(folder)
    patients = _patients(folder)
    years = {patient.name[:7] for patient in patients}
    names = {patient.name for patient in patients}
    if len(years) != 1 or len(names) != len(patients):
        raise InputError(
            f"{folder} is not a folder of one release of BraTS",
            expected="folders BraTS19_... (there or in HGG and LGG) or BraTS20_Training_001, ..., each once",
            got=f"{len(patients)} patients, {len(names)} different, of {len(years)} releases",
            do=f"point to {' or '.join(TRAINING)}",
        )
    (year,) = years
    return DATASETS[f"BraTS20{year[-2:]}"], [_case(patient, labelled=True) for patient in patients]


def brats_patient(folder: Path) -> Case | None:
    """The four modalities in the folder of one patient, labelled or not; None where it is no such folder.

    Raises:
        InputError: a modality is missing.
    """
    folder = Path(folder)
    return _case(folder, labelled=False) if PATIENT.fullmatch(folder.name) and folder.is_dir() else None


def _patients(folder: Path) -> list[Path]:
    roots = [folder, *(folder / name for name in TRAINING)]
    places = [place for root in roots for place in (root, root / "HGG", root / "LGG") if place.is_dir()]
    found = (p for place in places for p in place.iterdir() if PATIENT.fullmatch(p.name) and p.is_dir())
    return sorted(found, key=lambda patient: patient.name)


def _file(patient: Path, part: str) -> Path | None:
    paths = (patient / f"{patient.name}_{part}{suffix}" for suffix in SUFFIXES)
    return next((path for path in paths if path.is_file()), None)


def _labels(patient: Path) -> Path | None:
    other = patient / OTHER_LABEL_NAMES.get(patient.name, "")
    return _file(patient, "seg") or (other if other.is_file() else None)


def _case(patient: Path, labelled: bool) -> Case:
    found = {modality: _file(patient, modality) for modality in MODALITIES}
    labels = _labels(patient) if labelled else None
    missing = [part for part, path in found.items() if path is None]
    missing += ["seg"] if labelled and labels is None else []
    if missing:
        raise InputError(
            f"files are missing from {patient}",
            expected=f"{patient.name}_{{{','.join((*MODALITIES, 'seg') if labelled else MODALITIES)}}}"
            f" with {' or '.join(SUFFIXES)}",
            got=f"no {' and no '.join(missing)}",
            do="unpack the data set again, or leave this patient out; validation data have no seg",
        )
    image, *more = (path for path in found.values() if path is not None)
    return Case(patient.name, image, labels, tuple(more))
