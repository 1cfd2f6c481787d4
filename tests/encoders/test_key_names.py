"""Names of other releases: every key of timm's network is met once, and the rest is named."""

import re

import medseg.compat  # noqa: F401  isort: skip
import encoder_families as families
import pytest
import timm
import torch

from medseg.encoders import mobile_sam
from medseg.encoders.key_names import (
    KEY_TABLES,
    SHARED_TABLE,
    renamed,
    shared_table_in_every_block,
    table_of,
)
from medseg.encoders.timm_encoder import TimmEncoder
from medseg.errors import InputError


def foreign_names(keys, moved, others=()):
    """Names of a release that merges patches at the end of a stage."""
    names = {}
    for key in keys:
        name = re.sub(rf"{moved}\.(\d)\.downsample", lambda m: f"{moved}.{int(m[1]) - 1}.downsample", key)
        for ours, theirs in others:
            name = name.replace(ours, theirs)
        names[name] = key
    return names


def named_as_timm(foreign, table, without_place):
    """Whether every foreign name becomes the one beside it, and the keys without a place are named."""
    values = {name: torch.tensor(number) for number, name in enumerate(foreign)}
    state, left_out = renamed(values | dict.fromkeys(without_place, torch.tensor(-1)), KEY_TABLES[table])
    wanted = {key: values[name] for name, key in foreign.items()}
    return left_out == without_place and wanted.items() <= state.items()


def test_every_key_of_swin_in_the_official_release():
    with torch.device("meta"):
        network = timm.create_model(families.SWIN)
    keys = [key for key in network.state_dict() if not key.startswith(("head.", "norm."))]
    official = foreign_names(keys, "layers")
    assert "layers.0.downsample.reduction.weight" in official
    assert named_as_timm(official, "swin", {"head.weight", "norm.bias"})


def test_a_swin_under_timms_own_names_is_left_as_it_is():
    with torch.device("meta"):
        state = timm.create_model(families.SWIN).state_dict()
    assert "layers.3.downsample.reduction.weight" in state
    kept, left_out = renamed(state, table_of(state, "swin"))
    assert set(kept) | left_out == set(state) and all(key.startswith(("head.", "norm.")) for key in left_out)
    assert table_of(foreign_names(state, "layers"), "swin") == KEY_TABLES["swin"]


def test_every_key_of_mobile_sam():
    with torch.device("meta"):
        network = mobile_sam.tiny_vit_5m()
    keys = [key for key in network.state_dict() if not key.startswith("head.")]
    others = (
        ("stages.", "layers."),
        (".conv.", ".c."),
        ("patch_embed.conv1", "patch_embed.seq.0"),
        ("patch_embed.conv2", "patch_embed.seq.2"),
    )
    theirs = foreign_names(keys, "stages", others)
    assert named_as_timm(theirs, "mobile_sam", {"neck.0.weight", "norm_head.bias"})


def test_timms_own_names_pass():
    state = {"blocks.0.attn.qkv.weight": torch.zeros(1)}
    assert renamed(state, KEY_TABLES["timm"]) == (state, set())


def test_the_shared_table_of_beit_reaches_every_block(monkeypatch):
    monkeypatch.setattr(timm, "create_model", families.small)
    encoder = TimmEncoder(families.BEIT, 1, 1, 64, families.TAPS)
    wanted = encoder.trunk.state_dict()
    own = [key for key in wanted if key.endswith("relative_position_bias_table")]
    shared = torch.randn(wanted[own[0]].shape)
    foreign = {key: value for key, value in wanted.items() if key not in own}
    foreign |= {SHARED_TABLE: shared, "mask_token": torch.zeros(1), "lm_head.weight": torch.zeros(1)}
    state, left_out = renamed(foreign, KEY_TABLES["beit_ssl"])
    given = shared_table_in_every_block(state, wanted)
    assert left_out == {"mask_token", "lm_head.weight"}
    assert given.keys() - left_out == wanted.keys()
    assert len(own) == 4 and all(torch.equal(given[key], shared) for key in own)
    assert shared_table_in_every_block(dict(wanted), wanted) == wanted


@pytest.mark.parametrize("name", KEY_TABLES)
def test_patterns_are_anchored_or_inside_dots(name):
    assert all(re.compile(pattern) and pattern[0] in "^\\" for pattern, _ in KEY_TABLES[name])


def test_two_tensors_under_one_name_are_refused():
    state = {"a.weight": torch.zeros(1), "b.weight": torch.ones(1)}
    with pytest.raises(InputError, match="one name"):
        renamed(state, (("^b", "a"),))
