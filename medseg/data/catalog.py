"""One card per data set: what it is, whom to cite, what its labels mean, how it is normalised."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict

from medseg.errors import InputError

CT_WINDOW_HU = (-175.0, 250.0)  # TransSeg, Table 1: the clip of every CT data set.


class Region(NamedTuple):
    """A structure that is scored as one though it has several labels: their union."""

    name: str
    labels: tuple[int, ...]


class DatasetCard(BaseModel):
    """Facts about a data set that code and pages need.

    Attributes:
        name: the official folder name.
        title: for tables and pages.
        source: who publishes it.
        licence: of the data, not of this code.
        citation: the reference to give when results on it are shown.
        md5: of the archive that the download fetches, None where there is no download.
        modality: CT or MRI.
        channels: name of each image channel, in file order.
        labels: value in the label maps to name of the structure; 0 is the background.
        nsd_tolerance_mm: tolerance of the normalised surface distance, in millimetres.
        normalise: by each volume's own percentiles, or by one fixed window.
        window: lower and upper end of the fixed window (HU), None for percentiles.
        split_sizes: cases for training, validation and test in the paper's split, None where none is stated.
        spacing_known: False where the files at hand lost their voxel spacing: nothing is given in mm or ml.
        regions: what is scored instead of the labels, by the number that a row of scores has; empty: labels.
        transseg_window: the fixed window of TransSeg's code, None where it has none for this data set.
        patient: regular expression that finds a patient's name in that of a case; None: each case is one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    title: str
    source: str
    licence: str
    citation: str
    md5: str | None
    modality: str
    channels: tuple[str, ...]
    labels: dict[int, str]
    nsd_tolerance_mm: float
    normalise: Literal["percentile", "window"]
    window: tuple[float, float] | None
    split_sizes: tuple[int, int, int] | None
    spacing_known: bool = True
    regions: dict[int, Region] = {}
    transseg_window: tuple[float, float] | None = None
    patient: str | None = None

    def patient_of(self, case: str) -> str:
        """Name of the patient that a case is of: cases of one patient are not independent."""
        found = re.search(self.patient, case) if self.patient else None
        return found.group() if found else case

    @property
    def structures(self) -> dict[int, str]:
        """What the label of a row of scores stands for: regions where the card has them, else labels."""
        if self.regions:
            return {number: region.name for number, region in self.regions.items()}
        return {value: name for value, name in self.labels.items() if value}


def clipped(card: DatasetCard, window: tuple[float, float] | Literal["transseg"] | None) -> DatasetCard:
    """The card with a fixed window (see medseg.config.DataConfig) in place of its normalisation, if any.

    Raises:
        InputError: TransSeg's code has no window for the data set.
    """
    if window is None:
        return card
    if window == "transseg":
        window = card.transseg_window
    if window is None:
        raise InputError(
            f"TransSeg's code has no window for {card.name}",
            expected=" | ".join(name for name, known in DATASETS.items() if known.transseg_window),
            got=card.name,
            do="give data.clip two numbers",
        )
    return card.model_copy(update={"normalise": "window", "window": window})


@dataclass(frozen=True)
class Case:
    """One case of a data set: its id, its image and, where they are public, its labels.

    `more_channels` are further files of the image, where every channel has its own.
    """

    id: str
    image: Path
    labels: Path | None
    more_channels: tuple[Path, ...] = ()


_PHANTOM = DatasetCard(
    name="Phantom",
    title="Phantoms with an ambiguous slice (MRI-like)",
    source="drawn by medseg.data.phantoms from a seed",
    licence="CC0-1.0 (drawn, no patient)",
    citation="medseg, medseg/data/phantoms.py",
    md5=None,
    modality="MRI",
    channels=("MRI",),
    labels={0: "background", 1: "organ", 2: "vessel", 3: "nodule"},
    nsd_tolerance_mm=1.0,
    normalise="percentile",
    window=None,
    split_sizes=None,
    transseg_window=CT_WINDOW_HU,  # it stands in for all sets at smoke
)


