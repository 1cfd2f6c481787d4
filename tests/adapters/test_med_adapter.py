"""Med-Adapter: its formula and options, and the flow from stage to stage."""

import gc
from functools import partial
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.nn import functional
from tuned_encoders import check_laws, check_recomputation, gradients_of, stir, tuned_encoder

from medseg.adapters.med_adapter import MedAdapter
from medseg.errors import InputError
from medseg.training.sync_norm import SyncedBatchNorm, synchronised


@pytest.mark.parametrize(
    "options",
    [
        {"zero_init": True},
        {"global_branch": "dwconv9", "conv3": False, "fusion": "add"},
        {"global_branch": "none", "channel_mixing": False, "fusion": "max"},
        {"conv3": False, "conv5": False, "fusion": "none", "slices": 3},
    ],
)
def test_laws_of_the_options(options):
    encoder, windows = tuned_encoder("vit_slices")
    # The layer that aligns the first stage is given zeros.
    first = next(number for number, site in enumerate(encoder.sites()) if site.closes_stage)
    idle = (f"blocks.{first}.fuse.align.weight",)
    check_laws(partial(MedAdapter, **options), encoder, windows, idle=idle)


def as_conv3d(convolution, kernel):
    """The same function as a Conv3d."""
    conv = nn.Conv3d(
        convolution.in_channels,
        convolution.out_channels,
        kernel,
        padding=tuple(edge // 2 for edge in kernel),
        groups=convolution.groups,
    )
    conv.weight.data, conv.bias.data = (
        convolution.weight.data.reshape(conv.weight.shape),
        convolution.bias.data,
    )
    return conv


def test_a_block_is_the_written_formula():
    encoder, _ = tuned_encoder("swin")
    adapter = MedAdapter(encoder.sites(), slices=3)
    stir(adapter)
    number = [n for n, site in enumerate(adapter.sites) if site.closes_stage][1]
    block, width = adapter.blocks[number], adapter.sites[number].width
    tokens, last = torch.randn(2, 3, 4, 4, width), torch.randn(2, 3, 8, 8, block.fuse.before)

    narrow = functional.gelu(block.down(tokens))
    x = narrow.movedim(-1, 1)
    branches = []
    for branch, k in zip(block.branches[:2], (3, 5), strict=True):
        y = as_conv3d(branch.depth, (k, 1, 1))(as_conv3d(branch.plane, (1, k, k))(x))
        normed = functional.batch_norm(y, None, None, branch.norm.weight, branch.norm.bias, training=True)
        branches.append(functional.relu(normed))
    spectrum = torch.fft.fftn(x, dim=(2, 3, 4))
    weight, bias = (p.view(1, 1, 3, 1, 1) for p in (block.branches[2].weight, block.branches[2].bias))
    branches.append(torch.fft.ifftn(spectrum * weight + bias, dim=(2, 3, 4)).abs())
    own = block.mix(sum(branches).movedim(1, -1))
    align = block.fuse.align
    aligned = functional.conv3d(
        last.movedim(-1, 1), align.weight[:, :, None], align.bias, stride=(1, 2, 2), padding=(0, 1, 1)
    )
    own = block.fuse.reduce(torch.cat([own, aligned.movedim(1, -1)], -1))
    expected = tokens + functional.gelu(block.up(narrow + own))

    got, h = block.train()(tokens, last)
    torch.testing.assert_close(h, own, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


def test_a_stage_is_given_the_h_of_the_stage_before():
    encoder, windows = tuned_encoder("swin")
    adapter = MedAdapter(encoder.sites())
    closing = []

    def look(block, inputs, outputs):
        closing.append((inputs[1], outputs[1]))

    for site, block in zip(adapter.sites, adapter.blocks, strict=True):
        if site.closes_stage:
            block.register_forward_hook(look)
    adapter.attach()
    for _ in range(2):
        closing.clear()
        encoder(windows)
        assert len(closing) == sum(site.closes_stage for site in adapter.sites) > 1
        assert closing[0][0] is None
        assert all(after[0] is before[1] for before, after in pairwise(closing))


def test_nothing_outlives_a_pass():
    encoder, windows = tuned_encoder("vit_slices")
    adapter = MedAdapter(encoder.sites(), slices=3).eval()
    adapter.attach()
    expected = encoder(windows)

    class Broken(Exception):
        pass

    def fail(*call):
        raise Broken

    handle = adapter.sites[-1].block.register_forward_pre_hook(fail)
    with pytest.raises(Broken):
        encoder(windows)
    handle.remove()
    again = encoder(windows)
    assert all(torch.equal(a, b) for a, b in zip(again, expected, strict=True))
    assert adapter._last is None
    assert len(adapter._met) > 0
    del again, expected
    gc.collect()
    assert len(adapter._met) == 0
    with torch.no_grad():
        encoder(windows)
    assert len(adapter._met) == 0


@pytest.mark.parametrize("family", ["vit_slices", "swin", "video_swin", "cycle"])
def test_recomputed_activations_give_the_same_gradients(family):
    encoder, windows = tuned_encoder(family)
    adapter = MedAdapter(encoder.sites(), slices=3).eval()
    stir(adapter)
    check_recomputation(adapter, encoder, windows)


def test_recomputed_activations_count_a_batch_once_and_passes_stay_apart():
    encoder, windows = tuned_encoder("vit_slices")
    adapter = MedAdapter(encoder.sites(), slices=3)
    stir(adapter)
    adapter.attach()
    encoder.train()
    fresh = {key: value.clone() for key, value in adapter.state_dict().items()}

    def step():
        adapter.load_state_dict(fresh)
        # Two passes, then one way back.
        gradients = gradients_of(encoder(windows) + encoder(2 * windows), adapter)
        return gradients, {
            key: value.clone() for key, value in adapter.state_dict().items() if "running" in key
        }

    gradients, statistics = step()
    encoder.recompute_activations()
    again, kept = step()
    assert all(torch.equal(gradients[name], again[name]) for name in gradients)
    assert all(torch.equal(statistics[key], kept[key]) for key in statistics)


def test_its_batch_norms_are_synchronised():
    encoder, _ = tuned_encoder("vit_slices")
    adapter = synchronised(MedAdapter(encoder.sites()))
    kinds = {
        type(module) for module in adapter.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)
    }
    assert kinds == {SyncedBatchNorm}


@pytest.mark.parametrize(
    "options",
    [
        {"global_branch": "dwconv7"},
        {"fusion": "mean"},
        {"reduction": 0},
        {"reduction": 192},
        {"conv3": False, "conv5": False, "global_branch": "none"},
    ],
)
def test_what_there_is_not_is_refused(options):
    encoder, _ = tuned_encoder("vit")
    with pytest.raises(InputError, match="there is no such"):
        MedAdapter(encoder.sites(), **options)
