"""Inflation rules as laws of convolutions: what a 3D kernel sees of a volume is what the 2D kernel saw."""

from typing import get_args

import pytest
import torch
from torch.nn.functional import conv2d, conv3d

from medseg.config import ModelConfig
from medseg.errors import InputError
from medseg.inflation.rules import (
    RULES,
    average,
    center,
    lift_kernel,
    linear,
    random,
    rgb,
    sum_to_gray,
    variance,
)

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
@pytest.mark.parametrize("rule", [center, average, linear])
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


@pytest.mark.parametrize("rule", [center, average, linear, variance])
def test_at_depth_one_it_is_the_2d_kernel(rule, kernel):
    torch.testing.assert_close(rule(kernel, 1).squeeze(2), kernel, **EXACT)


def test_linear_falls_from_the_centre_slice(kernel):
    weights = (linear(kernel, 5) / kernel[:, :, None]).mean((0, 1, 3, 4))
    torch.testing.assert_close(weights, torch.tensor([1.0, 2, 3, 2, 1]) / 9)
    assert (linear(kernel, 4)[:, :, 2].abs() >= linear(kernel, 4).abs().amax(2)).all()


# What a rule keeps of the 2D response to slices of variance 1, relative to that response. With weights w over
# depth: the mean by sum(w), the variance by sum(w^2) for independent slices and by sum(w)^2 for equal ones.
KEPT = {
    "center": (1, 1, 1),
    "average": (1, 1 / 5, 1),
    "linear": (1, 19 / 81, 1),
    "variance": (5**0.5, 1, 5),
}


@pytest.mark.parametrize("rule", KEPT)
def test_what_is_kept_of_mean_and_variance(rule):
    kernel = torch.rand(4, 1, 3, 3, generator=seeded(0))
    independent = torch.randn(20_000, 1, 5, 3, 3, generator=seeded(1)) + 2
    equal = independent[:, :, :1].expand(-1, -1, 5, -1, -1)
    plain = conv2d(independent[:, :, 0], kernel).flatten(1)
    apart, same = (conv3d(x, RULES[rule](kernel, 5, None)).flatten(1) for x in (independent, equal))
    mean, variance_apart, variance_same = map(float, KEPT[rule])
    torch.testing.assert_close(apart.mean(0) / plain.mean(0), torch.full((4,), mean), rtol=0.02, atol=0)
    torch.testing.assert_close(same.mean(0) / plain.mean(0), torch.full((4,), mean), rtol=0.02, atol=0)
    torch.testing.assert_close(
        apart.var(0) / plain.var(0), torch.full((4,), variance_apart), rtol=0.05, atol=0
    )
    torch.testing.assert_close(same.var(0) / plain.var(0), torch.full((4,), variance_same), rtol=1e-3, atol=0)


@pytest.mark.parametrize("depth", [3, 4, 5])
def test_rgb_sees_three_slices_as_three_colours(depth):
    colours, image = torch.randn(6, 3, 3, 3, generator=seeded(0)), volume(depth, channels=1)
    first = depth // 2 - 1
    response = conv3d(image, rgb(colours, depth)).squeeze(2)
    torch.testing.assert_close(
        response, conv2d(image[:, 0, first : first + 3], colours), rtol=1e-5, atol=1e-5
    )


def test_rgb_of_a_gray_kernel_is_the_mean_of_three_slices():
    gray = torch.randn(6, 1, 3, 3, generator=seeded(0))
    torch.testing.assert_close(rgb(gray, 3), average(gray, 3), **EXACT)


@pytest.mark.parametrize(("depth", "channels"), [(2, 3), (5, 2)])
def test_rgb_refuses_what_it_cannot_place(depth, channels):
    with pytest.raises(InputError, match="at least 3 slices"):
        rgb(torch.zeros(4, channels, 3, 3), depth)


@pytest.mark.parametrize("in_channels", [1, 2])
@pytest.mark.parametrize("rule", ["center", "average", "linear", "rgb"])
def test_lifted_colours_on_a_constant_gray_volume_give_the_2d_response(rule, in_channels):
    colours, gray = torch.randn(6, 3, 3, 3, generator=seeded(0)), volume(1, channels=1)
    kernel = lift_kernel(colours, rule=rule, in_channels=in_channels, depth=5)
    response = conv3d(gray.expand(-1, in_channels, 5, -1, -1), kernel).squeeze(2)
    wanted = conv2d(gray[:, :, 0].expand(-1, 3, -1, -1), colours)
    torch.testing.assert_close(response, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rule", ["center", "average", "random"])
def test_lift_kernel_sums_to_gray_first_to_the_bit(rule):
    colours = torch.randn(6, 3, 3, 3, generator=seeded(0))
    lifted = lift_kernel(colours, rule=rule, in_channels=2, depth=5, generator=seeded(1))
    wanted = RULES[rule](sum_to_gray(colours, 2), 5, seeded(1))
    torch.testing.assert_close(lifted, wanted, **EXACT)


@pytest.mark.parametrize(
    "wrong", [{"rule": "nothing"}, {"depth": 0}, {"in_channels": 0}], ids=lambda wrong: next(iter(wrong))
)
def test_lift_kernel_refuses(wrong):
    asked = {"rule": "center", "depth": 3, "in_channels": 1} | wrong
    with pytest.raises(InputError, match="rule center"):
        lift_kernel(torch.zeros(4, 3, 3, 3), **asked)


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
    kernel = kernel[:, :1]
    before = kernel.clone()
    inflated = RULES[rule](kernel, 3, seeded(0))
    inflated.zero_()
    torch.testing.assert_close(kernel, before, **EXACT)
    assert inflated.dtype == kernel.dtype and inflated.shape == (6, 1, 3, 3, 3)
