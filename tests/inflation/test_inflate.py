"""The law of TransSeg's inflation, section 3.2, on a whole network: it starts as timm's own 2D network."""

from functools import cache

import medseg.compat  # noqa: F401  isort: skip
import pytest
import timm
import torch

from medseg.encoders.timm_encoder import TimmEncoder
from medseg.errors import InputError
from medseg.inflation.inflate import PATCH_KERNEL, POSITIONS, inflate_state

NAME, PX, TAPS = "vit_tiny_patch16_224", 32, (3, 5, 7, 11)
# (input channels, slices): odd, even and single depth, one channel and several.
INPUTS = [(1, 1), (1, 3), (1, 4), (1, 5), (2, 3), (3, 1)]
CLOSE = {"rtol": 1e-5, "atol": 1e-5}


@cache
def plain():
    """The 2D network with random weights, biases and norms too."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = timm.create_model(NAME, img_size=PX, num_classes=0).eval()
        for parameter in network.parameters():
            parameter.data += 0.02 * torch.randn_like(parameter)
    return network


@cache
def encoder(in_channels, slices):
    return TimmEncoder(NAME, in_channels, slices, PX, TAPS).eval()


def refuse_resizing(key, value, wanted):
    """No key of another shape is known: the token grid did not change."""


def lift(rule, in_channels=1, slices=3, state=None, seed=0, target=None):
    return inflate_state(
        plain().state_dict() if state is None else state,
        encoder(in_channels, slices).trunk.state_dict() if target is None else target,
        in_channels=in_channels,
        slices=slices,
        rule=rule,
        resize=refuse_resizing,
        source="test",
        sha256=None,
        generator=torch.Generator().manual_seed(seed),
    )


@torch.no_grad()
def inflated_features(rule, windows):
    network = encoder(*windows.shape[1:3])
    state, _ = lift(rule, *windows.shape[1:3])
    network.trunk.load_state_dict(state)
    return network(windows)


@torch.no_grad()
def features_2d(gray):
    """What timm's network sees of a gray image (B, H, W), repeated over RGB."""
    return plain().forward_intermediates(
        gray.unsqueeze(1).expand(-1, 3, -1, -1),
        indices=list(TAPS),
        norm=False,
        output_fmt="NCHW",
        intermediates_only=True,
    )


