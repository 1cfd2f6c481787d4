"""PATT of V-PETL: what it adds to keys and values."""

import pytest
import torch
from tuned_encoders import check_recomputation, stir, tuned_encoder

from medseg.adapters.v_petl import VPETL


def test_recomputed_activations_give_the_same_gradients():
    encoder, windows = tuned_encoder("beit")
    adapter = VPETL(encoder.sites(), bottleneck=16)
    stir(adapter)
    check_recomputation(adapter, encoder, windows)


def test_beit_joins_its_biases_again():
    encoder, _ = tuned_encoder("beit")
    adapter = VPETL(encoder.sites(), bottleneck=16)
    flags = [site.attention.qkv_bias_separate for site in encoder.sites()]
    adapter.attach()
    assert all(site.attention.qkv_bias_separate for site in encoder.sites())
    adapter.detach()
    assert [site.attention.qkv_bias_separate for site in encoder.sites()] == flags


@pytest.mark.parametrize("family", ["vit", "tiny_vit"])
def test_queries_stay_and_keys_and_values_get_the_scaled_network(family):
    encoder, _ = tuned_encoder(family)
    attention = encoder.sites()[-1].attention
    adapter = VPETL(encoder.sites()[-1:], bottleneck=8, scale=0.5)
    stir(adapter)
    tokens = torch.randn(2, 5, attention.qkv.in_features)
    plain = attention.qkv(tokens)
    adapter.attach()
    added = attention.qkv(tokens) - plain
    down, _, up = adapter.blocks[0]
    expected = 0.5 * up(torch.tanh(down(tokens)))
    if family == "vit":
        queries, *rest = added.chunk(3, dim=-1)
        rest = torch.cat(rest, dim=-1)
    else:
        sizes = (attention.key_dim, attention.key_dim + attention.val_dim)
        queries, rest = added.unflatten(-1, (attention.num_heads, -1)).split(sizes, dim=-1)
        rest = rest.flatten(-2)
    assert not queries.any()
    torch.testing.assert_close(rest, expected, atol=1e-5, rtol=1e-5)
