"""ST-Adapter: what it does along the slices, and the bottlenecks that it refuses."""

from functools import partial

import pytest
import torch
from tuned_encoders import check_recomputation, stir, tuned_encoder

from medseg.adapters.st_adapter import STAdapter
from medseg.errors import InputError


def test_recomputed_activations_give_the_same_gradients():
    encoder, windows = tuned_encoder("vit_slices")
    adapter = STAdapter(encoder.sites())
    stir(adapter)
    check_recomputation(adapter, encoder, windows)


def test_it_changes_what_attention_gets_by_the_bottleneck():
    encoder, windows = tuned_encoder("vit_slices")
    site = encoder.sites()[0]
    adapter = STAdapter([site])
    stir(adapter)
    seen = []
    look = site.block.register_forward_pre_hook(lambda block, inputs: seen.append(inputs[0]))
    adapter.attach()
    site.block.norm1.register_forward_pre_hook(lambda norm, inputs: seen.append(inputs[0]))
    encoder(windows)
    look.remove()
    before, after = seen
    prefix, volume = site.layout.split(before)
    down, along, up = adapter.blocks[0]
    torch.testing.assert_close(after, site.layout.join(prefix, volume + up(along(down(volume)))))


def test_a_slice_meets_its_neighbours_alone():
    encoder, _ = tuned_encoder("vit_slices")
    adapter = STAdapter(encoder.sites()[:1])
    stir(adapter)
    volume = torch.randn(1, 5, 4, 4, encoder.sites()[0].width)
    moved = volume.clone()
    moved[:, 0] += 1
    changed = (adapter.blocks[0](moved) != adapter.blocks[0](volume)).flatten(2).any(-1)[0]
    assert changed.tolist() == [True, True, False, False, False]


@pytest.mark.parametrize("options", [{"kernel": 2}, {"reduction": 0}, {"reduction": 1000}])
def test_no_bottleneck_is_refused(options):
    encoder, _ = tuned_encoder("vit")
    with pytest.raises(InputError, match="no bottleneck"):
        partial(STAdapter, **options)(encoder.sites())
