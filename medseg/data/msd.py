"""The Medical Segmentation Decathlon's layout: dataset.json, imagesTr, labelsTr and imagesTs."""

import json
from collections import Counter
from pathlib import Path, PurePosixPath
from typing import Any

from medseg.data.catalog import CT_WINDOW_HU, DATASETS, Case, DatasetCard
from medseg.data.volume import case_name
from medseg.errors import InputError


def is_msd(folder: Path) -> bool:
    """Whether a folder is in this layout."""
    return (folder / "dataset.json").is_file()


def read_msd(folder: Path) -> tuple[DatasetCard, list[Case]]:
    """Read a Medical Segmentation Decathlon folder: dataset.json, imagesTr and labelsTr.

    The card is the catalog's where the folder's name is known there (channels and labels must then agree
    with dataset.json), else it is made from dataset.json: a fixed window when all channels are CT,
    percentiles otherwise, and a surface tolerance of 1 mm.

    Returns:
        The card and the labelled cases, in the order of dataset.json. Entries whose file name starts with
        "._" (left in archives by macOS) are skipped. For the unlabelled cases see `read_msd_unlabelled`.

    Raises:
        InputError: no such folder, no cases, files missing, an id twice, or a dataset.json that is missing,
            malformed, or at odds with the catalog.
    """
    folder = Path(folder)
    facts = _facts(folder)
    entries = facts.get("training")
    if not isinstance(entries, list) or not all(
        isinstance(e, dict) and isinstance(e.get("image"), str) and isinstance(e.get("label"), str)
        for e in entries
    ):
        raise _malformed(folder, 'a list "training" of {"image": ..., "label": ...}', _short(entries))
    cases = []
    for entry in entries:
        image, labels = _inside(folder, entry["image"]), _inside(folder, entry["label"])
        if not image.name.startswith("._"):
            cases.append(Case(case_name(image), image, labels))
    if not cases:
        raise InputError(
            f"{folder} has no cases",
            expected='at least one entry under "training" in dataset.json',
            got="none",
            do="download the data set again, or point to the folder that holds imagesTr and labelsTr",
        )
    _refuse_missing_or_double(folder, cases)
    return _card(folder, facts), cases


def read_msd_unlabelled(folder: Path) -> list[Case]:
    """Read the cases of imagesTs, whose labels are not public; empty when the folder has none.

    Raises:
        InputError: as `read_msd`.
    """
    folder = Path(folder)
    entries = _facts(folder).get("test", [])
    if not isinstance(entries, list) or not all(isinstance(e, str) for e in entries):
        raise _malformed(folder, 'a list "test" of file names', _short(entries))
    images = [path for path in (_inside(folder, e) for e in entries) if not path.name.startswith("._")]
    cases = [Case(case_name(image), image, None) for image in images]
    _refuse_missing_or_double(folder, cases)
    return cases


def _facts(folder: Path) -> dict[str, Any]:
    path = folder / "dataset.json"
    if not path.is_file():
        raise InputError(
            f"{folder} is not a Decathlon folder",
            expected="a folder with dataset.json, imagesTr and labelsTr",
            got="no dataset.json" if folder.is_dir() else "no such folder",
            do="point to the data set's own folder, Task04_Hippocampus for example",
        )
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise _malformed(folder, "JSON", str(error)) from error
    if not isinstance(facts, dict):
        raise _malformed(folder, "a JSON object", _short(facts))
    return facts


def _inside(folder: Path, entry: str) -> Path:
    relative = PurePosixPath(entry)  # drops a leading "./" where there is one
    if relative.is_absolute() or ".." in relative.parts or not relative.parts:
        raise _malformed(folder, "paths inside the folder", entry)
    return folder.joinpath(*relative.parts)


def _refuse_missing_or_double(folder: Path, cases: list[Case]) -> None:
    files = [path for case in cases for path in (case.image, case.labels) if path is not None]
    missing = [path for path in files if not path.is_file()]
    if missing:
        raise InputError(
            f"files named in dataset.json are missing from {folder}",
            expected=f"{len(files)} files",
            got=f"{len(missing)} missing, the first is {missing[0].relative_to(folder)}",
            do="download or unpack the data set again",
        )
    double = [case_id for case_id, times in Counter(case.id for case in cases).items() if times > 1]
    if double:
        raise _malformed(folder, "every case once", f"{', '.join(double[:3])} more than once")


def _card(folder: Path, facts: dict[str, Any]) -> DatasetCard:
    labels, channels = _labels(folder, facts.get("labels")), _channels(folder, facts.get("modality"))
    known = DATASETS.get(folder.resolve().name)
    if known is not None:
        if channels != known.channels:
            raise _malformed(
                folder, f"the channels of {known.name}: {', '.join(known.channels)}", ", ".join(channels)
            )
        if labels != known.labels:
            raise _malformed(folder, f"the labels of {known.name}: {known.labels}", str(labels))
        return known
    is_ct = all(channel.upper() == "CT" for channel in channels)
    return DatasetCard(
        name=folder.resolve().name,
        title=str(facts.get("name", folder.resolve().name)),
        source=str(facts.get("reference", "not stated")),
        licence=str(facts.get("licence", facts.get("license", "not stated"))),
        citation=str(facts.get("reference", "not stated")),
        md5=None,
        modality="CT" if is_ct else ", ".join(channels),
        channels=channels,
        labels=labels,
        nsd_tolerance_mm=1.0,
        normalise="window" if is_ct else "percentile",
        window=CT_WINDOW_HU if is_ct else None,
        split_sizes=None,
    )


def _labels(folder: Path, labels: Any) -> dict[int, str]:
    wanted = 'labels like {"0": "background", "1": "Anterior"}'
    if not isinstance(labels, dict) or not all(isinstance(name, str) for name in labels.values()):
        raise _malformed(folder, wanted, _short(labels))
    try:
        numbered = {int(value): name for value, name in labels.items()}
    except ValueError as error:
        raise _malformed(folder, wanted, _short(labels)) from error
    if 0 not in numbered or len(numbered) < 2:
        raise _malformed(folder, "the background as label 0 and at least one structure", _short(labels))
    return dict(sorted(numbered.items()))


def _channels(folder: Path, modality: Any) -> tuple[str, ...]:
    if not isinstance(modality, dict) or sorted(modality) != sorted(str(n) for n in range(len(modality))):
        raise _malformed(folder, 'modality like {"0": "MRI"}', _short(modality))
    if not modality:
        raise _malformed(folder, "at least one channel under modality", "none")
    return tuple(str(modality[str(n)]) for n in range(len(modality)))


def _short(value: Any) -> str:
    return json.dumps(value)[:120]


def _malformed(folder: Path, expected: str, got: str) -> InputError:
    return InputError(
        f"{folder / 'dataset.json'} is malformed",
        expected=expected,
        got=got,
        do="restore the file, or correct this entry (a folder name from the catalog has fixed entries)",
    )
