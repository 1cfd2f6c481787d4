"""2D state dict in; 3D state dict and a report of every key out."""

from collections.abc import Callable, Collection

from torch import Generator, Tensor

from medseg.encoders.checkpoints import Action, LoadReport
from medseg.inflation.rules import lift_kernel

PATCH_KERNEL = "patch_embed.proj.weight"
POSITIONS = "pos_embed"
# Classifiers and last norms have no place: features are raw outputs of blocks and stages.
TOP = ("head", "norm", "fc_norm", "pre_logits")
# Tables of indices that follow from the size of the window and are made anew.
MADE_ANEW = ("relative_position_index", "attn_mask", "attention_bias_idxs")
# (key, value, wanted shape) to the value in that shape, or None where the key is none that can be resized.
Resize = Callable[[str, Tensor, Tensor], Tensor | None]


def inflate_state(
    state_2d: dict[str, Tensor],
    target: dict[str, Tensor],
    *,
    in_channels: int,
    slices: int,
    rule: str,
    resize: Resize,
    source: str,
    sha256: str | None,
    first_kernels: Collection[str] = (PATCH_KERNEL,),
    left_out: Collection[str] = (),
    generator: Generator | None = None,
) -> tuple[dict[str, Tensor], LoadReport]:
    """Lift the state of a 2D network to one that sees `slices` slices of `in_channels` channels.

    TransSeg, section 3.2: only the first convolution changes; all blocks are taken as they are. Positions
    are resampled where the token grid differs.

    Args:
        state_2d: foreign state with timm's key names.
        target: state of the network to fill; gives names and shapes.
        in_channels: image channels of a slice.
        slices: depth of the window.
        rule: key of RULES.
        resize: positions for another token grid.
        source: name of the weights, for the report.
        sha256: of their file, for the report.
        first_kernels: keys of the kernels that meet the image.
        left_out: foreign keys that have no place in the network on purpose.
        generator: for the rule "random".

    Returns:
        The state to load (complete only if the report says so) and the report.
    """
    lifted: dict[str, Tensor] = {}
    actions: dict[str, Action] = {}
    for key, wanted in target.items():
        value = state_2d.get(key)
        if value is None:
            actions[key] = "missing"
        elif key in first_kernels:
            kernel = lift_kernel(value, rule=rule, in_channels=in_channels, depth=slices, generator=generator)
            # (out, in, depth, h, w) to the folded layout (out, in * depth, h, w) of the encoder.
            folded = kernel.flatten(1, 2)
            if folded.shape == wanted.shape:
                lifted[key], actions[key] = folded, "drawn" if rule == "random" else "inflated"
            else:  # patches of another size
                actions[key] = "missing"
        elif value.shape == wanted.shape:
            lifted[key], actions[key] = value, "mapped"
        elif (resized := resize(key, value, wanted)) is not None:
            lifted[key], actions[key] = resized, "resized"
        else:
            actions[key] = "missing"
    for key in state_2d.keys() - target.keys():
        skipped = key in left_out or key.split(".")[0] in TOP or key.endswith(MADE_ANEW)
        actions[key] = "skipped" if skipped else "left over"
    total = sum(value.numel() for value in target.values())
    taken = {a: sum(target[k].numel() for k in lifted if actions[k] == a) for a in set(actions.values())}
    drawn = taken.get("drawn", 0)
    filled = sum(taken.values()) - drawn
    return lifted, LoadReport(source, sha256, actions, filled / total, drawn / total)
