"""The layout of ACDC (Bernard et al. 2018): one folder a patient, two labelled frames of a cine series."""

import re
from pathlib import Path

from medseg.data.catalog import DATASETS, Case, DatasetCard
from medseg.data.nifti import stated_spacing
from medseg.errors import InputError

PATIENT = re.compile(r"patient\d{3}")
FRAME = re.compile(r"patient\d{3}_frame(\d{2,})(?:_gt)?\.nii\.gz")
PHASES = ("ED", "ES")
# What a header says whose spacing was lost: ACDC has no voxel of 1 mm in every direction.
LOST_SPACING = (1.0, 1.0, 1.0)


def is_acdc(folder: Path) -> bool:
    """Whether a folder, or its subfolder training, holds folders of patients."""
    return bool(_patients(folder))


def read_acdc(folder: Path) -> tuple[DatasetCard, list[Case]]:
    """Read ACDC: the official release (training/patientNNN with Info.cfg) or a flat one (patientNNN).

    Cases are frames, named `patient001_frame01`. Which two frames of a patient are labelled, Info.cfg says:
    ED (end-diastole) and ES (end-systole). Where it is missing there must be two frames, the first is taken
    for ED and the second for ES. The series over time, `patientNNN_4d.nii.gz`, is passed over.

    Returns:
        The card of the catalog, with `spacing_known` False where a header says (1, 1, 1), and the cases:
        patients in order, of each ED first.

    Raises:
        InputError: no patients, a frame or its labels missing, not two frames, a malformed Info.cfg, an image
            that cannot be read.
    """
    patients = _patients(Path(folder))
    if not patients:
        raise InputError(
            f"{folder} is not an ACDC folder",
            expected="folders patient001, patient002, ..., there or below training",
            got="none" if Path(folder).is_dir() else "no such folder",
            do="point to the folder that holds training, or the folders of the patients",
        )
    cases = [_case(patient, number) for patient in patients for number in _frames(patient)]
    card = DATASETS["ACDC"]
    if any(stated_spacing(case.image) == LOST_SPACING for case in cases):
        card = card.model_copy(update={"spacing_known": False})
    return card, cases


def _patients(folder: Path) -> list[Path]:
    for place in (folder / "training", folder):
        if place.is_dir():
            found = sorted(p for p in place.iterdir() if PATIENT.fullmatch(p.name) and p.is_dir())
            if found:
                return found
    return []


def _frames(patient: Path) -> list[str]:
    """Numbers of the two labelled frames as the file names have them, ED first."""
    if (patient / "Info.cfg").is_file():
        return _stated_frames(patient)
    matches = (FRAME.fullmatch(path.name) for path in patient.iterdir())
    numbers = sorted({match[1] for match in matches if match}, key=int)
    if len(numbers) != len(PHASES):
        raise InputError(
            f"{patient} does not hold the frames of one patient",
            expected="two frames, end-diastole and end-systole, or an Info.cfg that names them",
            got=", ".join(f"frame{number}" for number in numbers) or "no frame",
            do="restore the missing files, or leave this patient out",
        )
    return numbers


def _stated_frames(patient: Path) -> list[str]:
    path = patient / "Info.cfg"
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    stated = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    numbers = [stated.get(phase, "") for phase in PHASES]
    if not all(number.isdecimal() for number in numbers) or len(set(numbers)) != len(PHASES):
        raise InputError(
            f"{path} does not name the labelled frames",
            expected="lines `ED: number` and `ES: number`, two frames",
            got=", ".join(f"{phase}: {stated.get(phase, 'missing')}" for phase in PHASES),
            do="restore the file from the release",
        )
    return [f"{int(number):02d}" for number in numbers]


def _case(patient: Path, number: str) -> Case:
    name = f"{patient.name}_frame{number}"
    image, labels = patient / f"{name}.nii.gz", patient / f"{name}_gt.nii.gz"
    missing = [path.name for path in (image, labels) if not path.is_file()]
    if missing:
        raise InputError(
            f"files are missing from {patient}",
            expected=f"{name}.nii.gz and {name}_gt.nii.gz",
            got=f"no {' and no '.join(missing)}",
            do="download or unpack the data set again, or leave this patient out",
        )
    return Case(name, image, labels)
