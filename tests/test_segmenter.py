"""One contract for every network: windows in, target shapes out, a gradient for every trainable parameter."""

from typing import get_args

import pytest
import torch
from torch.utils.checkpoint import CheckpointError

from medseg.config import ModelConfig, TuningConfig
from medseg.errors import InputError
from medseg.inference.slice_windows import predict
from medseg.segmenter import NETWORKS, Segmenter, build, count_parameters, measure_size
from medseg.training.precision import plan

TINY = {
    "vit_upernet": ModelConfig(slices=3, image_px=32, decoder_channels=8, weights=None),
    "unet3d": ModelConfig(network="unet3d", slices=16, image_px=32, weights=None),
}

STAGES = (0, 1, 2, 3)
OTHERS = {
    "all_slices": {"target": "all"},
    "swin": {"encoder": "swin_tiny_patch4_window7_224", "taps": STAGES, "weights": "stand_in"},
    "tiny_vit": {"encoder": "tiny_vit_5m_mobile_sam", "taps": STAGES, "weights": "stand_in"},
    "slices as a batch": {
        "encoder": "med_test_vit",
        "taps": (1, 2, 3, 5),
        "mixing": "slices",
        "target": "all",
    }
    | {"decoder": "med_upernet"},
    "swin-unet": {"encoder": "swin_unet_tiny", "taps": STAGES, "mixing": "slices", "target": "all"}
    | {"decoder": "swin_unet", "image_px": 64, "weights": "stand_in"},
    "slices meet in attention": {"encoder": "test_vit", "taps": (1, 2, 3, 5), "mixing": "joint"},
}


def windows_of(config, batch=2):
    shape = (batch, config.in_channels, config.slices, config.image_px, config.image_px)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def test_every_network_is_under_contract():
    assert set(TINY) == set(NETWORKS) == set(get_args(ModelConfig.model_fields["network"].annotation))


@pytest.mark.parametrize(
    ("network", "in_channels"),
    [*((network, count) for network in (*NETWORKS, "all_slices") for count in (1, 2))]
    + [(network, 2) for network in OTHERS if network != "all_slices"],
)
def test_contract(network, in_channels):
    changes = OTHERS.get(network, {}) | {"in_channels": in_channels}
    config = TINY[network if network in TINY else "vit_upernet"].model_copy(update=changes)
    segmenter, report = build(config, seed=0)
    assert (report is None) == (config.weights is None)
    copied = network == "swin-unet"
    assert report is None or (report.decoder is not None) == copied
    windows = windows_of(config)
    logits = segmenter(windows)
    plane = (config.image_px, config.image_px)
    depth = {"center": (), "all": (config.slices,)}[segmenter.target]
    assert logits.shape == (2, config.classes, *depth, *plane)
    logits.square().mean().backward()
    without = [
        name
        for name, parameter in segmenter.named_parameters()
        if parameter.requires_grad and (parameter.grad is None or not parameter.grad.isfinite().all())
    ]
    assert not without


@pytest.mark.parametrize("network", NETWORKS)
def test_fresh_parts_are_a_function_of_the_seed(network):
    state = torch.get_rng_state()
    first, second, other = (build(TINY[network], seed)[0].state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state), "the global generator is left alone"
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def test_arms_that_share_a_seed_share_their_decoder():
    config = TINY["vit_upernet"]
    scratch, _ = build(config, seed=3)
    filled, report = build(config.model_copy(update={"weights": "stand_in"}), seed=3)
    assert report is not None and report.coverage == 1.0
    ours, theirs = scratch.parts["decoder"].state_dict(), filled.parts["decoder"].state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    ours, theirs = scratch.parts["encoder"].state_dict(), filled.parts["encoder"].state_dict()
    assert not any(torch.equal(ours[key], theirs[key]) for key in ours)


def test_random_rule_follows_the_run_seed():
    config = TINY["vit_upernet"].model_copy(update={"weights": "stand_in", "inflation": "random"})
    key = "encoder.trunk.patch_embed.proj.weight"
    first, second, other = (build(config, seed)[0].parts.state_dict()[key] for seed in (1, 1, 2))
    assert torch.equal(first, second) and not torch.equal(first, other)


