"""Networks inflated in full against their 2D parents."""

from collections import OrderedDict
from functools import partial

import pytest
import torch
from torch import nn

import medseg.compat  # noqa: F401  isort: skip
import timm
from timm.models.convmixer import ConvMixer

from medseg.errors import InputError
from medseg.inflation.first_conv import first_layers
from medseg.inflation.full import FULL_RULES, DepthConv, inflate_fully, require_plain, slices_mixed

DEPTH = 4


def small_conv_mixer(num_classes):
    """timm's own names fix the size; what they add is the card that says which layer is the first."""
    model = ConvMixer(dim=32, depth=2, num_classes=num_classes)
    model.pretrained_cfg = {"first_conv": "stem.0"}
    return model


FAMILIES = {
    "resnet": ("resnet10t", {}),
    "vgg": ("vgg11", {"mlp_ratio": 1 / 64}),
    "convnext": ("convnext_atto", {"depths": (1, 1, 1, 1)}),
    "regnet": ("regnetx_002", {}),
    "gates": ("test_efficientnet", {}),
    "SAME": ("tf_mobilenetv3_small_minimal_100", {}),
    "branches": ("mobileone_s0", {}),
    "convmixer": (small_conv_mixer, {}),
}


def network(family):
    name, options = FAMILIES[family]
    torch.manual_seed(0)
    make = name if callable(name) else partial(timm.create_model, name)
    return make(num_classes=0, **options).eval()


def window(channels=1):
    return torch.rand(1, channels, DEPTH, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1


def slice_by_slice(model, volume):
    """Outputs of the 2D network for each slice, as three equal colours of the mean channel."""
    images = volume.mean(1).flatten(0, 1)[:, None].expand(-1, 3, -1, -1)
    return model(images)


def close(got, wanted):
    assert float((got - wanted).abs().max()) <= 1e-4 * float(wanted.abs().max())


@pytest.mark.parametrize("family", FAMILIES)
def test_center_is_the_2d_network_slice_by_slice(family):
    model, volume = network(family), window()
    with torch.no_grad():
        close(inflate_fully(model, DEPTH, "center")(volume)[0], slice_by_slice(model, volume).mean(0))


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("rule", [rule for rule in FULL_RULES if rule != "center"])
def test_depth_constant_window_gives_the_2d_network(rule, family):
    model = network(family)
    volume = window(channels=2)[:, :, :1].expand(-1, -1, DEPTH, -1, -1)
    with torch.no_grad():
        got = inflate_fully(model, DEPTH, rule, in_channels=2)(volume)
        close(got[0], slice_by_slice(model, volume)[0])


def test_feature_maps_keep_depth_and_law_at_the_borders():
    model = timm.create_model("resnet10t", num_classes=0, global_pool="").eval()
    volume = window()[:, :, :1].expand(-1, -1, DEPTH, -1, -1)
    with torch.no_grad():
        got, wanted = inflate_fully(model, DEPTH, "average")(volume), slice_by_slice(model, volume)
    assert got.shape == (1, 512, DEPTH, 1, 1)
    close(got[0], wanted.movedim(0, 1))


def test_average_mixes_slices():
    model, volume = network("resnet"), window()
    inflated = inflate_fully(model, DEPTH, "average")
    with torch.no_grad():
        off = inflated(volume)[0] - slice_by_slice(model, volume).mean(0)
    assert float(off.abs().max()) > 1e-3
    spatial = [
        layer for layer in model.modules() if isinstance(layer, nn.Conv2d) and layer.kernel_size > (1, 1)
    ]
    assert slices_mixed(inflated) == 1 + 2 * len(spatial)


def test_batch_norm_over_slices_is_batch_norm_over_voxels():
    flat = nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 4, 3, padding=1), norm=nn.BatchNorm2d(4))).train()
    flat.pretrained_cfg = {"first_conv": "conv"}
    inflated = inflate_fully(flat, DEPTH, kernel_depth=1)
    solid = nn.Sequential(nn.Conv3d(1, 4, (1, 3, 3), padding=(0, 1, 1)), nn.BatchNorm3d(4)).train()
    with torch.no_grad():
        solid[0].weight.copy_(flat.conv.weight.sum(1, keepdim=True).unsqueeze(2))
        solid[0].bias.copy_(flat.conv.bias)
    volume = torch.randn(2, 1, DEPTH, 5, 5)
    torch.testing.assert_close(inflated(volume), solid(volume))
    for name in ("running_mean", "running_var"):
        torch.testing.assert_close(getattr(inflated.trunk.norm, name), getattr(solid[1], name))


