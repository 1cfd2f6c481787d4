"""The layout of KiTS19 (Heller et al. 2021): data/case_00000 with imaging.nii.gz and segmentation.nii.gz.

The first stored axis is the slice. The affine says so, so the volume is read like any other. The files first
published, early in 2019, had a diagonal affine, which states another orientation: fetch such a copy again.
"""

import re
from pathlib import Path

from medseg.data.catalog import DATASETS, Case, DatasetCard
from medseg.data.nifti import SUFFIXES
from medseg.errors import InputError

CASE = re.compile(r"case_(\d{5})")
IMAGE, LABELS = "imaging.nii.gz", "segmentation.nii.gz"
# case_00000 to case_00209 have public labels, the other 90 of the 300 have none.
LABELLED_CASES = 210


def is_kits(folder: Path) -> bool:
    """Whether a folder, or its subfolder data, holds folders of cases."""
    return bool(_folders(folder))


def read_kits(folder: Path) -> tuple[DatasetCard, list[Case]]:
    """Read the labelled cases of KiTS19, in the order of their numbers.

    Raises:
        InputError: no labelled case, or an image or labels missing (the publisher's repository holds the
            labels alone until its script has fetched the images).
    """
    folders = [place for place in _folders(Path(folder)) if _number(place) < LABELLED_CASES]
    if not folders:
        raise InputError(
            f"{folder} holds no labelled case of KiTS19",
            expected="folders case_00000 to case_00209, there or below data",
            got="none" if Path(folder).is_dir() else "no such folder",
            do="point to the folder that holds data, or the folders of the cases",
        )
    return DATASETS["KiTS19"], [_case(place, labelled=True) for place in folders]


def kits_case(folder: Path) -> Case | None:
    """The image in the folder of one case, labelled or not; None where it is no such folder.

    A folder of that name that holds files, but none in NIfTI, is of something else: a DICOM series perhaps.

    Raises:
        InputError: the image is missing.
    """
    folder = Path(folder)
    if not (CASE.fullmatch(folder.name) and folder.is_dir()):
        return None
    names = [path.name for path in folder.iterdir()]
    other = bool(names) and not any(name.endswith(SUFFIXES) for name in names)
    return None if other else _case(folder, labelled=False)


def _folders(folder: Path) -> list[Path]:
    for place in (folder / "data", folder):
        if place.is_dir():
            found = sorted(p for p in place.iterdir() if CASE.fullmatch(p.name) and p.is_dir())
            if found:
                return found
    return []


def _number(place: Path) -> int:
    return int(place.name.removeprefix("case_"))


def _case(place: Path, labelled: bool) -> Case:
    image, labels = place / IMAGE, place / LABELS if labelled else None
    missing = [path.name for path in (image, labels) if path is not None and not path.is_file()]
    if missing:
        raise InputError(
            f"files are missing from {place}",
            expected=f"{IMAGE} and {LABELS}" if labelled else IMAGE,
            got=f"no {' and no '.join(missing)}",
            do="fetch the images with the publisher's script, or leave this case out",
        )
    return Case(place.name, image, labels)