def _decathlon(
    task: str,
    title: str,
    split_sizes: tuple[int, int, int],
    structures: tuple[str, ...],
    channels: tuple[str, ...] = ("CT",),
    md5: str | None = None,
    transseg_window: tuple[float, float] = CT_WINDOW_HU,
) -> DatasetCard:
    """A Decathlon task: channels and labels as its dataset.json names them, sizes as in TransSeg, Table 1.

    The surface tolerance is 1 mm for all tasks, as for a folder that the catalog does not know.
    """
    is_ct = channels == ("CT",)
    return DatasetCard(
        name=task,
        title=f"{title} (Medical Segmentation Decathlon, {task[:6]})",
        source="Medical Segmentation Decathlon, http://medicaldecathlon.com",
        licence="CC BY-SA 4.0",
        citation="Antonelli et al., The Medical Segmentation Decathlon, Nat. Commun. 13, 4128 (2022)",
        md5=md5,
        modality="CT" if is_ct else "MRI",
        channels=channels,
        labels=dict(enumerate(("background", *structures))),
        nsd_tolerance_mm=1.0,
        normalise="window" if is_ct else "percentile",
        window=CT_WINDOW_HU if is_ct else None,
        split_sizes=split_sizes,
        transseg_window=transseg_window,
    )


_DECATHLON = (
    _decathlon(
        "Task01_BrainTumour",
        "Brain tumour",
        (387, 72, 25),
        ("edema", "non-enhancing tumor", "enhancing tumour"),
        ("FLAIR", "T1w", "t1gd", "T2w"),
        transseg_window=(-1e6, 1e6),
    ),
    _decathlon(
        "Task02_Heart", "Heart", (16, 3, 1), ("left atrium",), ("MRI",), transseg_window=(601.0, 1511.0)
    ),
    _decathlon("Task03_Liver", "Liver", (104, 20, 7), ("liver", "cancer")),
    _decathlon(
        "Task04_Hippocampus",
        "Hippocampus",
        (208, 39, 13),
        ("Anterior", "Posterior"),
        ("MRI",),
        md5="9d24dba78a72977dbd1d2e110310f31b",
        transseg_window=(29.0, 205431.0),
    ),
    _decathlon(
        "Task05_Prostate", "Prostate", (25, 5, 2), ("PZ", "TZ"), ("T2", "ADC"), transseg_window=(0.0, 2152.0)
    ),
    _decathlon("Task06_Lung", "Lung", (50, 9, 4), ("cancer",)),
    _decathlon("Task07_Pancreas", "Pancreas", (224, 42, 15), ("pancreas", "cancer")),
    _decathlon("Task08_HepaticVessel", "Hepatic vessel", (242, 45, 16), ("Vessel", "Tumour")),
    _decathlon("Task09_Spleen", "Spleen", (32, 6, 3), ("spleen",)),
    _decathlon("Task10_Colon", "Colon", (100, 19, 7), ("colon cancer primaries",)),
)

# The 13 organs in the order of their label values.
_BCV_ORGANS = (
    "spleen",
    "right kidney",
    "left kidney",
    "gallbladder",
    "esophagus",
    "liver",
    "stomach",
    "aorta",
    "inferior vena cava",
    "portal and splenic veins",
    "pancreas",
    "right adrenal gland",
    "left adrenal gland",
)

_BRATS = DatasetCard(
    name="BraTS2019",
    title="Brain tumour MRI (BraTS 2019)",
    source="Multimodal Brain Tumor Segmentation Challenge, https://www.med.upenn.edu/cbica/brats2019",
    licence="as stated by the publisher, after registration",
    citation="Menze et al., The Multimodal Brain Tumor Image Segmentation Benchmark (BRATS),"
    " IEEE Trans. Med. Imaging 34, 1993-2024 (2015)",
    md5=None,
    modality="MRI",
    channels=("FLAIR", "T1ce", "T1", "T2"),
    labels={0: "background", 1: "necrotic and non-enhancing core", 2: "edema", 4: "enhancing tumour"},
    nsd_tolerance_mm=1.0,
    # Med-Tuning's files are z-scored inside the brain instead.
    normalise="percentile",
    window=None,
    split_sizes=None,
    # Enhancing tumour, tumour core, whole tumour.
    regions={1: Region("ET", (4,)), 2: Region("TC", (1, 4)), 3: Region("WT", (1, 2, 4))},
)

