"""Video Swin equals torchvision's network, keeps its laws along depth, and takes both releases' weights."""

import pytest
import torch
from block_calls import check_recomputed
from torch import nn

import medseg.compat  # noqa: F401  isort: skip
from torchvision.models.video import swin3d_b, swin3d_s, swin3d_t
from torchvision.models.video.swin_transformer import SwinTransformer3d

from medseg.encoders import video_swin
from medseg.encoders.checkpoints import stand_in_state
from medseg.encoders.sources import WEIGHTS
from medseg.encoders.video_swin import FoldedPatchEmbed, VideoSwinEncoder
from medseg.errors import InputError
from medseg.training import precision

TOY, ALL = "video_swin_toy", (0, 1, 2, 3)
THEIRS = {"video_swin_tiny": swin3d_t, "video_swin_small": swin3d_s, "video_swin_base": swin3d_b}


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def swin3d_toy(weights=None, **options):
    """torchvision's network with the real patches and windows, eight narrow blocks."""
    return SwinTransformer3d([2, 4, 4], 12, [2, 2, 2, 2], [1, 2, 4, 8], [8, 7, 7], **options)


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    monkeypatch.setitem(video_swin.ARCHITECTURES, TOY, swin3d_toy)
    torch.manual_seed(0)


def stages(network, windows):
    """The outputs of torchvision's four stages, all depth slices: B D H W C."""
    tokens, outputs = network.patch_embed(windows), []
    for number, part in enumerate(network.features):
        tokens = part(tokens)
        if number % 2 == 0:
            outputs.append(tokens)
    return outputs


def given(monkeypatch, state):
    """Weights of this state under the name of the published ones."""
    monkeypatch.setattr(video_swin, "read_weights", lambda name: (dict(state), WEIGHTS[name]))


def official(state):
    """torchvision's keys as the official release names them, with what it has beside the network."""
    named = {"cls_head.fc_cls.weight": numbers(6, 7), "backbone.norm.weight": numbers(7)}
    for key, value in state.items():
        if key.startswith(("head.", "norm.")):
            continue
        if key.startswith("features."):
            _, number, rest = key.split(".", 2)
            place = "downsample" if int(number) % 2 else "blocks"
            key = f"layers.{int(number) // 2}.{place}.{rest}"
        named["backbone." + key.replace("mlp.0", "mlp.fc1").replace("mlp.3", "mlp.fc2")] = value
    return named


@pytest.mark.parametrize(("in_channels", "slices"), [(1, 5), (2, 1)])
def test_feature_maps_have_the_stated_channels_and_strides(in_channels, slices):
    with torch.device("meta"):
        encoder = VideoSwinEncoder("video_swin_base", in_channels, slices, 224, ALL)
        features = encoder(torch.empty(2, in_channels, slices, 224, 224))
    shapes = [tuple(feature.shape) for feature in features]
    assert shapes == [(2, 128, 56, 56), (2, 256, 28, 28), (2, 512, 14, 14), (2, 1024, 7, 7)]
    assert (encoder.channels, encoder.strides) == ((128, 256, 512, 1024), (4, 8, 16, 32))


@pytest.mark.parametrize(("architecture", "in_channels"), [*zip(THEIRS, (1, 2, 4), strict=True)])
def test_parameters_are_torchvisions_without_the_top(architecture, in_channels):
    with torch.device("meta"):
        ours, theirs = VideoSwinEncoder(architecture, in_channels, 5, 224, ALL), THEIRS[architecture]()
    top = sum(p.numel() for part in (theirs.norm, theirs.head) for p in part.parameters())
    colours = theirs.patch_embed.proj.weight[:, :1].numel() * (in_channels - 3)
    expected = sum(p.numel() for p in theirs.parameters()) - top + colours
    assert sum(p.numel() for p in ours.parameters()) == expected


@pytest.mark.parametrize("in_channels", [1, 2])
def test_the_folded_embedding_is_the_3d_convolution(in_channels):
    folded = FoldedPatchEmbed([2, 4, 4], 6, nn.LayerNorm, in_channels)
    windows, kernel = numbers(2, in_channels, 5, 8, 12), numbers(6, in_channels, 2, 4, 4, seed=1)
    folded.load_state_dict(folded.state_dict() | {"proj.weight": kernel.flatten(1, 2)})
    padded = nn.functional.pad(windows, (0, 0, 0, 0, 0, 1))
    by_conv3d = nn.functional.conv3d(padded, kernel, folded.proj.bias, stride=(2, 4, 4))
    torch.testing.assert_close(folded(windows), folded.norm(by_conv3d.movedim(1, -1)), rtol=1e-5, atol=1e-5)


