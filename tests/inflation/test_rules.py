"""Inflation rules as laws of convolutions: what a 3D kernel sees of a volume is what the 2D kernel saw."""

from typing import get_args

import pytest
import torch
from torch.nn.functional import conv2d, conv3d

from medseg.config import ModelConfig
from medseg.inflation.rules import RULES, average, center, random, sum_to_gray

DEPTHS = (1, 3, 4, 5)
EXACT = {"rtol": 0, "atol": 0}


@pytest.fixture
def kernel():
    return torch.randn(6, 2, 3, 3, generator=torch.Generator().manual_seed(0))


def volume(depth, channels=2):
    return torch.randn(2, channels, depth, 7, 5, generator=torch.Generator().manual_seed(1))


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def test_a_configuration_offers_every_rule():
    assert set(get_args(ModelConfig.model_fields["inflation"].annotation)) == set(RULES)


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("rule", [center, average])
def test_depth_constant_volume_gives_the_2d_response(rule, depth, kernel):
    slice_ = volume(1)
    response = conv3d(slice_.expand(-1, -1, depth, -1, -1), rule(kernel, depth))
    torch.testing.assert_close(response.squeeze(2), conv2d(slice_.squeeze(2), kernel), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("depth", DEPTHS)
def test_center_sees_the_centre_slice_alone(depth, kernel):
    inflated = center(kernel, depth)
    torch.testing.assert_close(inflated[:, :, depth // 2], kernel, **EXACT)
    assert inflated.count_nonzero() == kernel.count_nonzero()


@pytest.mark.parametrize("depth", DEPTHS)
def test_average_sees_the_mean_slice(depth, kernel):
    image = volume(depth)
    response = conv3d(image, average(kernel, depth)).squeeze(2)
    torch.testing.assert_close(response, conv2d(image.mean(2), kernel), rtol=1e-5, atol=1e-5)


def test_at_depth_one_both_are_the_2d_kernel(kernel):
    torch.testing.assert_close(center(kernel, 1).squeeze(2), kernel, **EXACT)
    torch.testing.assert_close(average(kernel, 1).squeeze(2), kernel, **EXACT)


def test_random_is_a_function_of_the_seed(kernel):
    drawn = random(kernel, 5, seeded(3))
    torch.testing.assert_close(random(kernel, 5, seeded(3)), drawn, **EXACT)
    torch.testing.assert_close(random(kernel + 1, 5, seeded(3)), drawn, **EXACT)
    assert not torch.equal(random(kernel, 5, seeded(4)), drawn)


def test_random_has_the_scale_of_a_fresh_convolution(kernel):
    drawn, fresh = random(kernel, 5, seeded(0)), torch.nn.Conv3d(2, 6, (5, 3, 3)).weight
    bound = (2 * 5 * 3 * 3) ** -0.5
    assert drawn.shape == fresh.shape
    assert drawn.abs().max() <= bound
    assert drawn.std().item() == pytest.approx(bound / 3**0.5, rel=0.1)


@pytest.mark.parametrize("in_channels", [1, 2, 3])
def test_gray_kernel_on_equal_channels_is_the_rgb_kernel_on_gray(in_channels):
    rgb, gray = torch.randn(4, 3, 3, 3, generator=seeded(0)), torch.randn(1, 1, 6, 6, generator=seeded(1))
    response = conv2d(gray.expand(-1, in_channels, -1, -1), sum_to_gray(rgb, in_channels))
    torch.testing.assert_close(response, conv2d(gray.expand(-1, 3, -1, -1), rgb), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rule", RULES)
def test_rules_leave_their_input_alone(rule, kernel):
    before = kernel.clone()
    inflated = RULES[rule](kernel, 3, seeded(0))
    inflated.zero_()
    torch.testing.assert_close(kernel, before, **EXACT)
    assert inflated.dtype == kernel.dtype and inflated.shape == (6, 2, 3, 3, 3)