DATASETS: dict[str, DatasetCard] = {card.name: card for card in _DECATHLON} | {
    "ACDC": DatasetCard(
        name="ACDC",
        title="Cardiac cine MRI, end-diastole and end-systole (ACDC)",
        source="Automated Cardiac Diagnosis Challenge, https://www.creatis.insa-lyon.fr/Challenge/acdc",
        licence="CC BY-NC-SA 4.0",
        citation=(
            "Bernard et al., Deep Learning Techniques for Automatic MRI Cardiac Multi-Structures Segmentation"
            " and Diagnosis: Is the Problem Solved?, IEEE Trans. Med. Imaging 37, 2514-2525 (2018)"
        ),
        md5=None,
        modality="MRI",
        channels=("MRI",),
        labels={0: "background", 1: "right ventricle", 2: "myocardium", 3: "left ventricle"},
        # Just above the in-plane edge of a voxel, 1.37 to 1.68 mm.
        nsd_tolerance_mm=2.0,
        # The paper's table calls ACDC CT and gives it the CT window; it is MRI without a fixed scale.
        normalise="percentile",
        window=None,
        # 70, 10 and 20 patients with two frames each.
        split_sizes=(140, 20, 40),
        transseg_window=CT_WINDOW_HU,
        patient=r"patient\d{3}",
    ),
    "BCV": DatasetCard(
        name="BCV",
        title="Abdominal CT, 13 organs (BCV)",
        source="Multi-Atlas Labeling Beyond the Cranial Vault, https://www.synapse.org/#!Synapse:syn3193805",
        licence="as stated by the publisher, after registration",
        citation="Landman et al., Multi-Atlas Labeling Beyond the Cranial Vault, MICCAI challenge (2015)",
        md5=None,
        modality="CT",
        channels=("CT",),
        labels=dict(enumerate(("background", *_BCV_ORGANS))),
        nsd_tolerance_mm=1.0,
        normalise="window",
        window=CT_WINDOW_HU,
        # The paper's 12 validation cases are also those that it reports.
        split_sizes=(18, 12, 0),
        transseg_window=CT_WINDOW_HU,
    ),
    "BraTS2019": _BRATS,
    "BraTS2020": _BRATS.model_copy(
        update={
            "name": "BraTS2020",
            "title": "Brain tumour MRI (BraTS 2020)",
            "source": _BRATS.source.replace("2019", "2020"),
        }
    ),
    "KiTS19": DatasetCard(
        name="KiTS19",
        title="Kidney and kidney tumour CT (KiTS19)",
        source="Kidney Tumor Segmentation Challenge 2019, https://github.com/neheller/kits19",
        licence="CC BY-NC-SA 4.0",
        citation="Heller et al., The state of the art in kidney and kidney tumor segmentation in"
        " contrast-enhanced CT imaging, Med. Image Anal. 67, 101821 (2021)",
        md5=None,
        modality="CT",
        channels=("CT",),
        labels={0: "background", 1: "kidney", 2: "tumour"},
        nsd_tolerance_mm=1.0,
        normalise="window",
        window=CT_WINDOW_HU,
        split_sizes=None,
        # As the publisher's evaluation has it: the kidney includes its tumour.
        regions={1: Region("kidney", (1, 2)), 2: Region("tumour", (2,))},
    ),
    "Phantom": _PHANTOM,
    "PhantomCT": _PHANTOM.model_copy(
        update={
            "name": "PhantomCT",
            "title": "Phantoms with an ambiguous slice (CT-like)",
            "modality": "CT",
            "channels": ("CT",),
            "normalise": "window",
            "window": CT_WINDOW_HU,
        }
    ),
}


def card_of(name: str) -> DatasetCard:
    """The card of a data set by its name.

    Raises:
        InputError: no such data set.
    """
    if name not in DATASETS:
        raise InputError("unknown data set", expected=" | ".join(DATASETS), got=name, do="name one of these")
    return DATASETS[name]