# Maps of 14 and 7 px are as large as a window: there torchvision reads the right positions. The depths are an
# odd one, one whole window, and shifted and padded windows.
@pytest.mark.parametrize(("in_channels", "slices"), [(1, 5), (2, 16), (1, 18)])
@pytest.mark.parametrize("release", ["torchvision", "official"])
def test_it_is_torchvisions_network_on_the_gray_windows(monkeypatch, in_channels, slices, release):
    network = swin3d_toy().eval()
    state = network.state_dict()
    given(monkeypatch, official(state) if release == "official" else state)
    encoder = VideoSwinEncoder(TOY, in_channels, slices, 56, (0, 1)).eval()
    report = encoder.load("video_swin_base", "center")
    # The stages behind the taps, the last norm and the classifier are skipped, by name.
    assert (report.coverage, set(report.counts())) == (1.0, {"mapped", "skipped"})
    gray = numbers(1, 1, slices, 56, 56)
    with torch.no_grad():
        ours = encoder(gray.expand(-1, in_channels, -1, -1, -1))
        theirs = stages(network, gray.expand(-1, 3, -1, -1, -1))
    for feature, tokens in zip(ours, theirs, strict=False):
        expected = tokens[:, slices // 2 // 2].movedim(-1, 1)
        torch.testing.assert_close(feature, expected, rtol=1e-4, atol=1e-4)


def test_a_slice_that_lacks_is_one_of_zeros():
    odd, even = VideoSwinEncoder(TOY, 1, 5, 32, ALL).eval(), VideoSwinEncoder(TOY, 1, 6, 32, ALL).eval()
    even.load_state_dict(odd.state_dict())
    windows = numbers(1, 1, 5, 32, 32)
    padded = nn.functional.pad(windows, (0, 0, 0, 0, 0, 1))
    with torch.no_grad():
        for one, other in zip(odd(windows), even(padded), strict=True):
            assert torch.equal(one, other)


def without_depth_in_positions(encoder):
    """Give pairs of tokens the same bias whatever their distance in depth."""
    for name, table in encoder.named_parameters():
        if name.endswith("relative_position_bias_table"):
            planes = table.detach().reshape(15, -1, table.shape[1])
            table.data = planes[:1].expand(15, -1, -1).reshape(table.shape).contiguous()


# The law holds where depth is not padded and bias does not depend on depth: attention to equal copies is
# attention to one of them. 32 slices are two windows, shifted in every second block.
@pytest.mark.parametrize("slices", [4, 32])
def test_a_depth_constant_window_is_its_single_patch(slices):
    single, many = (
        VideoSwinEncoder(TOY, 1, 2, 32, ALL).eval(),
        VideoSwinEncoder(TOY, 1, slices, 32, ALL).eval(),
    )
    without_depth_in_positions(single)
    many.load_state_dict(single.state_dict())
    image = numbers(1, 1, 1, 32, 32)
    with torch.no_grad():
        one, all_slices = single(image.expand(-1, -1, 2, -1, -1)), image.expand(-1, -1, slices, -1, -1)
        for feature, expected in zip(many(all_slices), one, strict=True):
            torch.testing.assert_close(feature, expected, rtol=1e-4, atol=1e-4)
        for tokens in stages(many.trunk, all_slices):
            torch.testing.assert_close(tokens, tokens[:, :1].expand_as(tokens), rtol=1e-4, atol=1e-4)


# Holds with one window along depth, an odd number of patches and no padding: 10 slices are 5 patches. In the
# plane shifted windows are not symmetric.
def test_a_window_mirrored_along_depth_meets_mirrored_weights():
    plain, mirrored = (VideoSwinEncoder(TOY, 1, 10, 32, ALL).eval() for _ in range(2))
    state = plain.state_dict()
    for key, value in state.items():
        if key.endswith("relative_position_bias_table"):
            state[key] = value.reshape(15, -1, value.shape[1]).flip(0).reshape(value.shape)
        elif key.endswith("patch_embed.proj.weight"):
            state[key] = value.unflatten(1, (-1, 2)).flip(2).flatten(1, 2)
    mirrored.load_state_dict(state)
    windows = numbers(1, 1, 10, 32, 32)
    with torch.no_grad():
        for one, other in zip(plain(windows), mirrored(windows.flip(2)), strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


# 96 px: maps of 24, 12, 6 and 3 px; 5 slices: 3 patches. Each entry of the table holds its own number.
def test_a_pair_of_tokens_reads_the_bias_of_its_own_offset():
    encoder = VideoSwinEncoder(TOY, 1, 5, 96, ALL)
    for stage, (depth, edge) in zip(
        encoder.trunk.features[::2], [(3, 7), (3, 7), (3, 6), (3, 3)], strict=True
    ):
        attention = stage[0].attn
        table = torch.arange(15 * 13 * 13.0).unsqueeze(1).expand(-1, attention.num_heads)
        attention.relative_position_bias_table.data = table.contiguous()
        bias = attention.get_relative_position_bias([depth, edge, edge])[0, 0]
        places = torch.cartesian_prod(torch.arange(depth), torch.arange(edge), torch.arange(edge))
        offsets = places[:, None] - places[None] + torch.tensor([7, 6, 6])
        expected = (offsets * torch.tensor([13 * 13, 13, 1])).sum(-1)
        assert torch.equal(bias, expected.float())


@pytest.mark.parametrize("taps", [ALL, (0, 2)])
def test_gradients_reach_every_parameter_again_when_recomputed(taps):
    encoder = VideoSwinEncoder(TOY, 1, 5, 32, taps).train()

    def step():
        encoder.zero_grad()
        sum(feature.square().sum() for feature in encoder(numbers(1, 1, 5, 32, 32))).backward()
        return {name: p.grad.clone() for name, p in encoder.named_parameters()}

    blocks = [site.block for site in encoder.sites()]
    first, second = check_recomputed(blocks, step, encoder.recompute_activations)
    assert all(gradient.abs().sum() > 0 for gradient in first.values())
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_training_is_as_fixed_as_evaluation():
    encoder, windows = VideoSwinEncoder(TOY, 1, 3, 32, (1,)), numbers(2, 1, 3, 32, 32)
    assert torch.equal(encoder.train()(windows)[0], encoder.eval()(windows)[0])


def test_no_3d_convolution_is_left_for_the_table_of_precisions(monkeypatch):
    monkeypatch.setattr(precision, "device_kind", lambda: "cpu")
    with torch.device("meta"):
        encoder = VideoSwinEncoder(TOY, 1, 5, 32, ALL)
    assert precision.plan("auto", encoder).choice == "bf16"


@pytest.mark.parametrize("taps", [ALL, (0, 1)])
def test_stand_in_weights_fill_it(taps):
    encoder = VideoSwinEncoder(TOY, 2, 5, 32, taps)
    report = encoder.load("stand_in", "center")
    assert (report.coverage, report.drawn, report.sha256) == (1.0, 0.0, None)
    assert set(report.counts()) == {"mapped"}


@pytest.mark.parametrize("key", ["features.0.0.attn.qkv.weight", "neck.weight"])
def test_weights_that_do_not_fit_are_refused(monkeypatch, key):
    given(monkeypatch, stand_in_state(swin3d_toy().state_dict()) | {key: numbers(3)})
    with pytest.raises(InputError, match="do not fit"):
        VideoSwinEncoder(TOY, 1, 5, 32, ALL).load("video_swin_base", "center")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"architecture": "video_swin_huge"}, "no such Video Swin"),
        ({"image_px": 40}, "does not fit"),
        ({"taps": (3, 5, 7, 11)}, "does not fit"),
        ({"taps": (1, 0)}, "does not fit"),
        ({"taps": ()}, "does not fit"),
    ],
)
def test_what_it_cannot_be_is_refused(changes, words):
    asked = {"architecture": TOY, "in_channels": 1, "slices": 5, "image_px": 32, "taps": ALL} | changes
    with torch.device("meta"), pytest.raises(InputError, match=words):
        VideoSwinEncoder(**asked)


def test_other_windows_and_rules_are_refused():
    with torch.device("meta"):
        encoder = VideoSwinEncoder(TOY, 1, 5, 32, (0,))
        with pytest.raises(InputError, match="do not fit"):
            encoder(torch.empty(1, 1, 6, 32, 32))
    with pytest.raises(InputError, match="nothing to inflate"):
        encoder.load("stand_in", "random")
