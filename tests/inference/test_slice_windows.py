"""Whole volumes from windows: every slice is predicted, and batches change nothing."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import interpolate

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


def test_the_default_precision_of_this_machine_runs():
    model = ModelConfig(slices=3, image_px=32, decoder_channels=8, classes=3, weights=None)
    segmenter, _ = build(model, seed=2)
    segmenter.eval()
    volume = image(4, 32, 32)
    low, full = predict(segmenter, volume, model), predict(segmenter, volume, model, FP32)
    assert low.shape == full.shape and (low == full).mean() > 0.9
