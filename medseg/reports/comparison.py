"""One case under several models, slice by slice (TransSeg, Figure 2)."""

from collections.abc import Mapping
from textwrap import fill

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from medseg.data.volume import Volume
from medseg.errors import InputError
from medseg.reports.scene import colour_of

OPACITY = 0.55


def comparison_figure(
    volume: Volume, predictions: Mapping[str, np.ndarray], names: Mapping[int, str], count: int = 5
) -> Figure:
    """Consecutive slices in columns; in rows the image, the reference and each model's label map.

    The slices are those around the slice that holds most labelled voxels. Anterior is up, the patient's
    right is on the right, pixels have the voxels' proportions.

    Args:
        volume: a case with labels; channel 0 is shown.
        predictions: title of a model to its label map, axes D H W.
        names: label value to name; 0 is the background and is not drawn.
        count: number of slices, fewer where the volume has fewer.

    Raises:
        InputError: the case has no labels, or a label map has another shape.
    """
    if volume.labels is None:
        raise InputError(
            "there is no reference to show", expected="a case with labels", got=volume.name, do="name another"
        )
    for title, labels in predictions.items():
        if labels.shape != volume.labels.shape:
            raise InputError(
                f"the label map of {title} does not lie on the volume's grid",
                expected=f"shape {volume.labels.shape} (D, H, W)",
                got=f"shape {labels.shape}",
                do="predict this case, in its own space",
            )
    rows = {"image": np.zeros_like(volume.labels), "reference": volume.labels} | dict(predictions)
    slices, spacing = consecutive_slices(volume.labels, count), volume.spacing_mm or (1.0, 1.0, 1.0)
    figure, axes = plt.subplots(
        len(rows), len(slices), figsize=(1.5 * len(slices) + 0.4, 1.5 * len(rows)), layout="constrained"
    )
    shown = {value: name for value, name in names.items() if value}
    for line, (title, labels) in zip(axes, rows.items(), strict=True):
        for axis, number in zip(line, slices, strict=True):
            picture = painted(volume.array[0, number], labels[number], list(shown))
            axis.imshow(picture, origin="lower", aspect=spacing[1] / spacing[2])
            axis.set(xticks=[], yticks=[])
        line[0].set_ylabel(fill(title, 16), fontsize=8)
    for axis, number in zip(axes[0], slices, strict=True):
        axis.set_title(f"slice {number}", fontsize=9)
    patches = [Patch(color=_rgb(place), label=name) for place, name in enumerate(shown.values())]
    figure.legend(handles=patches, loc="outside lower center", ncols=5, fontsize=8)
    return figure


def consecutive_slices(labels_dhw: np.ndarray, count: int) -> list[int]:
    """The `count` slices around the one that holds most labelled voxels, inside the volume.

    >>> consecutive_slices(np.eye(9, dtype=np.uint8)[:, None], 3)
    [0, 1, 2]
    """
    count = min(count, len(labels_dhw))
    fullest = int((labels_dhw > 0).sum(axis=(1, 2)).argmax())
    first = min(max(fullest - count // 2, 0), len(labels_dhw) - count)
    return list(range(first, first + count))


def painted(image_hw: np.ndarray, labels_hw: np.ndarray, values: list[int]) -> np.ndarray:
    """An image in grey as (H, W, 3) in 0 to 1, with each label value of `values` in its colour over it."""
    low, high = np.percentile(image_hw, (0.5, 99.5))
    grey = np.clip((image_hw - low) / (high - low if high > low else 1.0), 0, 1)
    picture = np.repeat(grey[..., None], 3, axis=-1).astype(np.float64)
    for place, value in enumerate(values):
        inside = labels_hw == value
        picture[inside] = (1 - OPACITY) * picture[inside] + OPACITY * np.array(_rgb(place))
    return picture


def _rgb(place: int) -> tuple[float, float, float]:
    red, green, blue = colour_of(place)
    return red / 255, green / 255, blue / 255
