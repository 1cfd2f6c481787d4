"""Whole volumes from windows: every slice is predicted, and batches change nothing."""

import weakref

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import interpolate
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from medseg.config import ModelConfig
from medseg.data.transforms import RESIZE_ONLY, resample
from medseg.data.windows import cut, window_indices
from medseg.inference.slice_windows import predict, window_centers
from medseg.segmenter import Segmenter, build
from medseg.training.precision import PLANS

FP32 = PLANS["fp32"]


class Sign(nn.Module):
    """Class 1 where the first channel is positive: a network whose answer is known for every voxel."""

    def __init__(self, target):
        super().__init__()
        self.target = target
        # Inference asks the parameters which device to use.
        self.one = nn.Parameter(torch.ones(()))

    def forward(self, windows):
        value = self.one * windows[:, :1]
        if self.target == "center":
            value = value[:, :, windows.shape[2] // 2]
        return torch.cat([-value, value], dim=1)


def sign(target):
    return Segmenter({"sign": Sign(target)}, target=target).eval()


def image(n_slices, height=16, width=16, channels=1):
    generator = torch.Generator().manual_seed(n_slices)
    return torch.rand(channels, n_slices, height, width, generator=generator) * 2 - 1


def naive(segmenter, volume, model):
    """Votes (D, K, H, W) of a network asked for one centre slice at a time."""
    votes = []
    with torch.no_grad():
        for d in range(volume.shape[1]):
            window = resample(cut(volume, d, model.slices), RESIZE_ONLY, model.image_px)
            logits = segmenter(window[None])
            votes.append(interpolate(logits, size=volume.shape[2:], mode="bilinear", antialias=True)[0])
    return torch.stack(votes)


@given(st.integers(2, 33), st.integers(1, 70))
def test_windows_that_predict_all_slices_cover_every_slice(slices, n):
    centers = window_centers("all", slices, n)
    predicted = [d for center in centers for d in window_indices(center, slices, n)]
    assert set(predicted) == set(range(n))
    assert len(set(centers)) == len(centers) and centers == sorted(centers)
    # Where the volume is long enough no window reaches beyond it.
    if n >= slices:
        assert all(len(set(window_indices(center, slices, n))) == slices for center in centers)


@given(st.integers(1, 9), st.integers(1, 40))
def test_windows_that_predict_their_centre_are_one_a_slice(slices, n):
    assert window_centers("center", slices, n) == list(range(n))


@pytest.mark.parametrize("n_slices", [1, 3, 7, 13])
@pytest.mark.parametrize("slices", [3, 4, 5])
@pytest.mark.parametrize("target", ["center", "all"])
def test_a_voxelwise_network_gives_the_voxelwise_answer(target, slices, n_slices):
    volume, model = image(n_slices), ModelConfig(slices=slices, image_px=16, classes=2)
    classes = predict(sign(target), volume, model, FP32, batch=2)
    assert classes.shape == (n_slices, 16, 16) and classes.dtype == np.uint8
    assert np.array_equal(classes, (volume[0] > 0).numpy())


@pytest.mark.parametrize("target", ["center", "all"])
def test_of_equal_logits_the_first_class_is_taken(target):
    volume, model = torch.zeros(1, 7, 16, 16), ModelConfig(slices=4, image_px=16, classes=2)
    # Resampled to its own size a plane of zeros stays one: both logits are 0.
    assert not predict(sign(target), volume, model, FP32, batch=2).any()


@pytest.mark.parametrize("target", ["center", "all"])
def test_the_batch_size_changes_nothing(target):
    volume, model = image(11, 9, 6), ModelConfig(slices=4, image_px=20, classes=2)
    answers = [predict(sign(target), volume, model, FP32, batch) for batch in (1, 3, 16)]
    assert np.array_equal(answers[0], answers[1]) and np.array_equal(answers[0], answers[2])


@pytest.mark.parametrize(("slices", "n_slices", "in_channels"), [(1, 4, 1), (3, 5, 2), (5, 3, 1)])
def test_batched_inference_is_one_window_at_a_time(slices, n_slices, in_channels):
    model = ModelConfig(
        slices=slices, image_px=32, decoder_channels=8, classes=4, in_channels=in_channels, weights=None
    )
    segmenter, _ = build(model, seed=2)
    segmenter.eval()
    volume = image(n_slices, 24, 19, in_channels)
    # A fresh network may prefer one class everywhere: put the classes level.
    segmenter.parts["decoder"].classify[-1].bias.data -= naive(segmenter, volume, model).mean((0, 2, 3))
    votes = naive(segmenter, volume, model)
    classes = torch.from_numpy(predict(segmenter, volume, model, FP32, batch=3)).long()
    assert len(classes.unique()) > 1, "the example decides between classes"
    # Sums in batches round differently: a class may change where two are equal within that rounding.
    chosen = votes.gather(1, classes[:, None])[:, 0]
    assert (votes.amax(1) - chosen).max() <= 1e-4 * votes.abs().max()
    assert (classes == votes.argmax(1)).float().mean() > 0.999


def all_votes(segmenter, volume, model, batch):
    """Class numbers from votes (D, K, H, W) of the whole volume at once."""
    centers = window_centers(segmenter.target, model.slices, volume.shape[1])
    votes = torch.zeros(volume.shape[1], model.classes, *volume.shape[2:])
    with torch.no_grad():
        for first in range(0, len(centers), batch):
            chosen = centers[first : first + batch]
            windows = torch.stack(
                [resample(cut(volume, c, model.slices), RESIZE_ONLY, model.image_px) for c in chosen]
            )
            logits = segmenter(windows)
            if segmenter.target == "all":
                logits = logits.transpose(1, 2).flatten(0, 1)
                chosen = [d for c in chosen for d in window_indices(c, model.slices, volume.shape[1])]
            native = interpolate(logits, size=volume.shape[2:], mode="bilinear", antialias=True)
            for d, found in zip(chosen, native, strict=True):
                votes[d] += found
    return votes.argmax(1).numpy()


class Level(nn.Module):
    """Puts the classes level in every window: a fresh network may prefer one class everywhere."""

    def forward(self, logits):
        return logits - logits.mean((-2, -1), keepdim=True)


NETWORKS = {
    "center": ModelConfig(slices=3, image_px=32, decoder_channels=8, classes=4, weights=None),
    "all": ModelConfig(slices=4, image_px=32, decoder_channels=8, classes=4, weights=None, target="all"),
    "unet3d": ModelConfig(network="unet3d", slices=16, image_px=32, classes=3, weights=None),
}


@pytest.mark.parametrize("n_slices", [1, 5, 23])
@pytest.mark.parametrize("name", NETWORKS)
def test_predictions_are_those_of_votes_held_for_the_whole_volume(name, n_slices):
    model = NETWORKS[name]
    segmenter = build(model, seed=3)[0].eval()
    segmenter.parts["level"] = Level()
    volume = image(n_slices, 21, 34)
    classes = predict(segmenter, volume, model, FP32, batch=3)
    assert np.array_equal(classes, all_votes(segmenter, volume, model, batch=3))
    assert len(np.unique(classes)) > 1, "the example decides between classes"


class Held(TorchDispatchMode):
    """Sizes in bytes: of the largest tensor that is made, and of all that are held at one time."""

    def __init__(self, volume):
        super().__init__()
        self.alive, self.given = [], volume.untyped_storage().data_ptr()
        self.largest = self.together = 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        made = function(*arguments, **(options or {}))
        self.alive += [weakref.ref(leaf) for leaf in tree_leaves(made) if isinstance(leaf, torch.Tensor)]
        self.alive = [ref for ref in self.alive if ref() is not None]
        stores = [ref().untyped_storage() for ref in self.alive]
        sizes = {store.data_ptr(): store.nbytes() for store in stores if store.data_ptr() != self.given}
        self.largest = max(self.largest, *sizes.values(), 0)
        self.together = max(self.together, sum(sizes.values()))
        return made


@pytest.mark.parametrize("target", ["center", "all"])
def test_memory_does_not_grow_with_the_slices(target):
    model, found = ModelConfig(slices=4, image_px=16, classes=2), []
    for n_slices in (24, 96):
        volume = image(n_slices, 40, 40)
        with Held(volume) as held:
            predict(sign(target), volume, model, FP32, batch=3)
        found.append((held.largest, held.together))
    assert found[0] == found[1]
    # Votes of the whole volume would be all of this in one tensor.
    assert found[1][1] < 96 * model.classes * 40 * 40 * 4


def test_the_default_precision_of_this_machine_runs():
    model = ModelConfig(slices=3, image_px=32, decoder_channels=8, classes=3, weights=None)
    segmenter, _ = build(model, seed=2)
    segmenter.eval()
    volume = image(4, 32, 32)
    low, full = predict(segmenter, volume, model), predict(segmenter, volume, model, FP32)
    assert low.shape == full.shape and (low == full).mean() > 0.9
