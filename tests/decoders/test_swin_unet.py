"""The decoder of Swin-Unet: the published size, tokens parted in place, and the encoder's blocks copied."""

import pytest
import torch

from medseg.decoders.swin_unet import PatchExpand, SwinUnet, copied_to_decoder
from medseg.encoders.slice_batch import SliceBatch, VolumeLogits
from medseg.encoders.swin_unet import SwinUnetEncoder
from medseg.segmenter import Segmenter

WIDTHS, STRIDES = [96, 192, 384, 768], [4, 8, 16, 32]


def count(*modules):
    return sum(p.numel() for module in modules for p in module.parameters())


@pytest.fixture(scope="module")
def pair():
    """Encoder and decoder of Med-Tuning, with values."""
    torch.manual_seed(0)
    return SwinUnetEncoder(4, 1, 128), SwinUnet(WIDTHS, 0, 4, STRIDES)


def test_size_is_that_of_med_tuning_part_by_part():
    with torch.device("meta"):
        d = SwinUnet(WIDTHS, 0, 4, STRIDES)
    parts = [d.layers_up, d.concat_back_dim, d.norm_up, d.up, d.output]
    assert [count(part) for part in parts] == [6_214_026, 387_744, 192, 147_648, 384]
    assert count(d) == count(*parts)


def test_the_network_has_the_size_of_med_tuning():
    with torch.device("meta"):
        encoder = SliceBatch(SwinUnetEncoder(4, 1, 128))
        decoder = SwinUnet(encoder.channels, 0, 4, encoder.strides)
    frozen = [p.numel() for n, p in encoder.named_parameters() if ".patch_embed." in n or ".layers." in n]
    assert count(encoder, decoder) == 27_154_116
    assert count(encoder, decoder) - sum(frozen) == 6_751_530


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_expanded_tokens_stay_in_their_place(factor):
    expand = PatchExpand(6, 3, factor)
    tokens = torch.randn(1, 3, 5, 6, requires_grad=True)
    fine = expand(tokens)
    assert fine.shape == (1, 3 * factor, 5 * factor, 3)
    # The norm takes the mean out: one channel tells where a token came from, their sum does not.
    fine[:, 2 * factor, 4 * factor, 0].sum().backward()
    assert tokens.grad.abs().sum(dim=(0, 3)).nonzero().tolist() == [[2, 4]]


def test_channels_of_a_token_go_row_by_row():
    expand = PatchExpand(8, 2, 2)
    with torch.no_grad():
        expand.expand.weight.copy_(torch.eye(8))
    expand.norm = torch.nn.Identity()
    fine = expand(torch.arange(8.0).view(1, 1, 1, 8))
    assert fine[0].tolist() == [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]


def test_logits_of_the_whole_network_and_gradients_everywhere(pair):
    encoder, decoder = pair
    parts = {"encoder": SliceBatch(encoder), "decoder": decoder, "volume": VolumeLogits()}
    network = Segmenter(parts, "all")
    logits = network(torch.randn(1, 4, 2, 128, 128))
    assert logits.shape == (1, 4, 2, 128, 128)
    logits.square().mean().backward()
    assert not [name for name, p in network.named_parameters() if p.grad is None]
    network.zero_grad(set_to_none=True)


def test_copy_reports_every_key_of_both(pair):
    encoder, decoder = pair
    theirs, ours = encoder.state_dict(), decoder.state_dict()
    state, report = copied_to_decoder(theirs, ours)
    copied = {key for key, action in report.actions.items() if action == "mapped"}
    skipped = {key for key, action in report.actions.items() if action == "skipped"}
    assert state.keys() == ours.keys() == copied | {k for k, a in report.actions.items() if a == "drawn"}
    # Two blocks in each of three stages; what is copied is not listed under the encoder's name as well.
    assert copied == {key for key in ours if ".blocks." in key} and len(copied) == 6 * 13
    assert skipped <= theirs.keys() and len(skipped) + len(copied) == len(theirs)
    assert not any(".layers.0." in key for key in skipped), "the first stage goes over whole"
    assert all(".layers.3." in k or ".downsample." in k or ".layers." not in k for k in skipped)
    assert report.coverage == pytest.approx(4_664_394 / 6_749_994)
    assert report.coverage + report.drawn == pytest.approx(1)


def test_copied_stages_are_the_mirrored_ones(pair):
    encoder, decoder = pair
    state, _ = copied_to_decoder(encoder.state_dict(), decoder.state_dict())
    for stage in range(3):
        for key, value in encoder.plane.trunk.layers[stage].blocks.state_dict().items():
            assert torch.equal(state[f"layers_up.{3 - stage}.blocks.{key}"], value)
    fresh = [key for key in state if ".blocks." not in key]
    assert all(torch.equal(state[key], decoder.state_dict()[key]) for key in fresh)


def test_copy_from_fills_the_decoder(pair):
    encoder, _ = pair
    decoder = SwinUnet(WIDTHS, 0, 4, STRIDES)
    decoder.copy_from(encoder.state_dict())
    ours, theirs = decoder.layers_up[3].blocks, encoder.plane.trunk.layers[0].blocks
    features = torch.randn(2, 8, 8, 96)
    assert torch.equal(ours[0].mlp(features), theirs[0].mlp(features))


def test_what_is_copied_counts_as_what_it_was_in_the_encoder(pair):
    encoder, decoder = pair
    loaded = encoder.load("stand_in", "average").actions
    _, report = copied_to_decoder(encoder.state_dict(), decoder.state_dict(), loaded)
    ours = {key: action for key, action in report.actions.items() if key in decoder.state_dict()}
    resized = {key for key, action in ours.items() if action == "resized"}
    assert resized == {key for key in ours if key.endswith("relative_position_bias_table")}
    counted = [list(ours.values()).count(action) for action in ("mapped", "resized", "drawn")]
    assert counted == [6 * 12, 6, len(ours) - 6 * 13]
    assert report.coverage == pytest.approx(4_664_394 / 6_749_994), "values that are not random"


def test_tables_of_other_windows_are_not_copied(pair):
    _, decoder = pair
    published = {"layers.0.blocks.0.attn.relative_position_bias_table": torch.zeros(169, 3)}
    state, report = copied_to_decoder(published, decoder.state_dict())
    assert report.actions["layers.0.blocks.0.attn.relative_position_bias_table"] == "skipped"
    assert report.coverage == 0 and torch.equal(state["output.weight"], decoder.output.weight)
