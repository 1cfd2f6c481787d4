"""Tokens of every encoder as a volume: split and joined they are what they were."""

import pytest
import torch

from medseg.encoders.registry import make

ENCODERS = {
    "vit": ("vit_tiny_patch16_224", (3, 5, 7, 11), "patch"),
    "beit": ("beit_base_patch16_224", (3, 5, 7, 11), "patch"),
    "swin": ("swin_tiny_patch4_window7_224", (0, 1, 2, 3), "patch"),
    "tiny_vit": ("tiny_vit_5m_mobile_sam", (0, 1, 2, 3), "patch"),
    "video_swin": ("video_swin_tiny", (0, 1, 2, 3), "patch"),
    "cycle": ("vit_tiny_patch16_224", (3, 5, 7, 11), "cycle"),
    "joint": ("vit_tiny_patch16_224", (3, 5, 7, 11), "joint"),
}


@pytest.fixture(params=ENCODERS)
def encoder(request):
    name, taps, mixing = ENCODERS[request.param]
    torch.manual_seed(0)
    return make(name, 1, 3, 64, taps, mixing).eval()


def test_split_and_join_are_inverse_and_blocks_are_met_in_order(encoder):
    met = []

    def look(site):
        def hook(block, inputs, tokens):
            met.append(site.name)
            prefix, volume = site.layout.split(tokens)
            assert volume.shape[-1] == site.width
            assert torch.equal(site.layout.join(prefix, volume), tokens)

        return hook

    sites = encoder.sites()
    for site in sites:
        site.block.register_forward_hook(look(site))
    encoder(torch.randn(2, 1, 3, 64, 64))
    assert met == [site.name for site in sites]
    assert all(encoder.get_submodule(site.name) is site.block for site in sites)


def test_stages_close_once(encoder):
    sites = encoder.sites()
    assert [site.stage for site in sites] == sorted(site.stage for site in sites)
    closing = [site.stage for site in sites if site.closes_stage]
    assert closing == sorted({site.stage for site in sites})


def test_the_last_volume_is_the_last_map(encoder):
    kept = []
    site = encoder.sites()[-1]
    site.block.register_forward_hook(lambda *call: kept.append(site.layout.split(call[-1])[1]))
    maps = encoder(torch.randn(2, 1, 3, 64, 64))
    assert any(torch.equal(plane.movedim(-1, 1), maps[-1]) for plane in kept[0].unbind(1))