def test_weights_for_a_network_without_an_encoder():
    with pytest.raises(InputError, match="takes no weights"):
        build(TINY["unet3d"].model_copy(update={"weights": "stand_in"}), seed=0)


@pytest.mark.parametrize("network", NETWORKS)
def test_size_is_that_of_the_network(network):
    config = TINY[network]
    size = measure_size(config)
    segmenter: Segmenter = NETWORKS[network](config)
    assert size.parameters == count_parameters(segmenter) == sum(size.parameters_per_part.values())
    assert size.trainable == size.parameters
    assert size.flops == sum(size.flops_per_part.values()) > 0
    assert size.input_shape == (1, 1, config.slices, config.image_px, config.image_px)
    assert list(size.parameters_per_part) == list(size.flops_per_part) == list(segmenter.parts)


def test_frozen_parameters_are_not_trainable():
    layer = torch.nn.Linear(3, 2)
    layer.bias.requires_grad_(False)
    assert (count_parameters(layer), count_parameters(layer, trainable_only=True)) == (8, 6)


def kept_bytes(segmenter, windows):
    """Loss, gradients, and bytes of the activations that are kept for the way back."""
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    torch.manual_seed(0)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = segmenter(windows).square().mean()
    loss.backward()
    return loss.item(), [p.grad for p in segmenter.parameters()], sum(kept.values())


def test_recomputed_activations_change_no_bit_and_are_not_kept():
    config = TINY["vit_upernet"].model_copy(update={"image_px": 64})
    windows = windows_of(config, batch=4)
    plain, recomputing = (build(config, seed=1)[0] for _ in range(2))
    recomputing.recompute_activations()
    parameters = sum(p.nbytes for p in plain.parameters())
    (loss, gradients, kept), (loss_2, gradients_2, kept_2) = (
        kept_bytes(segmenter, windows) for segmenter in (plain, recomputing)
    )
    assert loss == loss_2
    assert all(torch.equal(a, b) for a, b in zip(gradients, gradients_2, strict=True))
    assert kept_2 < parameters < kept, "weights are kept by reference; the blocks' activations are gone"


def test_a_network_without_blocks_recomputes_nothing():
    segmenter, _ = build(TINY["unet3d"], seed=0)
    with pytest.raises(InputError, match="recomputed"):
        segmenter.recompute_activations()


