"""AdaptFormer: its formula."""

from functools import partial

import pytest
import torch
from tuned_encoders import check_recomputation, stir, tuned_encoder

from medseg.adapters.adaptformer import AdaptFormer


@pytest.mark.parametrize("family", ["vit", "tiny_vit"])
def test_the_branch_starts_behind_the_norm_and_is_scaled(family):
    encoder, windows = tuned_encoder(family)
    site, normed, met = encoder.sites()[0], [], []
    adapter = AdaptFormer([site], middle=5, scale=0.25)
    stir(adapter)
    site.mlp.fc1.register_forward_pre_hook(lambda layer, inputs: normed.append(inputs[0]))
    site.mlp.register_forward_hook(lambda *call: met.append(call[-1]))
    adapter.attach()
    site.mlp.register_forward_hook(lambda *call: met.append(call[-1]))
    encoder(windows)
    branch = adapter.branches[0]
    assert branch.down.out_features == 5
    hidden = (normed[0] @ branch.down.weight.T + branch.down.bias).clamp(min=0)
    expected = met[0] + 0.25 * (hidden @ branch.up.weight.T + branch.up.bias)
    torch.testing.assert_close(met[1], expected)


def test_without_scale_there_is_no_branch():
    encoder, windows = tuned_encoder("vit")
    plain = encoder(windows)
    adapter = partial(AdaptFormer, scale=0.0)(encoder.sites())
    stir(adapter)
    adapter.attach()
    assert all(torch.equal(a, b) for a, b in zip(encoder(windows), plain, strict=True))


def test_recomputed_activations():
    encoder, windows = tuned_encoder("vit")
    check_recomputation(AdaptFormer(encoder.sites()), encoder, windows)
