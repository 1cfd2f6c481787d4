"""From a run folder and image files to label maps in native space, with the images' file names."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from medseg.data.cases import to_label_values
from medseg.data.catalog import Case
from medseg.data.channels import read_channels
from medseg.data.checks import check_pair
from medseg.data.layouts import image_of
from medseg.data.transforms import normalise
from medseg.data.volume import Volume, case_name, write_labels
from medseg.errors import InputError
from medseg.files import make_folder
from medseg.inference.slice_windows import predict
from medseg.metrics.regions import without_small_enhancing
from medseg.training.precision import plan
from medseg.training.run_folder import load_model


def predict_files(run_dir: Path, images: Sequence[Path], output: Path) -> Iterator[Path]:
    """Predict every image and write `output/<name>.nii.gz`; gives each path when it is written.

    A NIfTI image keeps its full file name; other formats get `.nii.gz`. A patient's folder of BraTS is one
    image of four files, one of KiTS19 an image, both with the folder's name (`medseg.data.layouts.image_of`).
    All images are read and checked before the first is predicted, so that bad input leaves nothing half done.
    Small enhancing tumours are relabelled where the run scored them so.

    Raises:
        InputError: no finished run, a bad image, another number of channels, two images of one name, or an
            output that would replace an image.
    """
    segmenter, run = load_model(run_dir)
    cases = [image_of(Path(image)) for image in images]
    targets = [Path(output) / _target_name(case) for case in cases]
    if len(set(targets)) < len(targets):
        raise InputError(
            "two images have the same name",
            expected="one output file an image",
            got=", ".join(sorted({t.name for t in targets if targets.count(t) > 1})),
            do="predict them into different folders",
        )
    given = {file.resolve() for case in cases for file in (case.image, *case.more_channels)}
    if over := [target.name for target in targets if target.resolve() in given]:
        raise InputError(
            "label maps would replace the images",
            expected="another folder than that of the images",
            got=f"{output}, which holds {over[0]}",
            do="name a new folder",
        )
    for case in cases:
        check_pair(_read(case), run.card)
    make_folder(output)
    chosen = plan(run.config.train.precision, segmenter)
    for case, target in zip(cases, targets, strict=True):
        volume = _read(case)
        array = torch.from_numpy(normalise(volume.array, run.card))
        labels = to_label_values(predict(segmenter, array, run.config.model, chosen), run.card)
        if least := run.config.data.least_enhancing_voxels:
            labels = without_small_enhancing(labels, least)
        write_labels(volume, labels, target)
        yield target


def _read(case: Case) -> Volume:
    return read_channels((case.image, *case.more_channels))


def _target_name(case: Case) -> str:
    own = case_name(case.image) == case.id and case.image.name.lower().endswith((".nii", ".nii.gz"))
    return case.image.name if own else f"{case.id}.nii.gz"
