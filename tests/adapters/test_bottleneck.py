"""Houlsby's adapter: its formula."""

import torch
from tuned_encoders import check_recomputation, stir, tuned_encoder

from medseg.adapters.bottleneck import Bottleneck


def test_what_a_block_gives_is_updated():
    encoder, windows = tuned_encoder("vit")
    site = encoder.sites()[0]
    adapter, met = Bottleneck([site], reduction=8), []
    stir(adapter)
    # Met ahead of the adapter, and behind it.
    site.block.register_forward_hook(lambda *call: met.append(call[-1]))
    adapter.attach()
    site.block.register_forward_hook(lambda *call: met.append(call[-1]))
    encoder(windows)
    update = adapter.updates[0]
    assert update.down.out_features == 192 // 8
    hidden = torch.nn.functional.gelu(met[0] @ update.down.weight.T + update.down.bias)
    expected = met[0] + update.scale * (hidden @ update.up.weight.T + update.up.bias)
    torch.testing.assert_close(met[1], expected)


def test_recomputed_activations():
    encoder, windows = tuned_encoder("swin")
    check_recomputation(Bottleneck(encoder.sites()), encoder, windows)
