"""Resampling against torch's own, exact where nothing moves, and labels that stay labels."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import affine_grid, grid_sample

from medseg.config import AugmentConfig
from medseg.data.catalog import DATASETS
from medseg.data.transforms import (
    HIGH,
    LOW,
    RESIZE_ONLY,
    PlaneMap,
    augmented,
    axis_weights,
    draw_plane,
    normalise,
    resample,
    zoom_depth,
)

MRI, CT = DATASETS["Task04_Hippocampus"], DATASETS["PhantomCT"]
STILL = AugmentConfig(zoom=(1.0, 1.0), flip_p=0.0, rotate90_p=0.0, shift=0.0, shift_p=0.0)
AXES = {"n_in": st.integers(1, 20), "n_out": st.integers(1, 20), "zoom": st.floats(0.5, 2.0)}


def seeded(seed):
    return torch.Generator().manual_seed(seed)


def window(height=9, width=7, channels=2, depth=3):
    return torch.rand(channels, depth, height, width, generator=seeded(0)) * 2 - 1


def label_map(height=9, width=6):
    return torch.randint(0, 4, (1, 1, height, width), generator=seeded(1)).float()


def areas(n):
    """Centres of n pixels that share [-1, 1]."""
    return (2 * torch.arange(n, dtype=torch.float64) + 1) / n - 1


def looked_at(n_out, zoom, center, flip):
    return center + areas(n_out) * (-1 if flip else 1) / zoom


@given(**AXES, center=st.floats(-0.5, 0.5), flip=st.booleans())
def test_inside_rows_sum_to_one_and_place_every_pixel(n_in, n_out, zoom, center, flip):
    weights = axis_weights(n_in, n_out, zoom, center, flip, nearest=False)
    where = looked_at(n_out, zoom, center, flip)
    assert weights.shape == (n_out, n_in) and weights.min() >= 0 and (weights.sum(1) <= 1 + 1e-5).all()
    inside = where.abs() <= 1 - 1 / n_in
    torch.testing.assert_close(weights.sum(1)[inside], torch.ones(int(inside.sum())), rtol=0, atol=1e-5)
    # Interpolation of a linear function is the function.
    torch.testing.assert_close((weights.double() @ areas(n_in))[inside], where[inside], rtol=0, atol=1e-5)
    assert not weights[where.abs() > 1 + 1 / n_in + 1e-9].any()


@given(**AXES, center=st.floats(-0.5, 0.5), flip=st.booleans())
def test_nearest_takes_one_pixel_or_none(n_in, n_out, zoom, center, flip):
    weights = axis_weights(n_in, n_out, zoom, center, flip, nearest=True)
    where = looked_at(n_out, zoom, center, flip)
    assert set(weights.unique().tolist()) <= {0.0, 1.0}
    assert (weights.sum(1)[where.abs() < 1 - 1e-9] == 1).all()
    assert (weights.sum(1)[where.abs() > 1 + 1e-9] == 0).all()


@pytest.mark.parametrize("nearest", [False, True])
@pytest.mark.parametrize("flip_hw", [(False, False), (True, False), (True, True)])
@pytest.mark.parametrize(
    ("zoom", "center_hw"), [(1.0, (0.0, 0.0)), (1.7, (0.23, -0.31)), (0.6, (0.0, 0.0)), (1.3, (-0.9, 0.4))]
)
def test_resampling_is_torch_grid_sample(zoom, center_hw, flip_hw, nearest):
    # Odd sizes: no position lies in the middle of two pixels, where nearest is a matter of taste.
    source, size_px = window(), 11
    plane = PlaneMap(zoom=zoom, center_hw=center_hw, flip_hw=flip_hw)
    ours = resample(source, plane, size_px, nearest)
    (row, column), (along_h, along_w) = center_hw, ((-1 if f else 1) / zoom for f in flip_hw)
    theta = torch.tensor([[[along_w, 0.0, column], [0.0, along_h, row]]], dtype=torch.float64)
    grid = affine_grid(theta, [1, 1, size_px, size_px], align_corners=False)
    outside = 0.0 if nearest else LOW
    flat = source.flatten(0, 1)[None].double() - outside
    theirs = grid_sample(flat, grid, "nearest" if nearest else "bilinear", "zeros", align_corners=False)
    torch.testing.assert_close(ours.flatten(0, 1)[None].double(), theirs + outside, rtol=0, atol=2e-6)


PLANES = [
    RESIZE_ONLY,
    PlaneMap(zoom=1.7, center_hw=(0.23, -0.31), flip_hw=(True, False)),
    PlaneMap(zoom=0.6, flip_hw=(False, True), quarter_turns=3),
    PlaneMap(zoom=1.3, center_hw=(-0.9, 0.4), quarter_turns=2),
]


def by_products(source, plane, size_px, nearest):
    """Resampling with the matrices written out."""
    rows, columns = (
        axis_weights(n, size_px, plane.zoom, center, flip, nearest)
        for n, center, flip in zip(source.shape[-2:], plane.center_hw, plane.flip_hw, strict=True)
    )
    outside = 0.0 if nearest else LOW
    return (rows @ (source - outside) @ columns.T + outside).rot90(plane.quarter_turns, (-2, -1))


# Hippocampus at 160 and 96 px, and a plane just below the bound.
@pytest.mark.parametrize(("shape", "size_px"), [((50, 35), 160), ((47, 41), 96), ((255, 255), 255)])
@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("nearest", [False, True])
def test_small_planes_are_the_products_bit_for_bit(plane, shape, size_px, nearest):
    source = window(*shape)
    assert torch.equal(
        resample(source, plane, size_px, nearest), by_products(source, plane, size_px, nearest)
    )


@pytest.mark.parametrize(
    ("shape", "size_px"), [((256, 216), 224), ((300, 1), 8), ((40, 33), 256), ((261, 300), 270)]
)
@pytest.mark.parametrize("plane", PLANES)
def test_large_planes_are_the_products_within_rounding(plane, shape, size_px):
    source, labels = window(*shape), label_map(*shape)
    ours, theirs = resample(source, plane, size_px), by_products(source, plane, size_px, nearest=False)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
    assert torch.equal(resample(labels, plane, size_px, True), by_products(labels, plane, size_px, True))


@pytest.mark.parametrize("nearest", [False, True])
def test_a_large_plane_that_keeps_its_size_is_the_product_exactly(nearest):
    source = label_map(260, 260) if nearest else window(260, 260)
    ours = resample(source, RESIZE_ONLY, 260, nearest)
    assert torch.equal(ours, by_products(source, RESIZE_ONLY, 260, nearest))


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 16, 35])
def test_same_size_is_the_identity(size):
    image = window(size, size)
    labels = label_map(size, size)
    # (v - LOW) + LOW rounds in float32; where that is exact, so is the map.
    coarse = (image * 1024).round() / 1024
    assert torch.equal(resample(coarse, RESIZE_ONLY, size), coarse)
    assert torch.equal(resample(labels, RESIZE_ONLY, size, nearest=True), labels)
    torch.testing.assert_close(resample(image, RESIZE_ONLY, size), image, rtol=0, atol=2e-7)


@pytest.mark.parametrize("flip_hw", [(True, False), (False, True), (True, True)])
def test_flips(flip_hw):
    image, plane = window(8, 8), PlaneMap(flip_hw=flip_hw)
    once = resample(image, plane, 8)
    axes = [axis for axis, flip in zip((-2, -1), flip_hw, strict=True) if flip]
    torch.testing.assert_close(once, image.flip(axes), rtol=0, atol=2e-7)
    torch.testing.assert_close(resample(once, plane, 8), image, rtol=0, atol=4e-7)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_quarter_turns(turns):
    labels, plane = label_map(8, 8), PlaneMap(quarter_turns=turns)
    once = resample(labels, plane, 8, nearest=True)
    assert torch.equal(once, labels.rot90(turns, (-2, -1)))
    back = resample(once, PlaneMap(quarter_turns=4 - turns), 8, nearest=True)
    assert torch.equal(back, labels)


def test_outside_is_the_lower_end_and_background():
    plane = PlaneMap(zoom=0.5)
    image = resample(torch.full((1, 1, 8, 8), HIGH), plane, 8)
    labels = resample(torch.full((1, 1, 8, 8), 3.0), plane, 8, nearest=True)
    assert (image[..., 0, :] == LOW).all() and (labels[..., 0, :] == 0).all()
    assert image[..., 4, 4] == HIGH and labels[..., 4, 4] == 3


@given(st.integers(0, 10**6), st.sampled_from([4, 8, 13]))
def test_labels_stay_labels_and_match_the_image(seed, size_px):
    # The image is the label map: both must move together. A pixel whose nearest neighbour is inside has at
    # least a quarter of its bilinear weight there.
    labels = torch.zeros(1, 1, 12, 12)
    labels[..., 3:9, 2:8] = 2
    image = labels - 1
    moved, kept = augmented(image, labels, replace_shift(AugmentConfig()), size_px, seeded(seed))
    assert moved.shape == (1, 1, size_px, size_px) == kept.shape
    assert set(kept.unique().tolist()) <= {0.0, 2.0}
    assert (moved[kept == 2] >= -0.5 - 1e-5).all() and (moved[kept == 0] <= 0.5 + 1e-5).all()


def replace_shift(augment):
    return augment.model_copy(update={"shift_p": 0.0})


@given(st.integers(0, 10**6))
def test_drawn_planes_stay_in_their_bounds(seed):
    augment = AugmentConfig()
    plane, _, offset = draw_plane(augment, seeded(seed))
    assert augment.zoom[0] <= plane.zoom <= augment.zoom[1]
    # What is seen lies inside the image where it is enlarged, and is centred where it is shrunk.
    assert all(abs(c) <= max(0.0, 1 - 1 / plane.zoom) + 1e-12 for c in plane.center_hw)
    assert plane.quarter_turns in (0, 1, 2, 3)
    assert abs(offset) <= augment.shift * (HIGH - LOW)


def test_probabilities_are_kept():
    augment = AugmentConfig()
    drawn = [draw_plane(augment, seeded(seed)) for seed in range(2000)]
    shares = {
        "flip_h": (np.mean([plane.flip_hw[0] for plane, _, _ in drawn]), augment.flip_p),
        "flip_w": (np.mean([plane.flip_hw[1] for plane, _, _ in drawn]), augment.flip_p),
        "flip_d": (np.mean([reverse for _, reverse, _ in drawn]), augment.flip_p),
        "turn": (np.mean([plane.quarter_turns > 0 for plane, _, _ in drawn]), augment.rotate90_p),
        "shift": (np.mean([offset != 0 for _, _, offset in drawn]), augment.shift_p),
    }
    for name, (share, stated) in shares.items():
        # Four standard errors of a share of 2000 draws.
        assert abs(share - stated) < 4 * (stated * (1 - stated) / 2000) ** 0.5, name


def test_no_augmentation_is_a_resize():
    image, labels = window(8, 8), label_map(8, 8)
    plane, reverse, offset = draw_plane(STILL, seeded(0))
    assert replace(plane, center_hw=(0.0, 0.0)) == RESIZE_ONLY and not reverse and offset == 0
    moved, kept = augmented(image, labels, STILL, 5, seeded(0))
    assert torch.equal(moved, resample(image, RESIZE_ONLY, 5))
    assert torch.equal(kept, resample(labels, RESIZE_ONLY, 5, nearest=True))


def test_certain_flips_reverse_depth_too():
    image, labels = window(8, 8), torch.randint(0, 4, (1, 3, 8, 8), generator=seeded(2)).float()
    moved, kept = augmented(image, labels, STILL.model_copy(update={"flip_p": 1.0}), 8, seeded(0))
    torch.testing.assert_close(moved, image.flip(1, 2, 3), rtol=0, atol=2e-7)
    assert torch.equal(kept, labels.flip(1, 2, 3))


def test_shift_moves_intensities_alone():
    augment = STILL.model_copy(update={"shift": 0.1, "shift_p": 1.0})
    image, labels = window(8, 8), label_map(8, 8)
    moved, kept = augmented(image, labels, augment, 8, seeded(3))
    _, _, offset = draw_plane(augment, seeded(3))
    assert 0 < abs(offset) <= 0.2
    torch.testing.assert_close(moved - image, torch.full_like(image, offset), rtol=0, atol=5e-7)
    assert torch.equal(kept, labels)


def intensities(channels=2):
    return np.random.default_rng(0).gamma(2.0, 50.0, (channels, 5, 7, 6)).astype(np.float32)


@pytest.mark.parametrize("card", [MRI, CT], ids=lambda card: card.normalise)
def test_normalised_range(card):
    array = normalise(intensities() * 5 - 400, card)
    assert array.dtype == np.float32 and array.shape == (2, 5, 7, 6)
    assert array.min() == LOW and array.max() == HIGH


@given(st.floats(0.01, 100), st.floats(-1000, 1000))
def test_percentiles_forget_scale_and_offset(scale, offset):
    array = intensities()
    other = (array * np.float32(scale) + np.float32(offset)).astype(np.float32)
    tolerance = 1e-5 + 1e-6 * abs(offset) / scale
    np.testing.assert_allclose(normalise(other, MRI), normalise(array, MRI), rtol=0, atol=tolerance)


def test_channels_have_their_own_percentiles():
    array = intensities()
    array[1] = 7 * array[0] + 100
    first, second = normalise(array, MRI)
    np.testing.assert_allclose(first, second, rtol=0, atol=1e-5)


def test_a_window_is_the_same_for_every_volume():
    assert CT.window is not None
    low, high = CT.window
    values = np.array([-1000, low, (low + high) / 2, high, 3000], np.float32)
    for rest in (0.0, 500.0):
        array = np.full((1, 2, 3, 5), rest, np.float32)
        array[0, 0, 0] = values
        np.testing.assert_allclose(normalise(array, CT)[0, 0, 0], [-1, -1, 0, 1, 1], rtol=0, atol=1e-6)


def test_depth_zoom_of_one_changes_nothing():
    window = torch.randn(1, 5, 4, 6, generator=torch.Generator().manual_seed(0))
    for nearest in (False, True):
        torch.testing.assert_close(zoom_depth(window, 1.0, 0.7, nearest), window)


@pytest.mark.parametrize("place", [-1.0, 0.0, 1.0])
def test_depth_zoom_sees_a_part_and_a_shrunk_window_lies_between_empty_slices(place):
    labels = torch.arange(1.0, 7.0).view(1, 6, 1, 1)
    seen = zoom_depth(labels, 2.0, place, nearest=True).flatten().tolist()
    first = {-1.0: 1, 0.0: 2, 1.0: 4}[place]
    assert seen[0] in (first, first + 1) and len(set(seen)) <= 4 and seen == sorted(seen)
    shrunk = zoom_depth(labels, 0.5, place, nearest=True).flatten().tolist()
    assert shrunk[0] == shrunk[-1] == 0 and max(shrunk) > 0
    image = zoom_depth(torch.ones(1, 6, 2, 2), 0.5, place)
    assert image[:, 0].eq(LOW).all() and image[:, 3].eq(1).all()


def test_a_constant_window_stays_constant_under_depth_zoom():
    window = torch.full((1, 5, 3, 3), 0.25)
    inner = zoom_depth(window, 1.7, 0.0)
    torch.testing.assert_close(inner[:, 1:-1], window[:, 1:-1])


def test_an_even_window_with_one_labelled_slice_is_not_reversed():
    image = torch.arange(4.0).view(1, 4, 1, 1).expand(1, 4, 16, 16) / 4
    label = torch.zeros(1, 1, 16, 16)
    turned = AugmentConfig(zoom=(1.0, 1.0), flip_p=1.0, rotate90_p=0.0, shift_p=0.0)
    seen, _ = augmented(image, label, turned, 16, seeded(0))
    assert seen[0, :, 0, 0].tolist() == pytest.approx([0.0, 0.25, 0.5, 0.75]), "its centre is slice 2"
    seen, _ = augmented(image, label.expand(1, 4, 16, 16), turned, 16, seeded(0))
    assert seen[0, :, 0, 0].tolist() == pytest.approx([0.75, 0.5, 0.25, 0.0])
    seen, _ = augmented(image[:, :3], label, turned, 16, seeded(0))
    assert seen[0, :, 0, 0].tolist() == pytest.approx([0.5, 0.25, 0.0])
