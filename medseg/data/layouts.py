"""Official folder layouts, told apart by what lies in the folder: one reader each."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from medseg.data.acdc import is_acdc, read_acdc
from medseg.data.bcv import is_bcv, read_bcv
from medseg.data.brats import brats_patient, is_brats, read_brats
from medseg.data.catalog import Case, DatasetCard
from medseg.data.kits import is_kits, kits_case, read_kits
from medseg.data.msd import is_msd, read_msd
from medseg.data.volume import case_name
from medseg.errors import InputError


@dataclass(frozen=True)
class Layout:
    """A layout: what it looks like in words, how it is recognised, and its reader."""

    looks_like: str
    recognises: Callable[[Path], bool]
    read: Callable[[Path], tuple[DatasetCard, list[Case]]]


LAYOUTS: dict[str, Layout] = {
    "Decathlon": Layout("dataset.json, imagesTr and labelsTr", is_msd, read_msd),
    "ACDC": Layout("folders patient001, patient002, ..., there or below training", is_acdc, read_acdc),
    "BraTS": Layout(
        "folders BraTS19_..., in HGG and LGG, or BraTS20_Training_001, ...", is_brats, read_brats
    ),
    "BCV": Layout(
        "img/img0001.nii.gz and label/label0001.nii.gz, there or below RawData/Training", is_bcv, read_bcv
    ),
    "KiTS": Layout("folders case_00000, case_00001, ..., there or below data", is_kits, read_kits),
}


def layout_of(folder: Path) -> Layout | None:
    """The layout of a folder, None where it has none of these."""
    return next((layout for layout in LAYOUTS.values() if layout.recognises(Path(folder))), None)


def read_folder(folder: Path) -> tuple[DatasetCard, list[Case]]:
    """The card and the labelled cases of a folder, whatever its layout.

    Raises:
        InputError: no layout is recognised, or the reader of the layout refuses what it finds.
    """
    layout = layout_of(folder)
    if layout is None:
        raise InputError(
            f"{folder} is not a data set in a layout that is known",
            expected="; or ".join(f"{name}: {layout.looks_like}" for name, layout in LAYOUTS.items()),
            got="none of these" if Path(folder).is_dir() else "no such folder",
            do="point to the data set's own folder, Task04_Hippocampus for example",
        )
    return layout.read(Path(folder))


def image_of(path: Path) -> Case:
    """The image that a path stands for: that of a patient's folder of BraTS or KiTS19, or the path itself.

    Raises:
        InputError: a file is missing from the folder of a patient.
    """
    of_folder = (reader(Path(path)) for reader in (brats_patient, kits_case))
    return next((case for case in of_folder if case), Case(case_name(Path(path)), Path(path), None))
