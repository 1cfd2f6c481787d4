"""From a run folder and image files to label maps in native space, with the images' file names."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from medseg.data.cases import to_label_values
from medseg.data.checks import check_pair
from medseg.data.transforms import normalise
from medseg.data.volume import case_name, read, write_labels
from medseg.errors import InputError
from medseg.files import make_folder
from medseg.inference.slice_windows import predict
from medseg.training.precision import plan
from medseg.training.run_folder import load_model


def predict_files(run_dir: Path, images: Sequence[Path], output: Path) -> Iterator[Path]:
    """Predict every image and write `output/<name>.nii.gz`; gives each path when it is written.

    A NIfTI image keeps its full file name; other formats get `.nii.gz`. All images are read and checked
    before the first is predicted, so that bad input leaves nothing half done.

    Raises:
        InputError: no finished run, a bad image, another number of channels, two images of one name, or an
            output that would replace an image.
    """
    segmenter, run = load_model(run_dir)
    targets = [Path(output) / _target_name(Path(image)) for image in images]
    if len(set(targets)) < len(targets):
        raise InputError(
            "two images have the same name",
            expected="one output file an image",
            got=", ".join(sorted({t.name for t in targets if targets.count(t) > 1})),
            do="predict them into different folders",
        )
    given = {Path(image).resolve() for image in images}
    if over := [target.name for target in targets if target.resolve() in given]:
        raise InputError(
            "label maps would replace the images",
            expected="another folder than that of the images",
            got=f"{output}, which holds {over[0]}",
            do="name a new folder",
        )
    for image in images:
        check_pair(read(Path(image)), run.card)
    make_folder(output)
    chosen = plan(run.config.train.precision, segmenter)
    for image, target in zip(images, targets, strict=True):
        volume = read(Path(image))
        array = torch.from_numpy(normalise(volume.array, run.card))
        labels = to_label_values(predict(segmenter, array, run.config.model, chosen), run.card)
        write_labels(volume, labels, target)
        yield target


def _target_name(image: Path) -> str:
    nifti = image.name.lower().endswith((".nii", ".nii.gz"))
    return image.name if nifti else f"{case_name(image)}.nii.gz"
