"""Tuning: what is frozen stays, what is named trains, and a file of the tuned part is the whole network."""

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch.nn.modules.batchnorm import _BatchNorm

from medseg.adapters.temporal_spectrum import TemporalSpectrum
from medseg.config import ModelConfig, TrainConfig
from medseg.errors import InputError
from medseg.segmenter import NETWORKS, build, count_parameters
from medseg.training.optimizer import adamw
from medseg.tuning import METHODS, OWN, base_digest, load_tuned, save_tuned, tune, tuned_state

VIT = ModelConfig(
    encoder="test_vit", taps=(1, 2, 3, 5), slices=3, image_px=32, decoder_channels=8, weights=None
)
STAGES = {"taps": (0, 1, 2, 3)}
SWIN = VIT.model_copy(update=STAGES | {"encoder": "swin_tiny_patch4_window7_224"})
TINY_VIT = VIT.model_copy(update=STAGES | {"encoder": "tiny_vit_5m_mobile_sam"})
BEIT = VIT.model_copy(update={"encoder": "beit_base_patch16_224"})
PARTS = sorted({*OWN, *METHODS} - {"full"})
# Tuned in TinyViT, whose batch norms are among the base.
IN_TINY_VIT = ("bias", "norm")


def tuned(config, method, options=None, also=(), seed=0):
    segmenter, _ = build(config, seed)
    torch.manual_seed(seed)
    tune(segmenter, method, options, also)
    return segmenter


def without_memory(config, method):
    """As medseg.segmenter.measure_size builds it."""
    with torch.device("meta"):
        segmenter = NETWORKS[config.network](config)
        tune(segmenter, method)
    return segmenter


def windows_of(config):
    return torch.randn(
        2, 1, config.slices, config.image_px, config.image_px, generator=torch.Generator().manual_seed(0)
    )


def train(segmenter, config, steps=3):
    optimizer = adamw(segmenter, TrainConfig(lr=1e-2, weight_decay=0.1), fused=False)
    segmenter.train()
    for _ in range(steps):
        optimizer.zero_grad()
        segmenter(windows_of(config)).square().mean().backward()
        optimizer.step()
    return segmenter.eval()


def trained_names(segmenter):
    return {name for name, p in segmenter.encoder.named_parameters() if p.requires_grad}


@pytest.mark.parametrize(
    ("config", "method"),
    [*((VIT, method) for method in PARTS), *((TINY_VIT, method) for method in IN_TINY_VIT)],
    ids=lambda value: value if isinstance(value, str) else value.encoder,
)
def test_the_base_does_not_change_and_all_else_does(config, method, tmp_path):
    segmenter = tuned(config, method)
    digest, before = base_digest(segmenter), {n: v.clone() for n, v in segmenter.state_dict().items()}
    train(segmenter, config)
    assert base_digest(segmenter) == digest
    after, saved = segmenter.state_dict(), tuned_state(segmenter)
    assert all(torch.equal(after[name], before[name]) for name in set(after) - set(saved))
    trainable = {name for name, p in segmenter.named_parameters() if p.requires_grad}
    assert trainable <= set(saved)
    # A fresh TinyViT has paths that a norm multiplies by zero; the first stage of Med-Adapter is given zeros.
    moved = {name for name, p in segmenter.named_parameters() if p.grad is not None and p.grad.any()}
    whole = config is VIT and method != "med_adapter"
    assert moved == trainable if whole else moved <= trainable
    assert not [name for name in moved if torch.equal(after[name], before[name])]

    path = tmp_path / "tuned.safetensors"
    save_tuned(segmenter, path)
    held = sum(value.nbytes for value in saved.values())
    assert held <= path.stat().st_size <= held + 200 * len(saved), "values, and a header"
    assert sum(value.nbytes for value in after.values()) > held
    other = tuned(config, method).eval()
    windows = windows_of(config)
    assert not torch.equal(other(windows), segmenter(windows))
    load_tuned(other, path)
    assert torch.equal(other(windows), segmenter(windows))


@pytest.mark.parametrize("method", ["full", "head", "norm", "lora", "med_adapter"])
def test_a_file_without_the_decoder_fills_the_encoder_and_leaves_the_rest(method, tmp_path):
    segmenter, path = tuned(VIT, method).eval(), tmp_path / "adapter.safetensors"
    save_tuned(segmenter, path, decoder=False)
    kept, whole = load_file(path), tuned_state(segmenter)
    assert not [name for name in kept if name.startswith("parts.decoder.")]
    decoder = {name for name in whole if name.startswith("parts.decoder.")}
    assert decoder and set(kept) == set(whole) - decoder
    other = tuned(VIT, method).eval()
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(float(parameter.requires_grad))
    before = {name: value.clone() for name, value in other.state_dict().items() if name in decoder}
    load_tuned(other, path)
    after, windows = other.state_dict(), windows_of(VIT)
    assert all(torch.equal(after[name], before[name]) for name in decoder)
    first, second = (network.encoder(windows) for network in (segmenter, other))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_full_trains_all_and_freezes_nothing(tmp_path):
    segmenter = tuned(VIT, "full")
    assert set(tuned_state(segmenter)) == set(segmenter.state_dict())
    assert count_parameters(segmenter) == count_parameters(segmenter, trainable_only=True)
    unet = ModelConfig(network="unet3d", slices=16, image_px=32, weights=None)
    assert tuned(unet, "full").encoder is None


