"""The layout of BCV, also called BTCV or Synapse (Landman et al. 2015): folders img and label."""

import re
from pathlib import Path

from medseg.data.catalog import DATASETS, Case, DatasetCard
from medseg.errors import InputError

IMAGE = re.compile(r"img(\d{4})\.nii\.gz")


def is_bcv(folder: Path) -> bool:
    """Whether a folder, or Training or RawData/Training below it, holds img and label."""
    return _training(folder) is not None


def read_bcv(folder: Path) -> tuple[DatasetCard, list[Case]]:
    """Read the labelled cases of BCV in the order of their numbers; Testing, without labels, is passed over.

    Raises:
        InputError: no case, or one without labels.
    """
    place = _training(folder)
    if place is None:
        raise InputError(
            f"{folder} is not a BCV folder",
            expected="img/img0001.nii.gz, ... and label, there or below Training or RawData/Training",
            got="not both" if Path(folder).is_dir() else "no such folder",
            do="point to the folder that holds RawData",
        )
    cases = []
    for image in _images(place):
        labels = place / "label" / image.name.replace("img", "label")
        if not labels.is_file():
            raise InputError(
                f"{image.name} has no labels",
                expected=f"label/{labels.name}",
                got="no such file",
                do="copy the folder label of the archive again, or take this image out",
            )
        cases.append(Case(image.name.removesuffix(".nii.gz"), image, labels))
    return DATASETS["BCV"], cases


def _training(folder: Path) -> Path | None:
    places = (Path(folder) / "RawData" / "Training", Path(folder) / "Training", Path(folder))
    return next((place for place in places if (place / "label").is_dir() and _images(place)), None)


def _images(place: Path) -> list[Path]:
    return sorted(path for path in place.glob("img/*") if IMAGE.fullmatch(path.name))