def test_depth_conv_is_a_3d_convolution_inside():
    layer, kernel = nn.Conv2d(2, 4, 3, 2, 1), torch.randn(4, 2, 3, 3, 3)
    volume = torch.randn(2, 2, DEPTH, 7, 5)
    got = DepthConv(layer, kernel, DEPTH)(volume.movedim(2, 1).flatten(0, 1)).unflatten(0, (2, DEPTH))
    wanted = nn.functional.conv3d(volume, kernel, layer.bias, (1, 2, 2), (1, 1, 1))
    torch.testing.assert_close(got.movedim(1, 2)[:, :, 1:-1], wanted[:, :, 1:-1])


def test_training_reaches_every_parameter():
    inflated = inflate_fully(network("resnet").train(), DEPTH)
    inflated(window().expand(2, -1, -1, -1, -1)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in inflated.parameters())


@pytest.mark.parametrize(
    "name",
    ["mixer_s32_224", "resmlp_12_224", "gmlp_ti16_224", "sequencer2d_s", "lambda_resnet26rpt_256"]
    + ["edgenext_xx_small", "xcit_nano_12_p16_224", "efficientvit_b0", "shvit_s1"],
)
def test_what_mixes_positions_without_a_convolution_is_refused(name):
    with torch.device("meta"):
        model = timm.create_model(name, num_classes=0)
    with pytest.raises(InputError, match="cannot be inflated in full"):
        inflate_fully(model, DEPTH)


@pytest.mark.parametrize(
    "name", ["convmixer_768_32", "resnest14d", "skresnet18", "cspresnet50", "convnext_atto"]
)
def test_gates_and_convolutions_of_other_names_are_not(name):
    with torch.device("meta"):
        require_plain(model := timm.create_model(name, num_classes=0), first_layers(model))


@pytest.mark.parametrize("name", ["test_vit", "resnetv2_50x1_bit"])
def test_other_layers_are_named_in_the_refusal(name):
    with torch.device("meta"):
        model = timm.create_model(name, num_classes=0)
    with pytest.raises(InputError, match="Attention" if name == "test_vit" else "StdConv2d"):
        inflate_fully(model, DEPTH)


@pytest.mark.parametrize("wrong", [{"rule": "random"}, {"kernel_depth": 2}, {"depth": 0}], ids=str)
def test_wrong_options_are_refused(wrong):
    with pytest.raises(InputError, match="odd kernel_depth"):
        inflate_fully(network("resnet"), **{"depth": DEPTH} | wrong)


def test_another_depth_is_refused():
    with pytest.raises(InputError, match="4 slices"):
        inflate_fully(network("resnet"), DEPTH)(window()[:, :, 1:])


def test_padding_that_keeps_the_size_leaves_depth_alone():
    kernel = torch.randn(4, 3, 3, 5, 5)
    for padding in ("same", 2):
        layer = nn.Conv2d(3, 4, 5, padding=padding)
        lifted = DepthConv(layer, kernel, depth=DEPTH)
        assert lifted(torch.randn(2 * DEPTH, 3, 9, 7)).shape == (2 * DEPTH, 4, 9, 7)
    with pytest.raises(InputError, match="odd kernel"):
        DepthConv(nn.Conv2d(3, 4, 4, padding="same"), torch.randn(4, 3, 3, 4, 4), depth=DEPTH)
