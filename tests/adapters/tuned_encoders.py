"""Small encoders of every family, and the laws of all adapters."""

from copy import deepcopy
from functools import cache, partial
from unittest.mock import patch

import medseg.compat  # noqa: F401  isort: skip
import timm
import torch
from block_calls import check_recomputed

from medseg.encoders.registry import make

PX, DEPTH = 64, 3
VIT, SWIN = "vit_tiny_patch16_224", "swin_tiny_patch4_window7_224"
SWIN_V2 = "swinv2_tiny_window8_256"
BEIT, TINY_VIT, STAGES = "beit_base_patch16_224", "tiny_vit_5m_mobile_sam", (0, 1, 2, 3)
# Architecture, taps, mixing. What lies behind the last tap is cut off.
FAMILIES = {
    "vit": (VIT, (1, 3), "patch"),
    "vit_slices": (VIT, (1, 3), "slices"),
    "cycle": (VIT, (1, 3), "cycle"),
    "joint": (VIT, (1, 3), "joint"),
    # Without class token.
    "med_vit": (f"med_{VIT}", (1, 3), "patch"),
    "med_vit_slices": (f"med_{VIT}", (1, 3), "slices"),
    "beit": (BEIT, (1, 3), "patch"),
    "beit_slices": (BEIT, (1, 3), "slices"),
    "swin": (SWIN, (0, 1), "patch"),
    "swin_slices": (SWIN, (0,), "slices"),
    "swin_unet": ("swin_unet_tiny", STAGES, "patch"),
    "swin_unet_slices": ("swin_unet_tiny", STAGES, "slices"),
    "tiny_vit": (TINY_VIT, STAGES, "patch"),
    "tiny_vit_slices": (TINY_VIT, STAGES, "slices"),
    "swin_v2": (SWIN_V2, (0, 1), "patch"),
    "video_swin": ("video_swin_tiny", (0, 1), "patch"),
}
# Narrower and shorter than published.
NARROW = {
    BEIT: {"embed_dim": 192, "depth": 4, "num_heads": 3},
    TINY_VIT: {"embed_dims": (16, 24, 32, 40), "depths": (1, 1, 2, 1), "num_heads": (2, 2, 4, 5)},
    "swin_unet_tiny": {"embed_dim": 24, "num_heads": (1, 2, 3, 6)},
}


def tuned_encoder(family):
    """The encoder of a family, frozen, in evaluation mode, the same at every call; and windows for it."""
    return deepcopy(_built(family))


@cache
def _built(family):
    name, taps, mixing = FAMILIES[family]
    with torch.random.fork_rng(devices=[]), timm_making(NARROW.get(name, {})):
        torch.manual_seed(0)
        encoder = make(name, 1, DEPTH, PX, taps, mixing).eval().requires_grad_(False)
        for key, value in encoder.named_parameters():
            # A fresh Swin V2 multiplies what its blocks add by zero.
            if key.endswith(("norm1.weight", "norm2.weight")):
                value.fill_(1.0)
        windows = torch.randn(2 if mixing == "slices" else 1, 1, DEPTH, PX, PX)
    return encoder, windows


def timm_making(options):
    """While it lasts, timm makes networks with these options."""
    return patch.object(timm, "create_model", partial(timm.create_model, **options))


def stir(adapter, scale=0.1):
    """Random parameters, the same at every call: an adapter as after some training."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))


def gradients_of(maps, adapter):
    """Gradients of a loss on all maps, by the name of the parameter."""
    adapter.zero_grad()
    sum(plane.square().mean() for plane in maps).backward()
    return {name: p.grad for name, p in adapter.named_parameters()}


def check_laws(make_adapter, encoder, windows, start_atol=0.0, idle=()):
    """The laws that every adapter keeps, see medseg.adapters.contract.

    Args:
        make_adapter: sites to Adapter.
        encoder: frozen, in evaluation mode, as of tuned_encoder.
        windows: input of the encoder.
        start_atol: largest difference at the start of an adapter that is the identity there.
        idle: names of parameters whose gradient may be zero.

    Returns:
        The adapter, with stirred parameters, detached.
    """

    def same(maps, others, atol=0.0):
        return all(
            torch.equal(a, b) if atol == 0 else torch.allclose(a, b, rtol=0, atol=atol)
            for a, b in zip(maps, others, strict=True)
        )

    def base_unchanged():
        state = encoder.state_dict()
        assert list(state) == list(kept), "keys"
        assert all(torch.equal(state[key], value) for key, value in kept.items()), "values"
        assert list(dict(encoder.named_modules())) == modules

    def settings():
        """Plain attributes of the modules, by name: flags, sizes, methods laid over those of the class."""
        return {
            (name, key): value if isinstance(value, bool | int | float | str) else None
            for name, module in encoder.named_modules()
            for key, value in vars(module).items()
        }

    plain = encoder(windows)
    kept = {key: value.clone() for key, value in encoder.state_dict().items()}
    modules, as_built = list(dict(encoder.named_modules())), settings()

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        adapter = make_adapter(encoder.sites()).eval()
    assert not set(adapter.modules()) & set(encoder.modules()), "the adapter holds its own modules alone"
    adapter.attach()
    adapter.attach()
    base_unchanged()
    fresh = encoder(windows)
    assert [plane.shape for plane in fresh] == [plane.shape for plane in plain]
    assert same(fresh, plain, start_atol) == adapter.identity_at_start

    stir(adapter)
    moved = encoder(windows)
    assert not same(moved, plain)
    gradients = gradients_of(moved, adapter)
    missing = [name for name, grad in gradients.items() if grad is None or not grad.isfinite().all()]
    assert not missing, "without gradient"
    assert not [name for name, grad in gradients.items() if not grad.any() and name not in idle], "no effect"
    assert all(parameter.grad is None for parameter in encoder.parameters())
    assert same(encoder(windows), moved), "a pass leaves nothing behind"
    base_unchanged()

    adapter.detach()
    adapter.detach()
    base_unchanged()
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks")
    assert not [name for name, m in encoder.named_modules() if any(getattr(m, kind) for kind in hooks)]
    assert settings() == as_built
    assert same(encoder(windows), plain)
    adapter.attach()
    assert same(encoder(windows), moved)
    adapter.detach()
    return adapter


def check_recomputation(adapter, encoder, windows):
    """An attached adapter has the same gradients when activations are computed again going back."""
    adapter.attach()
    encoder.train()
    plain, again = check_recomputed(
        [site.attention for site in encoder.sites()],
        lambda: gradients_of(encoder(windows), adapter),
        encoder.recompute_activations,
        frozen=True,
    )
    assert all(torch.equal(plain[name], again[name]) for name in plain)
