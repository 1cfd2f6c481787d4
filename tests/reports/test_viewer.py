"""The one display call: its MIME bundle, what goes into the page, and what it refuses."""

import base64
import gzip
import json
import re
import sys
from types import ModuleType, SimpleNamespace

import nibabel as nib
import numpy as np
import pytest

from medseg.data.volume import Volume, read
from medseg.errors import InputError
from medseg.reports.scene import MAX_VOXELS, colour_of, make_scene, shell
from medseg.reports.viewer import WIDGET_MIME, show

SHAPE = (14, 12, 6)  # x, y, z


@pytest.fixture
def volume(tmp_path) -> Volume:
    return make_volume(tmp_path, SHAPE)


def make_volume(folder, shape) -> Volume:
    """A bright box in noise on an oblique, anisotropic grid."""
    rng = np.random.default_rng(0)
    labels = np.zeros(shape, np.uint8)
    labels[tuple(slice(n // 4, n // 2) for n in shape)] = 1
    labels[tuple(slice(n // 2, 3 * n // 4) for n in shape)] = 2
    image = (rng.normal(0, 5, shape) + 100.0 * labels).astype(np.float32)
    turn = nib.eulerangles.euler2mat(0.1, 0.05, 0.2)
    affine = nib.affines.from_matvec(turn @ np.diag([1.0, 1.5, 2.5]), [-20, -18, -15])
    for name, array in (("box", image), ("box_labels", labels)):
        nib.save(nib.Nifti1Image(array, affine), folder / f"{name}.nii.gz")
    return read(folder / "box.nii.gz", folder / "box_labels.nii.gz")


def data_of(html: str) -> dict:
    return json.loads(re.search(r'<script type="application/json">(.*?)</script>', html, re.DOTALL)[1])


def image_in(entry: dict) -> nib.Nifti1Image:
    return nib.Nifti1Image.from_bytes(gzip.decompress(base64.b64decode(entry["data"])))


def test_bundle_has_the_page_part_and_the_png(volume):
    bundle = show(volume, names={1: "one"})._repr_mimebundle_()
    assert set(bundle) == {"text/html", "image/png", "text/plain"}
    assert base64.b64decode(bundle["image/png"]).startswith(b"\x89PNG")
    assert bundle["image/png"] in bundle["text/html"]
    assert bundle["text/html"].count("<img ") == bundle["text/html"].count("alt=") == 1
    assert "http://" not in bundle["text/html"] and "https://" not in bundle["text/html"]
    assert bundle["text/plain"] == "box: image, reference (one, label 2)"


def test_equal_input_gives_equal_bytes(volume):
    first, second = (show(volume, prediction=volume.labels) for _ in range(2))
    assert first.html == second.html and first.png == second.png


def test_page_holds_image_and_labels_where_they_lie_in_space(volume):
    data = data_of(show(volume).html)
    assert [entry["part"] for entry in data["volumes"]] == ["image", "reference"]
    image, labels = map(image_in, data["volumes"])
    assert image.get_data_dtype() == labels.get_data_dtype() == np.uint8
    np.testing.assert_allclose(image.affine, volume.affine, atol=1e-4)
    np.testing.assert_array_equal(np.asarray(labels.dataobj), volume.labels.transpose(2, 1, 0))
    assert np.asarray(labels.dataobj)[tuple(data["focus"])] > 0


def test_prediction_beside_a_reference_is_a_thin_surface_in_the_same_place(volume):
    data = data_of(show(volume, prediction=volume.labels).html)
    image, reference, prediction = map(image_in, data["volumes"])
    filled, line = np.asarray(reference.dataobj), np.asarray(prediction.dataobj)
    assert filled.shape == tuple(3 * n for n in SHAPE)
    assert 0 < (line > 0).sum() < (filled > 0).sum()
    np.testing.assert_array_equal(filled[line > 0], line[line > 0])
    # The divided voxels have the same centre of mass in mm as the volume's own.
    for value in (1, 2):
        own = np.argwhere(volume.labels.transpose(2, 1, 0) == value).mean(0)
        fine = np.argwhere(filled == value).mean(0)
        expected = nib.affines.apply_affine(volume.affine, own)
        np.testing.assert_allclose(nib.affines.apply_affine(reference.affine, fine), expected, atol=1e-3)


def test_prediction_alone_is_filled(tmp_path, volume):
    bare = Volume(volume.array, None, volume.affine, volume.native, volume.name)
    data = data_of(show(bare, prediction=volume.labels).html)
    assert [entry["part"] for entry in data["volumes"]] == ["image", "prediction"]
    np.testing.assert_array_equal(
        np.asarray(image_in(data["volumes"][1]).dataobj), volume.labels.transpose(2, 1, 0)
    )
    assert data_of(show(bare).html)["labels"] == []


def test_large_axes_are_brought_to_the_limit_in_place(tmp_path):
    big = make_volume(tmp_path, (150, 20, 300))
    scene = make_scene(big, big.labels, None, None)
    assert scene.image.shape[1] <= 20 and max(scene.image.shape) <= MAX_VOXELS
    for value in (1, 2):
        own = np.argwhere(big.labels.transpose(2, 1, 0) == value).mean(0)
        small = np.argwhere(scene.reference.transpose(2, 1, 0) == value).mean(0)
        distance = nib.affines.apply_affine(big.affine, own) - nib.affines.apply_affine(scene.affine, small)
        assert np.abs(distance).max() < max(scene.spacing_mm)


def test_names_and_title_are_text_and_never_markup(volume):
    html = show(volume, names={1: "</script><b>x"}, title="a < b & c").html
    assert "<b>x" not in html and "a &lt; b &amp; c" in html
    assert html.count("</script>") == 2
    assert data_of(html)["labels"][0]["name"] == "</script><b>x"


def test_every_label_has_a_colour_of_its_own():
    colours = [colour_of(place) for place in range(40)]
    assert len(set(colours)) == 40 and all(0 <= c <= 255 for colour in colours for c in colour)


def test_shell_keeps_thin_labels_and_opens_thick_ones():
    labels = np.zeros((7, 7, 7), np.uint8)
    labels[1:6, 1:6, 1:6] = 3
    labels[0, 0, 0] = 4
    opened = shell(labels)
    assert opened[3, 3, 3] == 0 and opened[1, 3, 3] == 3 and opened[0, 0, 0] == 4


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (np.zeros((1, 2, 3), np.uint8), "does not lie on the volume's grid"),
        (np.full(SHAPE[::-1], 300), "values that the viewer cannot colour"),
    ],
)
def test_refuses_maps_that_do_not_fit(volume, wrong, said):
    with pytest.raises(InputError, match=said):
        show(volume, prediction=wrong)


def test_live_adds_a_widget_and_keeps_the_page_part(volume):
    pytest.importorskip("ipyniivue")
    still, live = show(volume), show(volume, live=True)
    bundle = live._repr_mimebundle_()
    assert bundle[WIDGET_MIME]["model_id"] == live.widget.model_id
    assert live.html == still.html
    assert [v.name for v in live.widget.volumes] == ["image.nii.gz", "reference.nii.gz"]
    live.widget.close()


def test_live_takes_itkwidgets_where_only_that_is_installed(volume, monkeypatch):
    seen = {}
    fake = ModuleType("itkwidgets")
    fake.view = lambda **parts: seen.update(parts) or SimpleNamespace(model_id="m")
    monkeypatch.setitem(sys.modules, "itkwidgets", fake)
    monkeypatch.setattr("medseg.reports.live.find_spec", lambda name: name == "itkwidgets" or None)
    assert show(volume, live=True)._repr_mimebundle_()[WIDGET_MIME]["model_id"] == "m"
    np.testing.assert_array_equal(seen["label_image"], volume.labels)


def test_live_without_a_widget_library_says_what_to_install(volume, monkeypatch):
    monkeypatch.setattr("medseg.reports.live.find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install ipyniivue"):
        show(volume, live=True)