def test_flops_of_a_vit_from_its_formula():
    config = TINY["vit_upernet"]
    width, patches, blocks = 192, (32 // 16) ** 2, 12
    tokens = patches + 1
    linear = 12 * width**2 * tokens  # qkv, projection and the two layers of the MLP
    attention = 2 * tokens**2 * width
    embedding = patches * config.slices * 16**2 * width
    flops = 2 * (blocks * (linear + attention) + embedding)
    assert measure_size(config).flops_per_part["encoder"] == flops


def test_cost_of_depth_is_the_patch_embedding_alone():
    one, five = (measure_size(TINY["vit_upernet"].model_copy(update={"slices": n})) for n in (1, 5))
    assert five.parameters - one.parameters == 4 * 16**2 * 192
    assert five.flops_per_part["decoder"] == one.flops_per_part["decoder"]


def test_cost_of_layer_norms_is_five_for_an_element():
    size = measure_size(TINY["vit_upernet"])
    tokens, width, norms = (32 // 16) ** 2 + 1, 192, 2 * 12
    with_norms = size.flops_with_layer_norms_per_part
    assert with_norms["encoder"] - size.flops_per_part["encoder"] == 5 * tokens * width * norms
    assert with_norms["decoder"] == size.flops_per_part["decoder"]


def test_attention_by_products_is_attention():
    config = TINY["vit_upernet"]
    segmenter = build(config, seed=0)[0].eval()
    windows = windows_of(config)
    fused = segmenter(windows)
    blocks = [m for m in segmenter.modules() if hasattr(m, "fused_attn")]
    assert blocks and all(block.fused_attn for block in blocks)
    segmenter.attend_by_products()
    assert not any(block.fused_attn for block in blocks)
    assert torch.allclose(segmenter(windows), fused, atol=1e-5)


def test_the_range_that_the_network_sees():
    config = TINY["vit_upernet"]
    usual, other = (
        build(config.model_copy(update={"intensity": ends}), seed=0)[0].eval()
        for ends in ((-1.0, 1.0), (0.0, 1.0))
    )
    windows = windows_of(config)
    assert not torch.equal(usual(windows), other(windows))
    torch.testing.assert_close(other(windows), usual((windows + 1) / 2))


EIGHT = ModelConfig(
    **OTHERS["slices as a batch"], slices=8, image_px=32, in_channels=2, decoder_channels=8, weights=None
)


def built_for_eight(method, **options):
    """A network of slices as a batch, tuned by a method, its adapter as after some training."""
    tuning = TuningConfig(method=method, options=options)
    segmenter, _ = build(EIGHT.model_copy(update={"tuning": tuning}), seed=0)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in segmenter.named_parameters():
            if name.startswith("adapter."):
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return segmenter.eval()


def of_depth(slices, batch=2):
    return windows_of(EIGHT.model_copy(update={"slices": slices}), batch)


@pytest.mark.parametrize("method", ["head", "lora", "bottleneck"])
def test_slices_that_do_not_meet_are_predicted_one_by_one(method):
    segmenter, windows = built_for_eight(method), of_depth(5)
    one_by_one = [segmenter(windows[:, :, d : d + 1]) for d in range(5)]
    torch.testing.assert_close(segmenter(windows), torch.cat(one_by_one, dim=2))


@pytest.mark.parametrize(("method", "options"), [("med_adapter", {"slices": 8}), ("st_adapter", {})])
def test_depth_is_a_property_of_the_windows(method, options):
    segmenter = built_for_eight(method, **options)
    before = segmenter(of_depth(8))
    for slices in (3, 13):
        windows = of_depth(slices)
        logits = segmenter(windows)
        assert logits.shape == (2, EIGHT.classes, slices, 32, 32)
        # Windows do not meet, slices do.
        apart = torch.cat([segmenter(windows[:1]), segmenter(windows[1:])])
        torch.testing.assert_close(logits, apart)
        alone = torch.cat([segmenter(windows[:, :, d : d + 1]) for d in range(slices)], dim=2)
        assert not torch.allclose(logits, alone, atol=1e-3)
    assert torch.equal(segmenter(of_depth(8)), before)


def test_a_volume_is_predicted_at_another_depth_than_that_of_training():
    segmenter, windows = built_for_eight("med_adapter", slices=8), of_depth(13, batch=1)
    whole = EIGHT.model_copy(update={"slices": 13})
    predicted = predict(segmenter, windows[0], whole, plan("fp32", segmenter))
    assert (predicted == segmenter(windows)[0].argmax(0).numpy()).all()


def gradients(segmenter, *depths):
    segmenter.zero_grad()
    torch.manual_seed(0)
    for slices in depths:
        segmenter(of_depth(slices)).square().mean().backward()
    return {name: p.grad.clone() for name, p in segmenter.named_parameters() if p.grad is not None}


def test_activations_are_recomputed_at_the_depth_of_their_windows():
    segmenter = built_for_eight("med_adapter", slices=8)
    kept = gradients(segmenter.train(), 3, 8, 5)
    segmenter.recompute_activations()
    recomputed = gradients(segmenter, 3, 8, 5)
    assert kept.keys() == recomputed.keys()
    assert all(torch.equal(kept[name], recomputed[name]) for name in kept)


def test_going_back_after_windows_of_another_depth_is_no_silent_error():
    segmenter = built_for_eight("st_adapter").train()
    segmenter.recompute_activations()
    first = segmenter(of_depth(4, batch=2))
    segmenter(of_depth(8, batch=1))
    with pytest.raises(CheckpointError):
        first.square().mean().backward()