def windows_of(in_channels, slices):
    return torch.randn(2, in_channels, slices, PX, PX, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize(("in_channels", "slices"), INPUTS)
@pytest.mark.parametrize("rule", ["center", "average"])
def test_depth_constant_volume(rule, in_channels, slices):
    gray = windows_of(1, 1)[:, 0, 0]
    windows = gray[:, None, None].expand(-1, in_channels, slices, -1, -1)
    for lifted, flat in zip(inflated_features(rule, windows), features_2d(gray), strict=True):
        torch.testing.assert_close(lifted, flat, **CLOSE)


@pytest.mark.parametrize(("in_channels", "slices"), INPUTS)
def test_center_on_any_volume_is_the_2d_net_of_the_centre_slice(in_channels, slices):
    windows = windows_of(in_channels, slices)
    centre = windows[:, :, slices // 2].mean(1)
    for lifted, flat in zip(inflated_features("center", windows), features_2d(centre), strict=True):
        torch.testing.assert_close(lifted, flat, **CLOSE)


@pytest.mark.parametrize(("in_channels", "slices"), INPUTS)
def test_average_on_any_volume_is_the_2d_net_of_the_mean_slice(in_channels, slices):
    windows = windows_of(in_channels, slices)
    for lifted, flat in zip(
        inflated_features("average", windows), features_2d(windows.mean((1, 2))), strict=True
    ):
        torch.testing.assert_close(lifted, flat, **CLOSE)


@pytest.mark.parametrize("rule", ["center", "average"])
def test_report_names_every_key_of_the_network(rule):
    state, report = lift(rule)
    target = encoder(1, 3).trunk.state_dict()
    assert state.keys() == target.keys() <= report.actions.keys()
    assert {key: value.shape for key, value in state.items()} == {k: v.shape for k, v in target.items()}
    assert report.actions.pop(PATCH_KERNEL) == "inflated"
    assert {report.actions[key] for key in target if key != PATCH_KERNEL} == {"mapped"}
    assert {key for key, action in report.actions.items() if action == "skipped"} == {
        "norm.weight",
        "norm.bias",
    }
    assert (report.coverage, report.drawn) == (1.0, 0.0)
    assert report.require(1.0) is report


def test_random_rule_is_reported_as_drawn():
    state, report = lift("random", seed=1)
    again, other = lift("random", seed=1)[0], lift("random", seed=2)[0]
    assert torch.equal(state[PATCH_KERNEL], again[PATCH_KERNEL])
    assert not torch.equal(state[PATCH_KERNEL], other[PATCH_KERNEL])
    target = encoder(1, 3).trunk.state_dict()
    share = target[PATCH_KERNEL].numel() / sum(value.numel() for value in target.values())
    assert report.actions[PATCH_KERNEL] == "drawn"
    assert report.drawn == pytest.approx(share)
    assert report.coverage == pytest.approx(1 - share)
    report.require(1.0)


def without(key):
    return {k: v for k, v in plain().state_dict().items() if k != key}


@pytest.mark.parametrize(
    ("state", "key", "action"),
    [
        (lambda: without("blocks.0.attn.qkv.weight"), "blocks.0.attn.qkv.weight", "missing"),
        (
            lambda: plain().state_dict() | {"blocks.0.mlp.fc1.bias": torch.zeros(3)},
            "blocks.0.mlp.fc1.bias",
            "missing",
        ),
        (lambda: plain().state_dict() | {"stem.weight": torch.zeros(3)}, "stem.weight", "left over"),
        (
            lambda: plain().state_dict() | {"patch_embed.proj.weight": torch.zeros(8, 3, 32, 32)},
            "patch_embed.proj.weight",
            "missing",
        ),
    ],
    ids=["key missing", "another shape", "key too many", "other patches"],
)
def test_a_state_that_does_not_fit_is_named_and_refused(state, key, action):
    lifted, report = lift("center", state=state())
    assert report.actions[key] == action
    assert key not in lifted or action == "left over"
    with pytest.raises(InputError, match="do not fit") as caught:
        report.require(0.0)
    assert key in caught.value.got


def test_coverage_counts_parameters():
    lost = plain().state_dict()["blocks.0.attn.qkv.weight"].numel()
    _, report = lift("center", state=without("blocks.0.attn.qkv.weight"))
    total = sum(value.numel() for value in encoder(1, 3).trunk.state_dict().values())
    assert report.coverage == pytest.approx(1 - lost / total)


def test_classifier_is_skipped():
    _, report = lift("center", state=plain().state_dict() | {"head.weight": torch.zeros(3)})
    assert report.actions["head.weight"] == "skipped"
    report.require(1.0)


@pytest.mark.parametrize(
    "key", ["layers.0.attn_mask", "blocks.0.attn.relative_position_index", "a.attention_bias_idxs"]
)
def test_tables_of_indices_are_skipped(key):
    _, report = lift("center", state=plain().state_dict() | {key: torch.zeros(3)})
    assert report.actions[key] == "skipped"
    report.require(1.0)


def test_the_first_kernels_and_what_is_left_out_are_the_callers_to_name():
    state = {"stem.weight": torch.randn(4, 3, 2, 2), "neck.weight": torch.zeros(1)}
    lifted, report = inflate_state(
        state,
        {"stem.weight": torch.zeros(4, 10, 2, 2)},
        in_channels=2,
        slices=5,
        rule="average",
        resize=refuse_resizing,
        source="test",
        sha256=None,
        first_kernels=["stem.weight"],
        left_out={"neck.weight"},
    )
    assert report.counts() == {"inflated": 1, "skipped": 1}
    gray = state["stem.weight"].sum(1, keepdim=True)
    torch.testing.assert_close(lifted["stem.weight"], (gray / 10).expand(-1, 10, -1, -1))


def test_positions_are_resized_where_the_token_grid_differs():
    network = TimmEncoder(NAME, 1, 3, 48, TAPS)
    asked = []

    def resize(key, value, wanted):
        asked.append((key, value.shape, wanted.shape))
        return torch.zeros(wanted.shape)

    state, report = inflate_state(
        plain().state_dict(),
        network.trunk.state_dict(),
        in_channels=1,
        slices=3,
        rule="center",
        resize=resize,
        source="test",
        sha256=None,
    )
    assert report.actions[POSITIONS] == "resized"
    assert asked == [(POSITIONS, (1, 5, 192), (1, 10, 192))]
    assert report.coverage == 1.0 and not state[POSITIONS].any()
