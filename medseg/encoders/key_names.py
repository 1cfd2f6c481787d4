"""Key names of other releases, as tables: what a foreign key is called in timm's network."""

import re
from collections.abc import Iterable

from torch import Tensor

from medseg.encoders.relative_bias import BIAS_TABLE
from medseg.errors import InputError

# (pattern, its replacement, or None for what has no place in an encoder), one after another.
KeyTable = tuple[tuple[str, str | None], ...]

KEY_TABLES: dict[str, KeyTable] = {
    "timm": (),
    # MobileSAM merges patches at the end of a stage, timm at the start of the next. Neck and head are SAM's.
    "mobile_sam": (
        (r"^(head|norm_head|neck)\.", None),
        (r"^patch_embed\.seq\.0\.", "patch_embed.conv1."),
        (r"^patch_embed\.seq\.2\.", "patch_embed.conv2."),
        (r"^layers\.2\.downsample\.", "stages.3.downsample."),
        (r"^layers\.1\.downsample\.", "stages.2.downsample."),
        (r"^layers\.0\.downsample\.", "stages.1.downsample."),
        (r"^layers\.", "stages."),
        (r"\.c\.", ".conv."),
    ),
    # Microsoft's Swin: the same shift of patch merging; backwards, so that no key moves twice.
    "swin": (
        (r"^(head|norm)\.", None),
        (r"^layers\.2\.downsample\.", "layers.3.downsample."),
        (r"^layers\.1\.downsample\.", "layers.2.downsample."),
        (r"^layers\.0\.downsample\.", "layers.1.downsample."),
    ),
    # BEiT before its supervised step: what predicts masked patches is left out.
    "beit_ssl": ((r"^(lm_head|norm)\.", None), (r"^mask_token$", None)),
    # MoCo v3 in training: the trained encoder stays, its slow copy and all heads are left out.
    "moco_v3": (
        (r"^module\.(momentum_encoder|predictor)\.", None),
        (r"^module\.base_encoder\.head\.", None),
        (r"^module\.base_encoder\.", ""),
    ),
}
SHARED_TABLE = f"rel_pos_bias.{BIAS_TABLE}"


def table_of(names: Iterable[str], keys: str) -> KeyTable:
    """The table for a file: patch merging of a Swin that lies where timm has it is not shifted once more."""
    moved = keys == "swin" and not any(key.startswith("layers.0.downsample.") for key in names)
    return tuple(row for row in KEY_TABLES[keys] if not (moved and "downsample" in row[0]))


def renamed(state: dict[str, Tensor], table: KeyTable) -> tuple[dict[str, Tensor], set[str]]:
    """The state under timm's names, and the keys that the table leaves out.

    >>> state = dict.fromkeys(["neck.0.weight", "layers.0.blocks.0.conv1.c.weight"], Tensor())
    >>> sorted(renamed(state, KEY_TABLES["mobile_sam"])[0])
    ['neck.0.weight', 'stages.0.blocks.0.conv1.conv.weight']
    """
    names: dict[str, Tensor] = {}
    left_out: set[str] = set()
    for key, value in state.items():
        name = key
        for pattern, replacement in table:
            if not re.search(pattern, name):
                continue
            if replacement is None:
                left_out.add(key)
                break
            name = re.sub(pattern, replacement, name)
        if name in names:
            raise InputError(
                "two tensors of the weights file come out under one name",
                expected="a table of names that keeps them apart",
                got=f"{key} and another one, both {name}",
                do="correct the table in medseg.encoders.key_names",
            )
        names[name] = value
    return names, left_out


def shared_table_in_every_block(state: dict[str, Tensor], wanted: Iterable[str]) -> dict[str, Tensor]:
    """The state with a bias table that all blocks share (BEiT-SSL) given to each block as its own.

    Args:
        state: foreign state under timm's names.
        wanted: keys of the network.
    """
    if SHARED_TABLE not in state or SHARED_TABLE in wanted:
        return state
    rest = {key: value for key, value in state.items() if key != SHARED_TABLE}
    blocks = (key for key in wanted if key.endswith(BIAS_TABLE) and key not in rest)
    return rest | dict.fromkeys(blocks, state[SHARED_TABLE])
