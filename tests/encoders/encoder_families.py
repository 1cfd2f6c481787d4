"""One small network of every family of encoders, and timm's own 2D network beside it."""

import medseg.compat  # noqa: F401  isort: skip
import timm
import torch

from medseg.encoders import mobile_sam

BEIT, SWIN, VIT, DEIT = (
    "beit_base_patch16_224",
    "swin_tiny_patch4_window7_224",
    "vit_tiny_patch16_224",
    "deit_tiny_patch16_224",
)
PX, OTHER_PX = 64, 96
_VIT = {"embed_dim": 24, "depth": 4, "num_heads": 3, "img_size": PX}
# Narrower, shorter and for smaller images than published; everything else is timm's.
SMALL = {
    BEIT: _VIT,
    VIT: _VIT,
    DEIT: _VIT,
    SWIN: {"embed_dim": 12, "depths": (1, 2, 2, 2), "num_heads": (1, 2, 3, 6), "img_size": PX},
    "tiny_vit_5m_224": {"embed_dims": (16, 24, 32, 40), "depths": (1, 1, 2, 1), "num_heads": (2, 2, 4, 5)},
}
FAMILIES = (VIT, DEIT, BEIT, SWIN, mobile_sam.NAME, "test_convnext")
TAPS = (0, 1, 2, 3)

create = timm.create_model


def small(name, **options):
    """timm.create_model, but for the sizes in SMALL."""
    return create(name, **(SMALL.get(name, {}) | options))


def plain(name):
    """The 2D network for RGB, without what no tap depends on; call it where timm makes small networks."""
    make = mobile_sam.tiny_vit_5m if name == mobile_sam.NAME else lambda: small(name)
    network = make().eval()
    network.prune_intermediate_layers(list(TAPS), prune_norm=True, prune_head=True)
    return network


def lively_state(template):
    """Random weights, the same at every call, under which deep maps still differ from place to place."""
    generator = torch.Generator().manual_seed(1)
    state = {}
    for key, value in template.items():
        drawn = torch.randn(value.shape, generator=generator)
        if not value.is_floating_point():
            state[key] = torch.zeros(value.shape, dtype=value.dtype)
        elif key.endswith("running_var") or (value.ndim == 1 and key.endswith("weight")):
            state[key] = 1 + 0.1 * drawn.abs()
        elif value.ndim == 1 or key.endswith(("token", "pos_embed")):
            state[key] = 0.3 * drawn
        else:
            state[key] = drawn / value[0].numel() ** 0.5
    return state