def test_head_leaves_no_graph_in_the_encoder():
    for config in (VIT, TINY_VIT):
        segmenter = tuned(config, "head").train()
        assert not any(plane.requires_grad for plane in segmenter.encoder(windows_of(config)))
        assert segmenter(windows_of(config)).requires_grad


@pytest.mark.parametrize("config", [VIT, SWIN, TINY_VIT, BEIT], ids=lambda config: config.encoder)
def test_biases_and_norms(config):
    segmenter = without_memory(config, "bias")
    biases = trained_names(segmenter)
    every = dict(segmenter.encoder.named_parameters())
    kinds = {name.rpartition(".")[-1] for name in biases}
    assert kinds == ({"bias", "q_bias", "v_bias"} if config is BEIT else {"bias"})
    assert all(every[name].ndim == 1 for name in biases)
    assert not [name for name in set(every) - biases if name.endswith(".bias")]
    norms = trained_names(without_memory(config, "norm"))
    assert all("norm" in name or ".bn." in name for name in norms)
    assert norms == {name for name in every if every[name].ndim == 1 and ("norm" in name or ".bn." in name)}


def test_frozen_batch_norms_keep_their_statistics_in_train_mode():
    segmenter = tuned(TINY_VIT, "head")
    norms = [module for module in segmenter.encoder.modules() if isinstance(module, _BatchNorm)]
    assert norms
    train(segmenter, TINY_VIT)
    assert all(norm.num_batches_tracked == 0 for norm in norms)
    tuned_norms = tuned(TINY_VIT, "norm")
    train(tuned_norms, TINY_VIT)
    assert any("running_mean" in name and "encoder" in name for name in tuned_state(tuned_norms))
    counted = [m.num_batches_tracked for m in tuned_norms.encoder.modules() if isinstance(m, _BatchNorm)]
    assert all(count == 3 for count in counted)


def test_more_of_the_encoder_by_name():
    assert trained_names(tuned(VIT, "head", also=("pos_embed", "patch_embed.proj.w"))) == {
        "trunk.pos_embed",
        "trunk.patch_embed.proj.weight",
    }
    segmenter = tuned(VIT, "bottleneck", {"reduction": 8}, also=("pos_embed",))
    assert trained_names(segmenter) == {"trunk.pos_embed"}
    assert "parts.encoder.trunk.pos_embed" in tuned_state(segmenter)
    assert segmenter.adapter.updates[0].down.out_features == 64 // 8


def test_adapters_are_a_part_of_the_state():
    segmenter = tuned(VIT, "lora")
    names = {name for name in segmenter.state_dict() if not name.startswith("parts.")}
    assert names and all(name.startswith("adapter.updates.") for name in names)
    base = {name for name, _ in build(VIT, 0)[0].named_parameters()}
    assert {name for name, _ in segmenter.named_parameters()} - names == base


@pytest.mark.parametrize(
    ("method", "options", "also", "message"),
    [
        ("sideways", {}, (), "no such way"),
        ("lora", {"ranks": 4}, (), "no such option"),
        ("head", {"rank": 4}, (), "no such option"),
        ("head", {}, ("pos_embet",), "names no parameter"),
    ],
)
def test_refused_requests_leave_the_network_alone(method, options, also, message):
    segmenter, _ = build(VIT, 0)
    with pytest.raises(InputError, match=message):
        tune(segmenter, method, options, also)
    assert all(parameter.requires_grad for parameter in segmenter.parameters())


def test_networks_that_are_not_tuned():
    unet, _ = build(ModelConfig(network="unet3d", slices=16, image_px=32, weights=None), 0)
    for segmenter in (unet, tuned(VIT, "head")):
        with pytest.raises(InputError, match="tuned in part"):
            tune(segmenter, "bottleneck")


