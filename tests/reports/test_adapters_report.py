"""What the page on adapters says about them follows from their modules."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from medseg.config import ModelConfig, TuningConfig
from medseg.reports import adapters
from medseg.segmenter import build, count_parameters
from medseg.tuning import METHODS, base_digest

SLICES, SEED = 4, 1
MODEL = ModelConfig(
    encoder="test_vit", taps=(1, 2, 3, 5), slices=SLICES, image_px=32, decoder_channels=8, weights=None
)
MODEL = MODEL.model_copy(update={"mixing": "slices", "target": "all", "decoder": "med_upernet"})
BLOCKS = range(6)
AHEAD, QKV, MLP, BEHIND = adapters.PLACES
# By the docstrings of the methods.
WHERE = {
    "vpt_shallow": {(n, place) for n in BLOCKS for place in (AHEAD, BEHIND)},
    "vpt_deep": {(n, place) for n in BLOCKS for place in (AHEAD, BEHIND)},
    "bottleneck": {(n, BEHIND) for n in BLOCKS},
    "adaptformer": {(n, MLP) for n in BLOCKS},
    "pro_tuning": {(n, BEHIND) for n in (1, 2, 3, 5)},
    "st_adapter": {(n, AHEAD) for n in BLOCKS},
    "lora": {(n, QKV) for n in BLOCKS},
    "v_petl": {(n, QKV) for n in BLOCKS},
    "med_adapter": {(n, BEHIND) for n in BLOCKS},
}


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def windows():
    return torch.randn(1, 1, SLICES, 32, 32, generator=torch.Generator().manual_seed(0))


def tuned(method, **options):
    return MODEL.model_copy(update={"tuning": TuningConfig(method=method, options=options)})


@pytest.fixture(scope="module")
def encoder():
    return build(tuned("head"), SEED)[0].encoder.eval()


@pytest.fixture(scope="module")
def facts(windows):
    models = {method: tuned(method) for method in ("full", "head", "norm", *METHODS)}
    models |= {"zero_init": tuned("med_adapter", zero_init=True)}
    return adapters.facts_table(models, windows, SEED)


@pytest.mark.parametrize("method", METHODS)
def test_where_a_method_acts(method, encoder, windows):
    adapter = METHODS[method](encoder.sites())
    before = encoder(windows)[-1]
    assert adapters.acting(adapters.stirred(adapter), encoder, windows) == WHERE[method]
    assert torch.equal(encoder(windows)[-1], before)
    assert not [module for module in encoder.modules() if module._forward_hooks or module._forward_pre_hooks]


def test_a_fresh_identity_acts_nowhere(encoder, windows):
    fresh = METHODS["lora"](encoder.sites())
    assert adapters.acting(fresh, encoder, windows) == set()


def test_the_figure_has_a_mark_for_every_place(encoder):
    figure = adapters.places_figure(WHERE, encoder.sites())
    axes = figure.axes[0]
    marks = [line for line in axes.lines if line.get_marker() != "None" and len(line.get_xdata())]
    assert len(marks) == sum(len(places) for places in WHERE.values())
    assert [tick.get_text() for tick in axes.get_yticklabels()] == list(WHERE)


def test_facts_are_those_of_the_networks(facts):
    whole = count_parameters(build(tuned("head"), SEED)[0].encoder)
    assert facts.inserted[["full", "head", "norm"]].tolist() == [0, 0, 0]
    assert facts["tuned in encoder"]["full"] == whole and facts["tuned in encoder"]["head"] == 0
    for method in METHODS:
        segmenter, _ = build(tuned(method), SEED)
        assert facts.inserted[method] == count_parameters(segmenter.adapter)
        decoder = count_parameters(segmenter.parts["decoder"])
        assert facts["tuned in encoder"][method] == count_parameters(segmenter, trainable_only=True) - decoder
        assert (facts["off at start"][method] == 0) == segmenter.adapter.identity_at_start
    assert facts["file MB"]["full"] > facts["file MB"]["med_adapter"] > facts["file MB"]["head"]
    assert facts["off at start"]["zero_init"] == 0


def test_who_hears_neighbours_and_who_merges(facts):
    start, later = facts["moved, start"], facts["moved, later"]
    assert later[later > 1].index.tolist() == ["st_adapter", "med_adapter", "zero_init"]
    # A kernel of zeros along the slices, or nothing that comes up again.
    assert start[start > 1].index.tolist() == ["med_adapter"]
    assert set(later) == {1, SLICES}
    assert facts.merges[facts.merges == "yes"].index.tolist() == ["lora"]
    assert facts.merges[["full", "head", "norm"]].tolist() == ["", "", ""]


def test_stirring_is_reproducible_and_leaves_the_base(windows):
    segmenter, _ = build(tuned("bottleneck"), SEED)
    digest, fresh = base_digest(segmenter), segmenter.adapter.updates[0].up.weight.clone()
    adapters.stirred(segmenter.adapter, seed=3)
    moved = segmenter.adapter.updates[0].up.weight.clone()
    assert base_digest(segmenter) == digest and not torch.equal(moved, fresh)
    again, _ = build(tuned("bottleneck"), SEED)
    assert torch.equal(adapters.stirred(again.adapter, seed=3).updates[0].up.weight, moved)


def test_spectrum_figure_filters_along_depth():
    image = np.random.default_rng(0).random((8, 6, 5), dtype=np.float32)
    frequency = torch.fft.fftfreq(8)
    weights = {"all": torch.ones(8), "mean": (frequency == 0).float()}
    axes = adapters.spectrum_figure(image, weights).axes
    pictures = [np.asarray(axis.images[0].get_array()) for axis in axes if axis.images]
    np.testing.assert_allclose(pictures[0], image[:, 3], atol=1e-6)
    np.testing.assert_allclose(pictures[1], np.broadcast_to(image[:, 3].mean(0), (8, 5)), atol=1e-6)
