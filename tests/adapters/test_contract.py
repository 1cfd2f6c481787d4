"""Every way to tune, on every form of encoder: it keeps the laws, or is refused."""

import pytest
import torch
from tuned_encoders import FAMILIES, check_laws, tuned_encoder

from medseg.adapters import METHODS
from medseg.config import TrainConfig
from medseg.decoders import DECODERS
from medseg.errors import InputError
from medseg.segmenter import Segmenter, build
from medseg.training.loop import fit
from medseg.training.optimizer import adamw
from medseg.tuning import OWN, base_digest, load_tuned, save_tuned, tune

# What is said, and to whom.
REFUSED = {
    "vpt_shallow": ("no place", ("cycle", "joint", "video_swin", "swin_v2", "tiny_vit", "tiny_vit_slices")),
    "vpt_deep": ("no place", ("cycle", "joint", "video_swin", "swin_v2")),
    "st_adapter": ("stands before a block", ("cycle", "joint")),
    "lora": ("nothing can stand beside", ("video_swin",)),
    "v_petl": ("nothing can stand beside", ("video_swin",)),
}
OPTIONS = {"med_adapter": {"slices": 5}, "v_petl": {"bottleneck": 16}}
# BEiT adds the bias of its projection in another order while these are attached.
REORDERED = {(method, family): 1e-5 for method in ("lora", "v_petl") for family in ("beit", "beit_slices")}
REFUSALS = [(method, family) for method, (_, families) in REFUSED.items() for family in families]
TAKEN = [(method, family) for method in METHODS for family in FAMILIES if (method, family) not in REFUSALS]
OWN_PARTS = [(method, family) for method in OWN if method != "full" for family in FAMILIES]


def idle(method, encoder):
    """What of a method is given zeros: the first layer of Med-Adapter that aligns stages."""
    first = next(number for number, site in enumerate(encoder.sites()) if site.closes_stage)
    return (f"blocks.{first}.fuse.align.weight",) if method == "med_adapter" else ()


def segmenter_of(encoder, method, seed=0):
    """The encoder, whole, and a small decoder, tuned in a way."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        decoder = DECODERS["setr_naive"](encoder.channels, 8, 2, encoder.strides)
        segmenter = Segmenter({"encoder": encoder.requires_grad_(True), "decoder": decoder}, "center")
        tune(segmenter, method, OPTIONS.get(method, {}))
    return segmenter


def train(segmenter, windows):
    """A step of two passes under autocast, as on a CPU."""
    optimizer = adamw(segmenter, TrainConfig(lr=1e-2, weight_decay=0.1), fused=False)
    segmenter.train()
    for part in (windows, 2 * windows):
        with torch.autocast("cpu", torch.bfloat16):
            logits = segmenter(part)
        logits.float().square().mean().backward()
    optimizer.step()
    segmenter.eval()


@pytest.mark.parametrize(("method", "family"), TAKEN)
def test_laws(method, family):
    encoder, windows = tuned_encoder(family)
    check_laws(
        lambda sites: METHODS[method](sites, **OPTIONS.get(method, {})),
        encoder,
        windows,
        start_atol=REORDERED.get((method, family), 0.0),
        idle=idle(method, encoder),
    )


@pytest.mark.parametrize(("method", "family"), REFUSALS)
def test_refused_and_left_alone(method, family):
    encoder, windows = tuned_encoder(family)
    plain = encoder(windows)
    with pytest.raises(InputError, match=REFUSED[method][0]):
        segmenter_of(encoder, method)
    assert all(parameter.requires_grad for parameter in encoder.parameters())
    assert all(torch.equal(one, other) for one, other in zip(encoder(windows), plain, strict=True))


@pytest.mark.parametrize(
    ("method", "option"),
    [
        ("bottleneck", "reduction"),
        ("adaptformer", "middle"),
        ("vpt_deep", "prompts"),
        ("lora", "rank"),
        ("v_petl", "bottleneck"),
    ],
)
def test_an_adapter_of_nothing_is_refused(method, option):
    with pytest.raises(InputError, match="no such adapter"):
        METHODS[method](tuned_encoder("vit")[0].sites(), **{option: 0})


@pytest.mark.parametrize(("method", "family"), TAKEN + OWN_PARTS)
def test_training_leaves_the_base_and_a_file_holds_the_rest(method, family, tmp_path):
    encoder, windows = tuned_encoder(family)
    plain = encoder(windows)
    segmenter = segmenter_of(encoder, method)
    digest, before = base_digest(segmenter), {n: v.clone() for n, v in segmenter.state_dict().items()}
    train(segmenter, windows)
    assert base_digest(segmenter) == digest
    moved = {name for name, p in segmenter.named_parameters() if not torch.equal(p, before[name])}
    assert moved <= {name for name, p in segmenter.named_parameters() if p.requires_grad}
    of_encoder = {name for name in moved if name.startswith("parts.encoder.")}
    assert bool(of_encoder) == (method in ("bias", "norm"))
    assert any(name.startswith("adapter.") for name in moved) == (method in METHODS)

    save_tuned(segmenter, tmp_path / "tuned.safetensors")
    other = segmenter_of(tuned_encoder(family)[0], method, seed=1).eval()
    trained = segmenter(windows)
    assert not torch.equal(other(windows), trained)
    load_tuned(other, tmp_path / "tuned.safetensors")
    assert torch.equal(other(windows), trained)

    if method in METHODS:
        segmenter.adapter.detach()
    if method not in ("bias", "norm"):
        assert all(torch.equal(one, kept) for one, kept in zip(encoder(windows), plain, strict=True))


@pytest.mark.parametrize("method", ["norm", "lora", "med_adapter"])
def test_the_training_loop_leaves_the_base(method, loaded_phantoms, tiny_config, tmp_path):
    options = {"slices": 1} if method == "med_adapter" else {}
    config = tiny_config(
        model={"tuning": {"method": method, "options": options}},
        train={"precision": "bf16", "batch": 4, "accumulate": 2},
    )
    started, _ = build(config.model, config.train.seed)
    fitted = fit(config, loaded_phantoms, tmp_path)
    assert base_digest(fitted.segmenter) == base_digest(started)
    tuned = {name: value for name, value in fitted.segmenter.named_parameters() if value.requires_grad}
    assert any(not torch.equal(value, started.state_dict()[name]) for name, value in tuned.items())
