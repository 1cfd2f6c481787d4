"""AdamW of all arms (TransSeg, Table 6)."""

import torch
from torch import nn, optim

from medseg.config import TrainConfig

EMBEDDINGS = (
    "pos_embed",
    "cls_token",
    "reg_token",
    "depth_embed",
    "relative_position_bias_table",
    "attention_biases",
)
# Tokens that medseg.adapters.prompts inserts.
PROMPTS = "adapter.tokens."


def adamw(network: nn.Module, train: TrainConfig, fused: bool) -> optim.Optimizer:
    """AdamW; biases, embeddings and, without `decay_norms`, the weights of norms are not decayed."""
    named = [(name, p) for name, p in network.named_parameters() if p.requires_grad]
    plain = {name for name, p in named if p.ndim == 1 or name.endswith(EMBEDDINGS) or PROMPTS in name}
    if train.decay_norms:
        norms = [name for name, m in network.named_modules() if isinstance(m, nn.LayerNorm)]
        plain -= {f"{name}.weight" for name in norms}
    groups = [
        {"params": [p for name, p in named if name not in plain], "weight_decay": train.weight_decay},
        {"params": [p for name, p in named if name in plain], "weight_decay": 0.0},
    ]
    return optim.AdamW(groups, lr=train.lr, fused=fused)


def lay_out(optimizer: optim.Optimizer) -> None:
    """Lay the moments of a loaded optimiser out as its parameters are, channels last or not.

    The fused kernel goes through both in the order of memory: in another layout it would pair an element
    with the moments of another one. A checkpoint keeps the layout of the engine that wrote it.
    """
    for parameter, moments in optimizer.state.items():
        for name, value in moments.items():
            if value.shape == parameter.shape:
                moments[name] = torch.empty_like(parameter).copy_(value)
