"""Scoring a folder of predictions against a folder of references: `medseg evaluate`."""

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from medseg.data.catalog import DatasetCard
from medseg.data.checks import GRID_TOLERANCE, corner_distance
from medseg.data.nifti import SUFFIXES
from medseg.data.volume import Volume, case_name, read_labels
from medseg.errors import InputError
from medseg.files import write_atomic
from medseg.metrics.case import CaseScore, score_case
from medseg.metrics.overlap import foreground
from medseg.metrics.regions import as_server_2020, score_as_card


def evaluate_folders(
    pred_dir: Path,
    ref_dir: Path,
    labels: Mapping[int, str] | None = None,
    tolerance_mm: float = 1.0,
    spacing_known: bool = True,
    card: DatasetCard | None = None,
    least_enhancing_voxels: int = 0,
    server_2020: bool = False,
) -> pd.DataFrame:
    """Score every prediction in a folder against the reference of the same name.

    Files are paired by name without .nii or .nii.gz; other files and hidden files are passed over. Voxel
    grids are compared after reorientation to RAS, so a different storage order of the same grid is accepted.

    Args:
        pred_dir: Folder of predicted label maps.
        ref_dir: Folder of reference label maps.
        labels: Labels of the data set; None takes all labels found in the references, background excluded.
        tolerance_mm: Tolerance of the NSD in mm.
        spacing_known: False for files that lost their voxel spacing: nothing is given in mm or ml.
        card: Data set whose regions, or labels, and tolerance are scored in place of the two above.
        least_enhancing_voxels: With a card of BraTS, see `medseg.metrics.regions.score_as_card`.
        server_2020: With a card of BraTS, see `medseg.metrics.regions.as_server_2020`.

    Returns:
        One row per case and label, sorted by case; the columns are the fields of `CaseScore`, None as NaN.
        With a card `label` is the number of a region where it has regions, and `structure` its name.

    Raises:
        InputError: A folder or a counterpart is missing, grids differ, a map is not usable, or a rule of
            BraTS is asked for without its card or its spacing.
    """
    brats = card is not None and "ET" in card.structures.values() and spacing_known
    if (least_enhancing_voxels or server_2020) and not brats:
        raise InputError(
            "these are rules of BraTS",
            expected="a data set of BraTS, and files with their spacing",
            got="no data set" if card is None else card.name,
            do="name it (--dataset BraTS2020) and leave out --no-spacing, or leave the rules out",
        )
    pairs = _pair(_maps(Path(pred_dir)), _maps(Path(ref_dir)))
    if card is not None:
        asked = partial(score_as_card, card=card, least_enhancing_voxels=least_enhancing_voxels)
    else:
        wanted = _wanted(labels, pairs)
        asked = partial(score_case, labels=wanted, tolerance_mm=tolerance_mm)
    scores = [row for name, pred, ref in pairs for row in _score(name, pred, ref, asked, spacing_known)]
    scores = as_server_2020(scores) if server_2020 else scores
    frame = pd.DataFrame([row.model_dump() for row in scores], columns=list(CaseScore.model_fields))
    if card is not None:
        frame.insert(2, "structure", frame["label"].map(card.structures))
    # A column that holds only None would otherwise be of type object.
    return frame.astype(dict.fromkeys(("dice", "hd95_mm", "nsd", "volume_ml", "reference_ml"), float))


def _wanted(labels: Mapping[int, str] | None, pairs: Iterable[tuple[str, Path, Path]]) -> list[int]:
    found = foreground(labels) if labels is not None else _labels_in(ref for _, _, ref in pairs)
    if not found:
        raise InputError(
            "there is no label to score",
            expected="at least one label other than 0",
            got="none in the references" if labels is None else "none in labels",
            do="pass the labels of the data set, or check the reference folder",
        )
    return found


def write_scores(frame: pd.DataFrame, path: Path) -> None:
    """Write a table of scores as CSV, whole or not at all; undefined scores are empty fields.

    Args:
        frame: Table of `evaluate_folders`.
        path: Target file; an existing file is replaced only once the new one is complete.
    """
    write_atomic(Path(path), frame.to_csv(index=False, lineterminator="\n"))


def _score(
    name: str, pred: Path, ref: Path, asked: Callable[..., list[CaseScore]], spacing_known: bool
) -> list[CaseScore]:
    predicted, reference = read_labels(pred), read_labels(ref)
    _check_grid(predicted, reference, pred, ref)
    try:
        spacing_mm = reference.spacing_mm if spacing_known else None
        return asked(name, predicted.array[0], reference.array[0], spacing_mm=spacing_mm)
    except InputError as error:
        what = f"{error.what} ({pred} against {ref})"
        raise InputError(what, expected=error.expected, got=error.got, do=error.do) from error


def _maps(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise InputError(
            "a folder is missing", expected="an existing folder", got=str(folder), do="check the path"
        )
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not path.name.endswith(SUFFIXES):
            continue
        name = case_name(path)
        if name in found:
            raise InputError(
                "two files have the same case name",
                expected="one label map per case",
                got=f"{found[name].name} and {path.name} in {folder}",
                do="remove one of them",
            )
        found[name] = path
    if not found:
        raise InputError(
            "a folder holds no label maps",
            expected="files that end in .nii or .nii.gz",
            got=str(folder),
            do="check the path, or convert the label maps to NIfTI",
        )
    return found


def _pair(predictions: dict[str, Path], references: dict[str, Path]) -> list[tuple[str, Path, Path]]:
    alone = [predictions[name] for name in predictions.keys() - references.keys()]
    alone += [references[name] for name in references.keys() - predictions.keys()]
    if alone:
        raise InputError(
            "files without a counterpart",
            expected="the same names in both folders",
            got=", ".join(str(path) for path in sorted(alone)),
            do="add the missing files, or move these out of the folder",
        )
    return [(name, predictions[name], references[name]) for name in sorted(references)]


def _labels_in(paths: Iterable[Path]) -> list[int]:
    found: set[int] = set()
    for path in paths:
        found.update(int(label) for label in np.unique(read_labels(path).array))
    return foreground(found)


def _check_grid(predicted: Volume, reference: Volume, pred: Path, ref: Path) -> None:
    if predicted.array.shape != reference.array.shape:
        raise InputError(
            "prediction and reference differ in shape",
            expected=f"{reference.array.shape[1:]} (D H W, as in {ref})",
            got=f"{predicted.array.shape[1:]} in {pred}",
            do="export the prediction in the space of its own image",
        )
    limit = GRID_TOLERANCE * float(np.linalg.norm(reference.affine[:3, :3], axis=0).min())
    # Affines map x y z indices, the reverse of D H W.
    shift = corner_distance(reference.array.shape[:0:-1], predicted.affine, reference.affine)
    if shift > limit:
        raise InputError(
            "prediction and reference differ in affine",
            expected=f"the affine of {ref}, corners within {limit:.3g} mm",
            got=f"corners up to {shift:.3g} mm away in {pred}",
            do="export the prediction in the space of its own image",
        )
