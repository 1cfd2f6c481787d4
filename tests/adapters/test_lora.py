"""LoRA: its rank and scale, and merging."""

import pytest
import torch
from tuned_encoders import FAMILIES, check_recomputation, stir, tuned_encoder

from medseg.adapters.lora import LoRA


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {"video_swin"}))
def test_merged_is_unmerged(family):
    encoder, windows = tuned_encoder(family)
    # In double precision: what remains is not the rounding of many blocks.
    encoder, windows = encoder.double(), windows.double()
    before = [site.attention.qkv.weight.clone() for site in encoder.sites()]
    adapter = LoRA(encoder.sites(), rank=3).double()
    stir(adapter, 0.02)
    plain = encoder(windows)
    adapter.attach()
    unmerged = encoder(windows)
    adapter.merge()
    merged = encoder(windows)
    assert all(torch.allclose(a, b, rtol=0, atol=1e-9) for a, b in zip(unmerged, merged, strict=True))
    assert not torch.allclose(plain[-1], merged[-1], rtol=0, atol=1e-4)
    for old, site in zip(before, encoder.sites(), strict=True):
        assert torch.linalg.matrix_rank(site.attention.qkv.weight - old, rtol=1e-9) == 3
    adapter.attach()
    again = encoder(windows)
    assert all(torch.allclose(a, b, rtol=0, atol=1e-9) for a, b in zip(again, merged, strict=True)), "once"


def test_merged_is_unmerged_in_single_precision():
    encoder, windows = tuned_encoder("vit")
    adapter = LoRA(encoder.sites())
    stir(adapter, 0.02)
    adapter.attach()
    unmerged = encoder(windows)
    adapter.merge()
    for one, other in zip(unmerged, encoder(windows), strict=True):
        assert (one - other).abs().max() <= 1e-6 * one.abs().max()


def test_the_update_is_scaled_by_alpha_over_rank():
    encoder, windows = tuned_encoder("vit")
    site, met = encoder.sites()[0], []
    projection = site.attention.qkv
    projection.register_forward_hook(lambda *call: met.append((call[1][0], call[-1])))
    adapter = LoRA([site], rank=4, alpha=12.0)
    stir(adapter)
    adapter.attach()
    projection.register_forward_hook(lambda *call: met.append((call[1][0], call[-1])))
    encoder(windows)
    (tokens, plain), (_, updated) = met
    update = adapter.updates[0]
    product = update.up.weight @ update.down.weight
    assert product.shape == projection.weight.shape
    torch.testing.assert_close(updated, plain + 3.0 * tokens @ product.T)


def test_the_flag_of_beit_is_set_back():
    encoder, _ = tuned_encoder("beit")
    first, second, *_ = encoder.sites()
    second.attention.qkv_bias_separate = True
    adapter = LoRA(encoder.sites())
    adapter.attach()
    assert first.attention.qkv_bias_separate and second.attention.qkv_bias_separate
    adapter.detach()
    assert not first.attention.qkv_bias_separate and second.attention.qkv_bias_separate


def test_recomputed_activations():
    encoder, windows = tuned_encoder("joint")
    check_recomputation(LoRA(encoder.sites()), encoder, windows)
