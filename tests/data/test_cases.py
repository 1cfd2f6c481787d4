"""The feed is a function of seed and step; arms that share a seed see the same slices."""

import numpy as np
import pytest
import torch
from brats_trees import brats_2019

from medseg.config import AugmentConfig, ModelConfig
from medseg.data.brats import read_brats
from medseg.data.cases import WindowFeed, load_case, to_label_values
from medseg.data.transforms import RESIZE_ONLY, resample
from medseg.errors import InputError

STILL = AugmentConfig(zoom=(1.0, 1.0), flip_p=0.0, rotate90_p=0.0, shift=0.0, shift_p=0.0)
BATCH = 3


def feed(cases, slices=3, augment=None, seed=1, all_slices=False):
    model = ModelConfig(slices=slices, image_px=16, classes=4)
    return WindowFeed(cases, model, augment or AugmentConfig(), BATCH, seed, all_slices)


def equal(first, second):
    return all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_loaded_case_is_normalised_and_on_one_grid(loaded_phantoms):
    for case in loaded_phantoms:
        assert case.image.shape == (1, *case.volume.array.shape[1:]) == case.labels.shape
        assert case.image.dtype == torch.float32 and case.image.abs().max() == 1
        assert np.array_equal(case.labels[0].numpy(), case.volume.labels)


def test_label_values_become_class_numbers_and_back(phantom_data):
    # Values with a gap: 0 1 2 3 on disk, a card that also names 2 as the last but one of 0 1 2 3 9.
    name = phantom_data.split.train[0]
    card = phantom_data.card.model_copy(update={"labels": {3: "c", 0: "background", 1: "a", 2: "b", 9: "d"}})
    case = load_case(phantom_data.cases[name], card)
    assert np.array_equal(to_label_values(case.labels[0].numpy(), card), case.volume.labels)
    gap = card.model_copy(update={"labels": {0: "background", 2: "a", 9: "b", 300: "c"}})
    assert to_label_values(np.array([[0, 1, 2, 3]]), gap).tolist() == [[0, 2, 9, 300]]


def test_a_label_outside_the_card_is_refused(phantom_data):
    card = phantom_data.card.model_copy(update={"labels": {0: "background", 1: "organ"}})
    with pytest.raises(InputError, match="label values"):
        load_case(phantom_data.cases[phantom_data.split.train[0]], card)


@pytest.mark.parametrize("changes", [{"classes": 3}, {"in_channels": 2}])
def test_cases_that_the_network_cannot_take_are_refused(loaded_phantoms, changes):
    model = ModelConfig(image_px=16, **({"classes": 4} | changes))
    with pytest.raises(InputError, match="does not fit the network") as caught:
        WindowFeed(loaded_phantoms, model, STILL, BATCH, 1, all_slices=False)
    assert loaded_phantoms[0].id in str(caught.value)


def test_nothing_to_train_on():
    with pytest.raises(InputError, match="nothing to train on"):
        feed([])


@pytest.mark.parametrize("all_slices", [False, True])
def test_shapes(loaded_phantoms, all_slices):
    images, labels = feed(loaded_phantoms, all_slices=all_slices).at(0)
    assert images.shape == (BATCH, 1, 3, 16, 16) and images.dtype == torch.float32
    assert labels.shape == ((BATCH, 1, 3, 16, 16) if all_slices else (BATCH, 1, 16, 16))
    assert labels.dtype == torch.int64 and set(labels.unique().tolist()) <= {0, 1, 2, 3}


def test_a_step_is_a_function_of_seed_and_number(loaded_phantoms):
    first, second = feed(loaded_phantoms), feed(loaded_phantoms)
    expected = [first.at(step) for step in range(5)]
    assert all(equal(second.at(step), expected[step]) for step in (4, 0, 3, 3, 1))
    assert not equal(feed(loaded_phantoms, seed=2).at(0), expected[0])


