"""A lifted network against its 2D parent, over kinds of first layers, and over every family of timm."""

import csv
import runpy
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

import medseg.compat  # noqa: F401  isort: skip
import timm
from timm.layers import Conv2dSame, StdConv2dSame

from medseg.errors import InputError
from medseg.inflation.first_conv import lift

ROOT = Path(__file__).parents[2]
SWEEP = ROOT / "book" / "_data" / "inflation_sweep.csv"
DEPTH, CENTRE = 5, 2
# One architecture for each kind of first layer, with options that keep it small.
KINDS = {
    "Conv2d": ("test_resnet", {}),
    "patch": ("test_vit", {"img_size": 32}),
    "patch of windows": ("swin_tiny_patch4_window7_224", {"img_size": 64, "embed_dim": 24, "depths": (1, 1)}),
    "relative bias": ("beit_base_patch16_224", {"img_size": 32, "embed_dim": 48, "depth": 2, "num_heads": 2}),
    "SAME": ("tf_mobilenetv3_small_minimal_100", {}),
    "two branches": ("mobileone_s0", {}),
    "two scales": ("crossvit_tiny_240", {}),
    "standardised": ("vit_tiny_r_s16_p8_224", {"img_size": 64, "depth": 2}),
    "scaled standardised": ("test_nfnet", {}),
    "space to depth": ("tresnet_m", {"layers": (1, 1, 1, 1)}),
    "colours last in a patch": ("naflexvit_base_patch16_gap", {"embed_dim": 48, "depth": 2, "num_heads": 2}),
    "transform": ("csatv2", {}),
    "plain stack": ("convnext_atto", {"depths": (1, 1, 1, 1)}),
}


def network(kind):
    name, options = KINDS[kind]
    torch.manual_seed(0)
    return timm.create_model(name, num_classes=0, **options).eval()


def size_of(kind):
    return KINDS[kind][1].get("img_size", 64)


def windows(size, channels=1):
    return torch.rand(1, channels, DEPTH, size, size, generator=torch.Generator().manual_seed(1)) * 2 - 1


def gray(image):
    """A slice (B, C, H, W) as three equal colours: the mean over its channels."""
    return image.mean(1, keepdim=True).expand(-1, 3, -1, -1)


@pytest.mark.parametrize("kind", KINDS)
def test_center_is_the_2d_network_of_the_centre_slice(kind):
    model, window = network(kind), windows(size_of(kind))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    lifted, report = lift(model, DEPTH, "center")
    with torch.no_grad():
        wanted, other = model(gray(window[:, :, CENTRE])), model(gray(window[:, :, 0]))
        got = lifted(window)
    scale = float(wanted.abs().max())
    assert float((got - wanted).abs().max()) <= 1e-4 * scale
    assert float((other - wanted).abs().max()) >= 1e-3 * scale
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    total = sum(parameter.numel() for parameter in lifted.parameters())
    assert report.parameters_kept + report.parameters_changed == total


@pytest.mark.parametrize("kind", ["Conv2d", "patch", "standardised", "scaled standardised", "space to depth"])
@pytest.mark.parametrize("rule", ["average", "linear", "rgb"])
def test_depth_constant_window_gives_the_2d_network(rule, kind):
    model, slice_ = network(kind), windows(size_of(kind), channels=2)[:, :, :1]
    lifted, _ = lift(model, DEPTH, rule, in_channels=2)
    with torch.no_grad():
        wanted, got = model(gray(slice_[:, :, 0])), lifted(slice_.expand(-1, -1, DEPTH, -1, -1))
    assert float((got - wanted).abs().max()) <= 1e-4 * float(wanted.abs().max())


def test_every_first_layer_is_reported():
    _, report = lift(network("two branches"), DEPTH, "center", in_channels=2)
    assert [layer.key for layer in report.layers] == ["stem.conv_kxk.0.conv", "stem.conv_scale.conv"]
    assert report.layers[0].shape[1:] == (2, DEPTH, 3, 3)


def test_standardised_again_the_law_would_break():
    """Why it is carried out before the lift: over zeros on the other slices it gives another kernel."""
    model = network("standardised")
    lifted, report = lift(model, DEPTH, "center")
    baked = lifted.trunk.get_submodule("patch_embed.backbone.conv")
    again = StdConv2dSame(DEPTH, baked.out_channels, 7, 2)
    again.weight = nn.Parameter(torch.zeros_like(again.weight))
    again.weight.data[:, CENTRE] = model.patch_embed.backbone.conv.weight.detach().sum(1)
    window = windows(64)[:, 0]
    with torch.no_grad():
        wanted, got = baked(window), again(window)
    assert type(baked) is Conv2dSame and "standardisation" in report.layers[0].note
    assert float((got - wanted).abs().max()) > 0.1 * float(wanted.abs().max())


@pytest.mark.parametrize("layer", [nn.Conv2d(3, 6, 3, 2, 1, groups=3), Conv2dSame(3, 6, 3, 2, groups=3)])
def test_depthwise_first_convolution_is_written_out(layer):
    model = nn.Sequential(layer)
    model.pretrained_cfg = {"first_conv": "0"}
    lifted, report = lift(model, DEPTH, "center")
    window = windows(9)
    torch.testing.assert_close(lifted(window), model(gray(window[:, :, CENTRE])))
    assert report.layers[0].note == "groups written out"


def test_training_reaches_the_lifted_layer():
    lifted, _ = lift(network("Conv2d").train(), DEPTH, "average")
    lifted(windows(64).expand(2, -1, -1, -1, -1)).sum().backward()
    assert all(parameter.grad is not None for parameter in lifted.parameters())


@pytest.mark.parametrize(
    "model",
    [
        nn.Conv2d(3, 4, 3),
        timm.create_model("test_resnet", in_chans=1),
        timm.create_model("test_resnet", features_only=True).conv1,
    ],
    ids=["not timm", "one channel", "a part"],
)
def test_what_cannot_be_lifted_is_refused(model):
    with pytest.raises(InputError, match="first layer"):
        lift(model, DEPTH, "center")


def test_another_window_is_refused():
    lifted, _ = lift(network("Conv2d"), DEPTH, "center")
    with pytest.raises(InputError, match="C = 1, D = 5"):
        lifted(windows(32)[:, :, 1:])


def rows():
    with SWEEP.open(newline="") as handle:
        return list(csv.DictReader(handle))


def test_sweep_has_one_row_an_architecture():
    names = [row["name"] for row in rows()]
    assert names == sorted(set(names)) and set(names) == set(timm.list_models())
    assert len([row for row in rows() if row["status"] != "failed"]) >= 1350
    assert all(int(row["parameters"]) > 10**9 for row in rows() if row["status"] == "shape only")
    assert all((row["status"] == "failed") == bool(row["reason"]) for row in rows())
    assert {row["status"] for row in rows()} <= {"holds", "shape only", "failed"}
    assert all(float(row["deviation"]) <= 1e-4 for row in rows() if row["status"] == "holds")


@pytest.mark.slow
def test_smallest_of_every_family_has_the_status_of_the_sweep():
    examine = runpy.run_path(str(ROOT / "scripts" / "inflation_sweep.py"))["examine"]
    smallest = {}
    for row in sorted(rows(), key=lambda row: -int(row["parameters"] or 0)):
        if row["name"] in timm.list_models():
            smallest[row["family"]] = row
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what timm's architectures warn of is not ours
        found = {row["name"]: examine(row["name"])["status"] for row in smallest.values()}
    assert found == {row["name"]: row["status"] for row in smallest.values()}
