"""The one call that shows a volume with its reference and prediction: on a page, in print, and live."""

import base64
import html
import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import numpy as np

from medseg.data.volume import Volume
from medseg.reports.live import live_widget
from medseg.reports.scene import Scene, colour_of, make_scene, shell, to_nifti
from medseg.reports.still import still_image

WIDGET_MIME = "application/vnd.jupyter.widget-view+json"


@dataclass(frozen=True)
class Display:
    """What a notebook shows: HTML for the page, a PNG, and perhaps a live widget.

    Attributes:
        html: the viewer with the volume inside, and the still image below it.
        png: the still image alone.
        widget: the live widget, or None.
        summary: one line for a text terminal.
    """

    html: str
    png: bytes
    widget: Any
    summary: str

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        bundle: dict[str, Any] = {
            "text/html": self.html,
            "image/png": base64.b64encode(self.png).decode(),
            "text/plain": self.summary,
        }
        if self.widget is not None:
            # A running notebook prefers this one; the built book is told to take the HTML.
            bundle[WIDGET_MIME] = {
                "version_major": 2,
                "version_minor": 0,
                "model_id": self.widget.model_id,
            }
        return bundle


def show(
    volume: Volume,
    reference: np.ndarray | None = None,
    prediction: np.ndarray | None = None,
    names: Mapping[int, str] | None = None,
    live: bool = False,
    title: str = "",
) -> Display:
    """Show a volume in three planes and 3D, with reference and prediction to switch on and off.

    The page part needs no kernel and asks no other host; it draws with the NiiVue script of the built
    book and always carries the still image below. Axes longer than 128 voxels are cropped and sampled down.

    Args:
        volume: the image; channel 0 is shown.
        reference: label map, axes D H W; the volume's own labels when None.
        prediction: label map, axes D H W, or None.
        names: label value to name, for the legend.
        live: add a live widget (ipyniivue, or itkwidgets when only that is installed).
        title: a heading; the volume's name when empty.

    Raises:
        InputError: a label map of another shape or outside 0 to 255; `live` without a widget library.
    """
    reference = volume.labels if reference is None else reference
    scene = make_scene(volume, reference, prediction, names)
    title = title or volume.name
    png = still_image(scene)
    return Display(
        html=_page(scene, title, png),
        png=png,
        widget=live_widget(scene) if live else None,
        summary=_summary(scene, title),
    )


def _parts(scene: Scene) -> dict[str, np.ndarray]:
    parts = {"image": scene.image, "reference": scene.reference, "prediction": scene.prediction}
    return {part: array for part, array in parts.items() if array is not None}


def _summary(scene: Scene, title: str) -> str:
    others = [part for part in _parts(scene) if part != "image"]
    labels = ", ".join(scene.names.values())
    return f"{title}: image" + "".join(f", {part}" for part in others) + (f" ({labels})" if labels else "")


def _data(scene: Scene) -> str:
    """The viewer's input as JSON that is safe inside a script element."""
    both = scene.reference is not None and scene.prediction is not None
    if both:
        # On the divided voxels the line of the prediction is thinner than a voxel of the image.
        scene = scene.refined
    volumes = []
    for part, array in _parts(scene).items():
        # Beside a filled reference the prediction is drawn as its surface: in a plane that is a line.
        drawn = shell(array) if both and part == "prediction" else array
        volumes.append({"part": part, "data": base64.b64encode(to_nifti(drawn, scene.affine)).decode()})
    labels = [
        {"value": value, "name": name, "rgb": colour_of(place)}
        for place, (value, name) in enumerate(scene.names.items())
    ]
    text = json.dumps({"volumes": volumes, "labels": labels, "focus": scene.focus[::-1]})
    return text.replace("<", "\\u003c")


def _legend(scene: Scene) -> str:
    items = []
    for place, name in enumerate(scene.names.values()):
        colour = "rgb({}, {}, {})".format(*colour_of(place))
        swatch = f'<span class="medseg-viewer-swatch" style="background:{colour}"></span>'
        items.append(f"<li>{swatch}{html.escape(name)}</li>")
    return f'<ul class="medseg-viewer-legend" aria-label="labels">{"".join(items)}</ul>' if items else ""


def _page(scene: Scene, title: str, png: bytes) -> str:
    here = files("medseg.reports")
    parts = _parts(scene)
    buttons = "".join(
        f'<button type="button" data-part="{part}" aria-pressed="true">{part}</button>' for part in parts
    )
    drawn = "Reference filled, prediction as a line." if len(parts) == 3 else ""
    summary = html.escape(_summary(scene, title))
    still = base64.b64encode(png).decode()
    return f"""<div class="medseg-viewer" data-ready="waiting" role="group" aria-label="{summary}">
<style>{here.joinpath("viewer.css").read_text(encoding="utf-8")}</style>
<p class="medseg-viewer-title">{html.escape(title)}</p>
<div class="medseg-viewer-live" hidden>
<div class="medseg-viewer-stage">
<canvas tabindex="0" role="img" aria-label="Interactive view. {summary}"></canvas>
</div>
<div class="medseg-viewer-bar" role="group" aria-label="show or hide">{buttons}</div>
<p class="medseg-viewer-hint">Drag in a plane to move the crosshair, in the 3D view to turn it. With the
picture in focus: arrow keys, Page Up and Page Down, or the wheel.</p>
</div>
{_legend(scene)}
<p class="medseg-viewer-status" role="status"></p>
<figure>
<img src="data:image/png;base64,{still}" alt="Three planes of {summary}">
<figcaption>Still image: axial, coronal and sagittal plane. {drawn}</figcaption>
</figure>
<script type="application/json">{_data(scene)}</script>
<script>{here.joinpath("viewer.js").read_text(encoding="utf-8")}</script>
</div>"""