def test_windows_are_what_the_index_names(loaded_phantoms):
    still = feed(loaded_phantoms, augment=STILL)
    images, labels = still.at(2)
    for position, (case, d) in enumerate(still.index.at(2)):
        whole, classes = loaded_phantoms[case].image[:, d : d + 1], loaded_phantoms[case].labels[:, d : d + 1]
        assert torch.equal(images[position, :, 1:2], resample(whole, RESIZE_ONLY, 16))
        assert torch.equal(
            labels[position].float(), resample(classes.float(), RESIZE_ONLY, 16, nearest=True)[:, 0]
        )


def test_arms_with_other_depths_see_the_same_slices_in_the_same_order(loaded_phantoms):
    one, five = feed(loaded_phantoms, slices=1), feed(loaded_phantoms, slices=5)
    for step in range(4):
        (flat, flat_labels), (deep, deep_labels) = one.at(step), five.at(step)
        assert torch.equal(flat[:, :, 0], deep[:, :, 2])
        assert torch.equal(flat_labels, deep_labels)


def test_all_slices_of_an_even_window_are_labelled_in_place(loaded_phantoms):
    certain = STILL.model_copy(update={"flip_p": 1.0})
    images, labels = feed(loaded_phantoms, slices=4, augment=certain, all_slices=True).at(0)
    still_images, still_labels = feed(loaded_phantoms, slices=4, augment=STILL, all_slices=True).at(0)
    torch.testing.assert_close(images, still_images.flip(2, 3, 4), rtol=0, atol=2e-7)
    assert torch.equal(labels, still_labels.flip(2, 3, 4))


@pytest.mark.parametrize("all_slices", [False, True])
@pytest.mark.parametrize("parts", [[slice(0, 1), slice(1, 3)], [slice(0, 3)], [slice(2, 3), slice(0, 2)]])
def test_a_window_is_the_same_whoever_asks_for_it(loaded_phantoms, parts, all_slices):
    whole = feed(loaded_phantoms, all_slices=all_slices).at(4)
    for rows in parts:
        part = feed(loaded_phantoms, all_slices=all_slices).at(4, rows)
        assert equal(part, [tensor[rows] for tensor in whole])


def test_channels_in_several_files_are_one_case(tmp_path):
    card, cases = read_brats(brats_2019(tmp_path))
    loaded = load_case(cases[0], card)
    assert loaded.image.shape[0] == 4 and loaded.image.shape[1:] == loaded.labels.shape[1:]
    # Label values 0, 1, 2, 4 are classes 0, 1, 2, 3, and come back.
    assert loaded.labels.unique().tolist() == [0, 1, 2, 3]
    assert np.array_equal(to_label_values(loaded.labels[0].numpy(), card), loaded.volume.labels)


def test_names_of_a_step_are_those_of_its_windows(loaded_phantoms):
    asked = feed(loaded_phantoms)
    seen = [{loaded_phantoms[case].id for case, _ in asked.index.at(step)} for step in range(6)]
    assert [set(asked.names_at(step)) for step in range(6)] == seen and len(set().union(*seen)) == 2


def test_what_a_feed_needs_is_stated(loaded_phantoms):
    from medseg.data.cases import TrainingCase

    assert all(isinstance(case, TrainingCase) for case in loaded_phantoms)
    assert not isinstance("phantom_000", TrainingCase)


def test_a_zoomed_depth_still_gives_the_label_of_the_centre(loaded_phantoms):
    augment = AugmentConfig(zoom=(1.0, 1.0), flip_p=0, rotate90_p=0, shift_p=0)
    model = ModelConfig(slices=5, image_px=32, classes=4)
    plain, deep = (
        WindowFeed(loaded_phantoms, model, a, batch=4, seed=3, all_slices=False).at(0)
        for a in (augment, augment.model_copy(update={"depth_zoom": True}))
    )
    for one, other in zip(plain, deep, strict=True):
        torch.testing.assert_close(one, other)
