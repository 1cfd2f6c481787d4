"""VPT: sequences and windows with prompts written out."""

from functools import partial

import pytest
import torch
from tuned_encoders import check_recomputation, stir, tuned_encoder

from medseg.adapters.prompts import Prompts

DEEP, SHALLOW = Prompts, partial(Prompts, deep=False)
NAMES = {DEEP: "deep", SHALLOW: "shallow"}


@pytest.mark.parametrize("method", NAMES, ids=NAMES.get)
def test_sequences_with_prompts(method):
    """A ViT whose sequences are longer by the prompts, behind the class token as in the paper."""
    encoder, windows = tuned_encoder("vit_slices")
    adapter = method(encoder.sites(), prompts=4)
    stir(adapter, 1.0)
    trunk, images = encoder.plane.trunk, windows.transpose(1, 2).flatten(0, 1)
    tokens = trunk.norm_pre(trunk._pos_embed(trunk.patch_embed(images)))
    batch, maps = len(tokens), []
    for number, block in enumerate(trunk.blocks):
        if adapter.deep or number == 0:
            prompts = adapter.tokens[number].expand(batch, -1, -1)
        tokens = block(torch.cat([tokens[:, :1], prompts, tokens[:, 1:]], dim=1))
        prompts, tokens = tokens[:, 1:5], torch.cat([tokens[:, :1], tokens[:, 5:]], dim=1)
        maps.append(tokens[:, 1:].transpose(1, 2).unflatten(2, (4, 4)))
    adapter.attach()
    for ours, tap in zip(encoder(windows), encoder.plane.taps, strict=True):
        torch.testing.assert_close(ours, maps[tap])


def attention_of(attention, tokens, pairs):
    """Attention written out; `pairs` (windows or 1, heads, n, n) is added to the products."""
    projected = tokens @ attention.qkv.weight.T
    if attention.qkv.bias is not None:
        projected = projected + attention.qkv.bias
    else:
        zero = torch.zeros_like(attention.q_bias)
        projected = projected + torch.cat([attention.q_bias, zero, attention.v_bias])
    query, key, value = projected.unflatten(-1, (3, attention.num_heads, -1)).permute(2, 0, 3, 1, 4)
    weights = (query @ key.mT * attention.scale + pairs).softmax(-1)
    return attention.proj((weights @ value).transpose(1, 2).flatten(2))


def met_in_attention(encoder, windows, adapter):
    """What attention of every block is given, by name too, and gives, prompts included."""
    met = []
    handles = [
        site.attention.register_forward_hook(lambda _, *call: met.append(call), with_kwargs=True)
        for site in encoder.sites()
    ]
    adapter.attach()
    encoder(windows)
    for handle in handles:
        handle.remove()
    return [(inputs[0], named, tokens) for inputs, named, tokens in met]


@pytest.mark.parametrize("family", ["beit", "swin"])
def test_prompts_have_no_bias_and_no_mask(family):
    encoder, windows = tuned_encoder(family)
    sites, adapter, masked = encoder.sites(), DEEP(encoder.sites(), prompts=4), 0
    stir(adapter, 1.0)
    with torch.no_grad():
        for site in sites:
            site.attention.relative_position_bias_table.normal_()
    for number, (tokens, named, given) in enumerate(met_in_attention(encoder, windows, adapter)):
        block, attention = sites[number].block, sites[number].attention
        prompts = block.norm1(adapter.tokens[number])
        torch.testing.assert_close(tokens[:, :4], prompts.expand(len(tokens), -1, -1))
        n = tokens.shape[1]
        pairs = torch.zeros(len(tokens), attention.num_heads, n, n)
        bias = attention.relative_position_bias_table[attention.relative_position_index]
        pairs[:, :, 4:, 4:] = bias.permute(2, 0, 1)
        if getattr(block, "attn_mask", None) is not None:
            mask = block.attn_mask.repeat(len(tokens) // len(block.attn_mask), 1, 1)
            pairs[:, :, 4:, 4:] += mask[:, None]
            masked += 1
        torch.testing.assert_close(given, attention_of(attention, tokens, pairs))
        assert set(named) <= {"mask", "shared_rel_pos_bias"}
    assert (masked > 0) == (family == "swin"), "shifted windows are met"


def test_a_shallow_prompt_leaves_its_windows_as_their_mean():
    encoder, windows = tuned_encoder("swin_slices")
    adapter = SHALLOW(encoder.sites(), prompts=4)
    stir(adapter, 1.0)
    (_, _, given), (tokens, _, _) = met_in_attention(encoder, windows, adapter)
    first, second = (site.block for site in encoder.sites())
    images = len(windows) * windows.shape[2]
    prompts = adapter.tokens[0] + given[:, :4].unflatten(0, (images, -1)).mean(1)
    prompts = second.norm1(prompts + first.mlp(first.norm2(prompts)))
    assert not torch.allclose(prompts[0], prompts[1]), "each image has its own"
    of_windows = tokens[:, :4].unflatten(0, (images, -1))
    torch.testing.assert_close(of_windows, prompts[:, None].expand_as(of_windows))


def test_shallow_prompts_end_with_the_first_stage():
    encoder, windows = tuned_encoder("swin")
    adapter = SHALLOW(encoder.sites(), prompts=4)
    lengths = [tokens.shape[1] for tokens, *_ in met_in_attention(encoder, windows, adapter)]
    assert lengths == [53, 53, 49, 49]


@pytest.mark.parametrize("family", ["beit", "swin", "tiny_vit"])
def test_attention_by_products_is_the_fused_one(family):
    encoder, windows = tuned_encoder(family)
    adapter = DEEP(encoder.sites())
    stir(adapter)
    adapter.attach()
    fused = encoder(windows)
    encoder.attend_by_products()
    for one, other in zip(encoder(windows), fused, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("method", "family"), [(SHALLOW, "vit"), (SHALLOW, "swin_slices"), (DEEP, "beit"), (DEEP, "swin")]
)
def test_recomputed_activations(method, family):
    encoder, windows = tuned_encoder(family)
    check_recomputation(method(encoder.sites()), encoder, windows)
