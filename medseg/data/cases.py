"""Cases in memory, normalised, ready to be cut: the training feed and what inference reads."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from medseg.config import AugmentConfig, ModelConfig
from medseg.data.catalog import Case, DatasetCard
from medseg.data.channels import read_channels
from medseg.data.checks import check_pair
from medseg.data.transforms import augmented, normalise
from medseg.data.volume import Volume
from medseg.data.windows import WindowIndex, cut
from medseg.errors import InputError
from medseg.runtime import generator_for


@runtime_checkable  # the shape checker of the tests asks isinstance
class TrainingCase(Protocol):
    """What training needs of a case: its normalised image (C, D, H, W) and class numbers (1, D, H, W)."""

    @property
    def id(self) -> str:
        """Name of the case."""

    @property
    def image(self) -> Tensor:
        """float32 (C, D, H, W)."""

    @property
    def labels(self) -> Tensor:
        """int16 (1, D, H, W)."""


@dataclass(frozen=True)
class LoadedCase:
    """One case: the volume as read, its normalised image (C, D, H, W), its class numbers (1, D, H, W)."""

    id: str
    volume: Volume
    image: Tensor
    labels: Tensor


def load_case(case: Case, card: DatasetCard) -> LoadedCase:
    """Read one labelled case, checked against the card, and normalise it."""
    read = read_channels((case.image, *case.more_channels), case.labels)
    volume = replace(read, spacing_known=card.spacing_known)
    check_pair(volume, card)
    assert volume.labels is not None
    image = torch.from_numpy(normalise(volume.array, card))
    labels = torch.from_numpy(np.searchsorted(sorted(card.labels), volume.labels).astype(np.int16))[None]
    return LoadedCase(case.id, volume, image, labels)


def to_label_values(classes: np.ndarray, card: DatasetCard) -> np.ndarray:
    """Class numbers 0, 1, 2, ... back to the label values of the data set."""
    values = np.array(sorted(card.labels))
    return values.astype(np.uint8 if values.max() < 256 else np.int16)[classes]


class WindowFeed:
    """Batches of augmented windows, each a function of the seed and the step.

    Args:
        cases: the training cases.
        model: gives the window: slices and pixels.
        augment: training transforms.
        batch: windows a step.
        seed: run seed.
        all_slices: labels of every slice of the window, not of the centre one only.

    Raises:
        InputError: no cases, more classes than the network has, or another number of channels.
    """

    def __init__(
        self,
        cases: Sequence[TrainingCase],
        model: ModelConfig,
        augment: AugmentConfig,
        batch: int,
        seed: int,
        all_slices: bool,
    ):
        _check_fit(cases, model)
        self.cases, self.model, self.augment, self.seed = cases, model, augment, seed
        self.all_slices = all_slices
        self.index = WindowIndex([case.image.shape[1] for case in cases], batch, seed)

    def at(self, step: int, rows: slice = slice(None)) -> tuple[Tensor, Tensor]:
        """Images (B, C, D, H, W) and labels (B, 1, H, W), or (B, 1, D, H, W) with all_slices.

        Args:
            step: training step, counted from 0.
            rows: the part of the batch that is wanted. A window is the same whoever asks for it.
        """
        chosen = list(enumerate(self.index.at(step)))[rows]
        images, labels = zip(*(self._window(step, i, *pair) for i, pair in chosen), strict=True)
        return torch.stack(images), torch.stack(labels)

    def names_at(self, step: int) -> list[str]:
        """The cases that a training step sees."""
        return sorted({self.cases[case].id for case, _ in self.index.at(step)})

    def _window(self, step: int, position: int, case: int, center: int) -> tuple[Tensor, Tensor]:
        loaded, slices, stride = self.cases[case], self.model.slices, self.model.stride
        image = cut(loaded.image, center, slices, stride)
        deep = self.all_slices or self.augment.depth_zoom
        label = cut(loaded.labels, center, slices if deep else 1, stride).float()
        generator = generator_for(self.seed, "augment", step, position)
        image, label = augmented(image, label, self.augment, self.model.image_px, generator)
        return image, (label if self.all_slices else label[:, label.shape[1] // 2]).long()


def _check_fit(cases: Sequence[TrainingCase], model: ModelConfig) -> None:
    if not cases:
        raise InputError(
            "nothing to train on", expected="at least one case", got="none", do="name training cases"
        )
    for case in cases:
        channels, classes = case.image.shape[0], int(case.labels.max()) + 1
        if channels != model.in_channels or classes > model.classes:
            raise InputError(
                f"{case.id} does not fit the network",
                expected=f"{model.in_channels} channels and at most {model.classes} classes",
                got=f"{channels} channels and {classes} classes",
                do="set in_channels and classes of the model to those of the data set",
            )
