"""The live widget of a running notebook: ipyniivue, or itkwidgets where only that is installed."""

import sys
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numpy as np

from medseg.errors import InputError
from medseg.reports.scene import Scene, colour_of, to_nifti

_HEIGHT = 480  # pixels


def live_widget(scene: Scene) -> Any:
    """A widget with the scene's image and label maps.

    Raises:
        InputError: neither ipyniivue nor itkwidgets is installed.
    """
    if "google.colab" in sys.modules:
        # Colab shows only its own widgets until it is asked to load others.
        import_module("google.colab.output").enable_custom_widget_manager()
    if find_spec("ipyniivue"):
        return _niivue(scene)
    if find_spec("itkwidgets"):
        return _itkwidgets(scene)
    raise InputError(
        "there is no live viewer here",
        expected="ipyniivue or itkwidgets installed",
        got="neither",
        do="run `pip install ipyniivue` and restart the kernel, or leave out live=True",
    )


def _niivue(scene: Scene) -> Any:
    ipyniivue = import_module("ipyniivue")
    widget = ipyniivue.NiiVue(
        height=_HEIGHT,
        multiplanar_show_render=ipyniivue.ShowRender.ALWAYS,
        drag_and_drop_enabled=False,
    )
    volumes: list[dict[str, Any]] = [{"name": "image.nii.gz", "data": to_nifti(scene.image, scene.affine)}]
    for part, labels in (("reference", scene.reference), ("prediction", scene.prediction)):
        if labels is not None:
            data = to_nifti(labels, scene.affine)
            volumes.append({"name": f"{part}.nii.gz", "data": data, "opacity": 0.5})
    widget.load_volumes(volumes)
    for volume in widget.volumes[1:]:
        volume.set_colormap_label(_colormap(scene))
    return widget


def _colormap(scene: Scene) -> dict[str, list]:
    rgb = [colour_of(place) for place in range(len(scene.names))]
    return {
        "R": [0, *(c[0] for c in rgb)],
        "G": [0, *(c[1] for c in rgb)],
        "B": [0, *(c[2] for c in rgb)],
        "A": [0, *(255 for _ in rgb)],
        "I": [0, *scene.names],
        "labels": ["", *scene.names.values()],
    }


def _itkwidgets(scene: Scene) -> Any:
    # itkwidgets shows one label map: the prediction when there is one.
    labels = scene.prediction if scene.prediction is not None else scene.reference
    view = import_module("itkwidgets").view
    return view(image=np.asarray(scene.image), label_image=labels)
