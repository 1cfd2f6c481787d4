"""Slices as a batch: the 2D network slice by slice, no mixing, and the way back to volumes."""

import pytest
import torch
from block_calls import check_recomputed

from medseg.decoders.med_upernet import MedUPerNet
from medseg.encoders.med_vit import MedVit
from medseg.encoders.registry import make
from medseg.encoders.slice_batch import SliceBatch, VolumeLogits
from medseg.encoders.timm_encoder import TimmEncoder
from medseg.errors import InputError
from medseg.segmenter import Segmenter

SLICES, PX, TAPS = 5, 32, (1, 2, 3, 5)


def windows(batch=2, channels=2, slices=SLICES):
    return torch.randn(batch, channels, slices, PX, PX, generator=torch.Generator().manual_seed(0))


@pytest.fixture(params=[TimmEncoder, MedVit])
def plane(request):
    torch.manual_seed(0)
    return request.param("test_vit", 2, 1, PX, TAPS).eval()


def segmenter(plane):
    torch.manual_seed(1)
    encoder = SliceBatch(plane)
    decoder = MedUPerNet(encoder.channels, 8, 3, encoder.strides)
    return Segmenter({"encoder": encoder, "decoder": decoder, "volume": VolumeLogits()}, "all").eval()


def test_maps_are_those_of_the_2d_network_slice_by_slice(plane):
    together = SliceBatch(plane)(windows())
    for number in range(SLICES):
        alone = plane(windows()[:, :, number : number + 1])
        for of_batch, of_slice in zip(together, alone, strict=True):
            torch.testing.assert_close(of_batch.unflatten(0, (2, SLICES))[:, number], of_slice)


def test_logits_are_those_of_the_2d_network_slice_by_slice(plane):
    network = segmenter(plane)
    logits = network(windows())
    assert logits.shape == (2, 3, SLICES, PX, PX)
    alone = Segmenter({"encoder": plane, "decoder": network.parts["decoder"]}, "center").eval()
    for number in range(SLICES):
        torch.testing.assert_close(logits[:, :, number], alone(windows()[:, :, number : number + 1]))


def test_a_permutation_of_slices_permutes_the_logits(plane):
    network, order = segmenter(plane), torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(network(windows()[:, :, order]), network(windows())[:, :, order])


def test_no_slice_reaches_the_logits_of_another(plane):
    network, seen = segmenter(plane), windows().requires_grad_()
    network(seen)[:, :, 2].square().sum().backward()
    reached = seen.grad.abs().amax(dim=(0, 1, 3, 4)) > 0
    assert reached.tolist() == [False, False, True, False, False]


def test_volume_logits_undo_the_order_of_the_batch():
    logits = torch.arange(2 * 3 * 4.0).view(2, 3, 4, 1, 1)
    batch = logits.transpose(1, 2).flatten(0, 1)
    assert torch.equal(VolumeLogits()(batch, windows=2), logits)


def test_gradients_reach_every_parameter(plane):
    network = segmenter(plane).train()
    network(windows()).square().mean().backward()
    assert not [name for name, p in network.named_parameters() if p.grad is None]


def test_weights_go_to_the_2d_network(plane):
    encoder = SliceBatch(plane)
    report = encoder.load("stand_in", "average")
    assert report.coverage + report.drawn == pytest.approx(1)
    assert not {"missing", "left over"} & set(report.actions.values())


def test_sites_are_named_blocks_whose_tokens_are_volumes_of_slices(plane):
    encoder, given = SliceBatch(plane).eval(), []
    sites = encoder.sites()
    assert len(sites) == 6 and [site.closes_stage for site in sites] == [n in TAPS for n in range(6)]
    for site in sites:
        assert encoder.get_submodule(site.name) is site.block
        site.block.register_forward_hook(lambda *inputs_output: given.append(inputs_output[-1]))
    last = encoder(windows())[-1]
    for site, tokens in zip(sites, given, strict=True):
        _, volume = site.layout.split(tokens)
        assert volume.shape == (2, SLICES, PX // 16, PX // 16, site.width)
    if isinstance(plane, TimmEncoder):
        torch.testing.assert_close(volume.flatten(0, 1).movedim(-1, 1), last)


def test_recomputed_activations_change_no_bit(plane):
    network = segmenter(plane).train()

    def step():
        network.zero_grad()
        torch.manual_seed(0)
        network(windows()).square().mean().backward()
        return [p.grad for p in network.parameters()]

    blocks = [site.block for site in network.encoder.sites()]
    plain, again = check_recomputed(blocks, step, network.recompute_activations)
    assert all(torch.equal(a, b) for a, b in zip(plain, again, strict=True))


def test_an_encoder_of_volumes_is_refused():
    with pytest.raises(InputError, match="need a 2D network"):
        make("video_swin_tiny", 1, SLICES, PX, (0, 1), "slices")


def test_depth_is_that_of_the_windows(plane):
    network = segmenter(plane)
    before = network(windows())
    for slices in (1, 3, 8):
        given = windows(slices=slices)
        logits = network(given)
        assert logits.shape == (2, 3, slices, PX, PX)
        alone = torch.cat([network(given[:, :, d : d + 1]) for d in range(slices)], dim=2)
        torch.testing.assert_close(logits, alone)
    assert torch.equal(network(windows()), before)
