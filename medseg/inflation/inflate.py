"""2D state dict in; 3D state dict and a report of every key out."""

from collections.abc import Callable

from torch import Generator, Tensor

from medseg.encoders.checkpoints import Action, LoadReport
from medseg.inflation.rules import RULES, sum_to_gray

PATCH_KERNEL = "patch_embed.proj.weight"
POSITIONS = "pos_embed"
ResizePositions = Callable[[Tensor, Tensor], Tensor]


def inflate_state(
    state_2d: dict[str, Tensor],
    target: dict[str, Tensor],
    *,
    in_channels: int,
    slices: int,
    rule: str,
    resize_positions: ResizePositions,
    source: str,
    sha256: str | None,
    generator: Generator | None = None,
) -> tuple[dict[str, Tensor], LoadReport]:
    """Lift the state of a 2D transformer to one that sees `slices` slices of `in_channels` channels.

    TransSeg, section 3.2: only the patch embedding changes; all blocks are taken as they are. The position
    embedding is resampled where the token grid differs.

    Args:
        state_2d: foreign state with timm's key names.
        target: state of the network to fill; gives names and shapes.
        in_channels: image channels of a slice.
        slices: depth of the window.
        rule: key of RULES.
        resize_positions: (positions, wanted shape) to positions.
        source: name of the weights, for the report.
        sha256: of their file, for the report.
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
        elif key == PATCH_KERNEL:
            kernel = RULES[rule](sum_to_gray(value, in_channels), slices, generator)
            # (out, in, depth, h, w) to the folded layout (out, in * depth, h, w) of the encoder.
            lifted[key] = kernel.flatten(1, 2)
            actions[key] = "drawn" if rule == "random" else "inflated"
        elif value.shape == wanted.shape:
            lifted[key], actions[key] = value, "mapped"
        elif key == POSITIONS:
            lifted[key], actions[key] = resize_positions(value, wanted), "resized"
        else:
            actions[key] = "missing"
    for key in state_2d.keys() - target.keys():
        # The classifier and the last norm have no place: features are raw block outputs.
        actions[key] = (
            "skipped" if key.split(".")[0] in ("head", "norm", "fc_norm", "pre_logits") else "left over"
        )
    total = sum(value.numel() for value in target.values())
    taken = {a: sum(target[k].numel() for k in lifted if actions[k] == a) for a in set(actions.values())}
    drawn = taken.get("drawn", 0)
    filled = sum(taken.values()) - drawn
    return lifted, LoadReport(source, sha256, actions, filled / total, drawn / total)