def test_files_that_do_not_fit(tmp_path):
    path = tmp_path / "tuned.safetensors"
    segmenter = tuned(VIT, "bottleneck")
    save_tuned(segmenter, path)
    with safe_open(path, framework="pt") as file:
        facts = file.metadata()
    assert {name: facts[name] for name in ("base", "decoder")} == {
        "base": base_digest(segmenter),
        "decoder": "True",
    }
    assert set(load_file(path)) == set(tuned_state(segmenter))
    for other, message in (
        (tuned(VIT, "bottleneck", seed=1), "another base"),
        (tuned(VIT, "bottleneck", {"reduction": 8}), "another way"),
        (tuned(VIT, "head"), "another way"),
    ):
        before = {name: value.clone() for name, value in other.state_dict().items()}
        with pytest.raises(InputError, match=message):
            load_tuned(other, path)
        assert all(torch.equal(value, before[name]) for name, value in other.state_dict().items())
    with pytest.raises(InputError, match="cannot be read"):
        load_tuned(segmenter, tmp_path / "none.safetensors")
    path.write_bytes(b"damaged")
    with pytest.raises(InputError, match="cannot be read"):
        load_tuned(segmenter, path)


def as_asked(method="head", options=None, **changes):
    """A network as its configuration says, in evaluation mode."""
    tuning = {"method": method, "options": options or {}}
    return build(ModelConfig(**VIT.model_dump() | changes | {"tuning": tuning}), 0)[0].eval()


@pytest.mark.parametrize(
    ("made", "other", "named"),
    [
        ({"method": "lora"}, {"method": "lora", "options": {"alpha": 16}}, "options"),
        ({"method": "adaptformer"}, {"method": "adaptformer", "options": {"scale": 1.0}}, "options"),
        ({"method": "v_petl"}, {"method": "v_petl", "options": {"scale": 0.1}}, "options"),
        (
            {"method": "med_adapter", "options": {"fusion": "add"}},
            {"method": "med_adapter", "options": {"fusion": "max"}},
            "options",
        ),
        ({}, {"taps": (0, 2, 3, 5)}, "taps"),
        ({}, {"intensity": (0.0, 1.0)}, "intensity"),
        ({}, {"stride": 2}, "stride"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_no_shape_tells_is_compared(made, other, named, tmp_path):
    path, fresh = tmp_path / "tuned.safetensors", as_asked(**other)
    save_tuned(as_asked(**made), path)
    with pytest.raises(InputError, match="another way") as caught:
        load_tuned(fresh, path)
    assert caught.value.expected.startswith(named) and caught.value.got.startswith(named)
    load_tuned(as_asked(**made), path)


def test_a_default_that_is_written_out_is_the_same(tmp_path):
    path = tmp_path / "tuned.safetensors"
    save_tuned(as_asked("lora"), path)
    load_tuned(as_asked("lora", {"rank": 8, "alpha": 8}), path)


def test_the_decoder_is_not_asked_of_a_file_without_it(tmp_path):
    path, other = tmp_path / "tuned.safetensors", as_asked("lora", decoder="unet")
    save_tuned(as_asked("lora"), path, decoder=False)
    load_tuned(other, path)


@pytest.mark.parametrize(
    ("method", "options", "text"),
    [
        ("vpt_shallow", {"deep": True}, "no such option"),
        ("med_adapter", {"zero_init": "false"}, "of another type"),
        ("med_adapter", {"conv3": 1}, "of another type"),
        ("lora", {"alpha": "16"}, "of another type"),
        ("st_adapter", {"reduction": 2.0}, "of another type"),
        ("lora", {"rank": True}, "of another type"),
        ("st_adapter", {"kernel": -3}, "kernel odd"),
        ("pro_tuning", {"kernel": -1}, "odd kernel"),
    ],
)
def test_options_of_another_kind(method, options, text):
    with pytest.raises(InputError) as caught:
        as_asked(method, options)
    assert text in str(caught.value)


def test_as_many_frequencies_as_slices_where_slices_are_the_batch():
    slices = {"mixing": "slices", "target": "all", "slices": 4}
    for options, stored in (({}, 4), ({"slices": 6}, 6)):
        network = as_asked("med_adapter", options, **slices)
        lengths = {len(part.weight) for part in network.modules() if isinstance(part, TemporalSpectrum)}
        assert lengths == {stored}


@pytest.mark.parametrize(
    ("encoder", "taps"),
    [
        ("hiera_tiny_224", (0, 1)),
        ("samvit_base_patch16", (1, 3)),
        ("pvt_v2_b0", (0, 1)),
        ("xcit_nano_12_p16_224", (1, 3)),
    ],
)
def test_blocks_of_another_build_take_nothing(encoder, taps):
    config = VIT.model_copy(
        update={"encoder": encoder, "taps": taps, "image_px": 224, "decoder": "setr_naive"}
    )
    with pytest.raises(InputError, match="nothing can be attached"), torch.device("meta"):
        tune(NETWORKS[config.network](config), "lora")
