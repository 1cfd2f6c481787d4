"""Tokens of many slices: what each way to mix depth keeps of the 2D network."""

import pytest
import torch
from block_calls import check_recomputed

from medseg.encoders.timm_encoder import TimmEncoder
from medseg.encoders.volume_tokens import VolumeTokens

ARCHITECTURE, PX, TAPS = "test_vit", 64, (1, 2, 3, 5)
MODES = ("joint", "cycle")


def made(mode, slices=3):
    encoder = VolumeTokens(ARCHITECTURE, 1, slices, PX, TAPS, mode).eval()
    encoder.load("stand_in", "center")
    return encoder


def plane():
    encoder = TimmEncoder(ARCHITECTURE, 1, 1, PX, TAPS).eval()
    encoder.load("stand_in", "center")
    return encoder


def noise(slices, batch=2):
    return torch.randn(batch, 1, slices, PX, PX, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("mode", MODES)
def test_maps_and_gradients(mode):
    encoder = VolumeTokens(ARCHITECTURE, 2, 3, PX, TAPS, mode)
    maps = encoder(torch.randn(2, 2, 3, PX, PX))
    side = PX // encoder.strides[0]
    assert [m.shape for m in maps] == [(2, c, side, side) for c in encoder.channels]
    sum(m.square().mean() for m in maps).backward()
    assert [n for n, p in encoder.named_parameters() if p.grad is None] == []


def test_joint_attention_on_a_depth_constant_window_is_the_2d_network():
    # Every key is there once for each slice: the softmax shares its weight out over equal values.
    one = noise(1)
    for deep, flat in zip(made("joint", 5)(one.expand(-1, -1, 5, -1, -1)), plane()(one), strict=True):
        torch.testing.assert_close(deep, flat, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_one_slice_and_the_order_of_slices(mode):
    window = noise(3)
    encoder = made(mode)
    # Without depth positions nothing tells up from down.
    for one, other in zip(encoder(window), encoder(window.flip(2)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_the_centre_sees_its_neighbours(mode):
    window = noise(3)
    changed = window.clone()
    changed[:, :, 0] += 1
    encoder = made(mode)
    before, after = encoder(window), encoder(changed)
    assert not torch.allclose(before[-1], after[-1], atol=1e-3)


def test_a_cycle_begins_with_the_slices_alone():
    first = VolumeTokens(ARCHITECTURE, 1, 3, PX, (0,), "cycle").eval()
    first.load("stand_in", "center")
    flat = TimmEncoder(ARCHITECTURE, 1, 1, PX, (0,)).eval()
    flat.load("stand_in", "center")
    window = noise(3)
    torch.testing.assert_close(first(window)[0], flat(window[:, :, 1:2])[0])


def test_a_cycle_adds_no_parameter_and_joint_one_vector_a_slice():
    count = {mode: sum(p.numel() for p in made(mode).parameters()) for mode in MODES}
    flat = sum(p.numel() for p in plane().parameters())
    assert count == {"cycle": flat, "joint": flat + 3 * made("joint").channels[0]}


@pytest.mark.parametrize("mode", MODES)
def test_recomputed_activations_give_the_same_gradients(mode):
    encoder, window = made(mode).train(), noise(3)

    def step():
        encoder.zero_grad()
        sum(m.square().mean() for m in encoder(window)).backward()
        return [p.grad.clone() for p in encoder.parameters()]

    trunk = encoder.plane.trunk
    plain, again = check_recomputed(list(trunk.blocks), step, trunk.set_grad_checkpointing)
    for one, other in zip(plain, again, strict=True):
        torch.testing.assert_close(one, other)
