"""ConvTrans: the size that its layers add up to, logits of the image's size, pixels that keep their place."""

import pytest
import torch

from medseg.decoders.conv_trans import ConvTrans


def last_map(channels, side=3, batch=2):
    return torch.randn(batch, channels, side, side, generator=torch.Generator().manual_seed(0))


def test_size_on_a_base_vit_with_14_classes():
    with torch.device("meta"):
        decoder = ConvTrans([768] * 4, 768, 14)
    # Three doublings 768 to 768 and one 768 to 14, kernels of 2 x 2 with bias, norms without parameters.
    expected = 3 * (768 * 768 * 4 + 768) + 768 * 14 * 4 + 14
    assert sum(p.numel() for p in decoder.parameters()) == expected


@pytest.mark.parametrize(
    ("strides", "factor"), [(None, 16), ([16] * 4, 16), ([14] * 4, 16), ([4, 8, 16, 32], 32)]
)
def test_logits_have_the_size_of_the_image(strides, factor):
    decoder = ConvTrans([8, 12, 16, 20], 8, 5, strides)
    assert decoder([last_map(20)]).shape == (2, 5, 3 * factor, 3 * factor)


def test_turning_the_map_and_the_kernels_turns_the_logits():
    """No layer but the kernels knows left from right."""
    decoder = ConvTrans([6], 8, 5).eval()
    with torch.no_grad():
        plain = decoder([last_map(6)])
        for parameter in decoder.parameters():
            if parameter.ndim == 4:
                parameter.copy_(parameter.flip(3))
        torch.testing.assert_close(decoder([last_map(6).flip(3)]), plain.flip(3), rtol=1e-4, atol=1e-5)


def test_only_the_last_map_is_used():
    decoder = ConvTrans([8, 12], 8, 5)
    maps = [last_map(8).requires_grad_(), last_map(12).requires_grad_()]
    decoder(maps).square().sum().backward()
    assert maps[0].grad is None
    assert maps[1].grad is not None and maps[1].grad.abs().sum() > 0
