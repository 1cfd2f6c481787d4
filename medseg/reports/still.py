"""The still image of a volume: three planes with the outlines of reference and prediction."""

import io

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from medseg.reports.scene import Scene, colour_of

_BACK = "#101014"  # dark in both themes, as on a reading screen
_TITLES = ("axial", "coronal", "sagittal")


def still_image(scene: Scene, title: str = "") -> bytes:
    """The PNG of the three planes through the labels' widest slices.

    The reference is filled with a thin edge, the prediction is a line. Left is the patient's left
    (neurological view), up is superior or anterior; pixels keep the voxels' proportions.
    """
    figure = Figure(figsize=(7.2, 3.2), facecolor=_BACK)
    FigureCanvasAgg(figure)
    for axis, (name, plane) in enumerate(zip(_TITLES, planes(scene), strict=True)):
        axes = figure.add_subplot(1, 3, axis + 1)
        image, reference, prediction, aspect = plane
        axes.imshow(image, cmap="gray", vmin=0, vmax=255, origin="lower", aspect=aspect)
        for place, value in enumerate(scene.names):
            colour = tuple(c / 255 for c in colour_of(place))
            _fill(axes, reference, value, colour)
            _line(axes, prediction, value, colour)
        axes.set_title(name, color="white", fontsize=10)
        axes.set_axis_off()
    if title:
        figure.suptitle(title, color="white", fontsize=11)
    _legend(figure, scene)
    # Fixed margins: a tight layout would move with the font.
    figure.subplots_adjust(left=0.01, right=0.99, top=0.84 if title else 0.92, bottom=0.1, wspace=0.03)
    buffer = io.BytesIO()
    # Without the software's name the bytes depend on the picture only.
    figure.savefig(buffer, format="png", dpi=140, metadata={"Software": None})
    return buffer.getvalue()


def planes(scene: Scene):
    """Yield image, reference, prediction (2D, rows upwards) and pixel aspect of the three planes."""
    d, h, w = scene.focus
    spacing_d, spacing_h, spacing_w = scene.spacing_mm
    cuts = (
        (np.s_[d, :, :], spacing_h / spacing_w),
        (np.s_[:, h, :], spacing_d / spacing_w),
        (np.s_[:, :, w], spacing_d / spacing_h),
    )
    for cut, aspect in cuts:
        parts = (None if a is None else a[cut] for a in (scene.image, scene.reference, scene.prediction))
        yield *parts, aspect


def _fill(axes, labels: np.ndarray | None, value: int, colour: tuple[float, ...]) -> None:
    if labels is not None and (labels == value).any():
        inside = (labels == value).astype(float)
        axes.contourf(inside, levels=[0.5, 1.5], colors=[(*colour, 0.4)])
        axes.contour(inside, levels=[0.5], colors=[colour], linewidths=0.7)


def _line(axes, labels: np.ndarray | None, value: int, colour: tuple[float, ...]) -> None:
    if labels is not None and (labels == value).any():
        inside = (labels == value).astype(float)
        # A dark rim keeps the line apart from a fill of the same colour.
        axes.contour(inside, levels=[0.5], colors=["black"], linewidths=3.0)
        axes.contour(inside, levels=[0.5], colors=[colour], linewidths=1.6)


def _legend(figure: Figure, scene: Scene) -> None:
    handles: list = [
        Patch(facecolor="#{:02x}{:02x}{:02x}".format(*colour_of(place)), label=name)
        for place, name in enumerate(scene.names.values())
    ]
    if handles and scene.reference is not None:
        handles.append(Patch(facecolor="#888888", alpha=0.6, label="filled: reference"))
    if handles and scene.prediction is not None:
        handles.append(Line2D([], [], color="#bbbbbb", linewidth=1.6, label="line: prediction"))
    if handles:
        figure.legend(
            handles=handles[:10], loc="lower center", ncols=5, fontsize=9, frameon=False, labelcolor="white"
        )
