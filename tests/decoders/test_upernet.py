"""UPerNet: the published sizes of both forms, the resolution of the logits, a use of every map."""

import pytest
import torch

from medseg.decoders.upernet import UPerNet
from medseg.errors import InputError

WIDTHS = [8, 12, 16, 20]
SWIN = [4, 8, 16, 32]


def maps(side, batch=2):
    """Four maps of one stride."""
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(batch, width, side, side, generator=generator) for width in WIDTHS]


def pyramid(side, batch=2):
    """Four maps, each half as fine as the one before; the last has `side` px."""
    generator = torch.Generator().manual_seed(0)
    sides = [side << level for level in (3, 2, 1, 0)]
    return [
        torch.randn(batch, width, s, s, generator=generator) for width, s in zip(WIDTHS, sides, strict=True)
    ]


FORMS = pytest.mark.parametrize(("strides", "features"), [(None, maps), ([16] * 4, maps), (SWIN, pyramid)])


@pytest.mark.parametrize(
    ("in_channels", "channels", "strides", "parameters"),
    [
        ([768] * 4, 768, None, 74_940_686),
        ([768] * 4, 768, [16] * 4, 74_940_686),
        ([128, 256, 512, 1024], 512, SWIN, 33_246_222),
    ],
)
def test_size_with_14_classes_is_that_of_transseg(in_channels, channels, strides, parameters):
    with torch.device("meta"):
        decoder = UPerNet(in_channels, channels, 14, strides)
    assert sum(p.numel() for p in decoder.parameters()) == parameters


@pytest.mark.parametrize("side", [2, 3, 8])
def test_logits_are_four_times_as_fine_as_the_tokens(side):
    decoder = UPerNet(WIDTHS, 8, 5)
    assert decoder(maps(side)).shape == (2, 5, 4 * side, 4 * side)


@pytest.mark.parametrize("side", [1, 2, 3])
def test_logits_are_as_fine_as_the_finest_map_of_a_pyramid(side):
    decoder = UPerNet(WIDTHS, 8, 5, SWIN)
    assert decoder(pyramid(side)).shape == (2, 5, 8 * side, 8 * side)


def test_a_pyramid_is_taken_as_it_is():
    """Both forms are one network behind the pyramid."""
    plain = UPerNet(WIDTHS, 8, 5).eval()
    taken = UPerNet(WIDTHS, 8, 5, SWIN).eval()
    taken.load_state_dict({k: v for k, v in plain.state_dict().items() if not k.startswith("to_pyramid.")})
    features = maps(4)
    with torch.no_grad():
        levels = [level(feature) for level, feature in zip(plain.to_pyramid, features, strict=True)]
        torch.testing.assert_close(taken(levels), plain(features), rtol=1e-5, atol=1e-6)


@FORMS
def test_every_map_matters(strides, features):
    decoder = UPerNet(WIDTHS, 8, 5, strides).eval()
    given = [feature.requires_grad_() for feature in features(4)]
    decoder(given).square().sum().backward()
    assert all(feature.grad is not None and feature.grad.abs().sum() > 0 for feature in given)


@FORMS
def test_images_of_a_batch_do_not_mix_in_evaluation(strides, features):
    decoder = UPerNet(WIDTHS, 8, 5, strides).eval()
    with torch.no_grad():
        both = decoder(features(4))
        second = decoder([feature[1:] for feature in features(4)])
    torch.testing.assert_close(both[1:], second, rtol=1e-5, atol=1e-6)


def test_memory_layout_does_not_change_the_logits():
    decoder = UPerNet(WIDTHS, 8, 5).eval()
    with torch.no_grad():
        plain = decoder(maps(4))
        last = decoder([feature.to(memory_format=torch.channels_last) for feature in maps(4)])
    torch.testing.assert_close(plain, last, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("widths", "strides", "words"), [(WIDTHS, [32, 16, 8, 4], "ordered"), (WIDTHS[:3], None, "four maps")]
)
def test_maps_that_make_no_pyramid_are_refused(widths, strides, words):
    with pytest.raises(InputError, match=words):
        UPerNet(widths, 8, 5, strides)
