"""The validation Dice: cases scored whole, each case one vote, whatever order they come in."""

import medseg.compat  # noqa: F401  isort: skip
import numpy as np
import pytest
import torch
from lightning.fabric import Fabric
from training_runs import OneOf

from medseg.data.cache import CachedCase
from medseg.inference.slice_windows import predict
from medseg.metrics.overlap import case_overlap
from medseg.segmenter import build
from medseg.training import validation
from medseg.training.engine import Engine
from medseg.training.precision import PLANS
from medseg.training.validation import validate

FP32 = PLANS["fp32"]


@pytest.fixture
def segmenter(tiny_config):
    return build(tiny_config().model, seed=4)[0]


def dice(segmenter, cases, model, fabric=None):
    fabric = fabric or Fabric(accelerator="cpu", devices=1)
    return validate(segmenter, cases, model, FP32, fabric, Engine())


def by_hand(segmenter, case, model):
    """Mean over labels of 2 tp / (2 tp + fp + fn), of those labels that are there."""
    segmenter.eval()
    predicted, reference = predict(segmenter, case.image, model, FP32), case.labels[0].numpy()
    segmenter.train()
    found = []
    for label in range(1, model.classes):
        ours, theirs = predicted == label, reference == label
        if ours.any() or theirs.any():
            found.append(2 * (ours & theirs).sum() / (ours.sum() + theirs.sum()))
    return np.mean(found)


def test_mean_over_cases_of_the_mean_over_labels(segmenter, loaded_phantoms, tiny_config):
    model = tiny_config().model
    expected = [by_hand(segmenter, case, model) for case in loaded_phantoms]
    assert dice(segmenter, loaded_phantoms, model) == pytest.approx(np.mean(expected), abs=1e-12)
    assert dice(segmenter, loaded_phantoms[:1], model) == pytest.approx(expected[0], abs=1e-12)
    assert 0 < np.mean(expected) < 1
    assert segmenter.training


def test_a_case_without_any_label_has_no_vote(segmenter, loaded_phantoms, tiny_config, monkeypatch):
    model = tiny_config().model
    labels = torch.zeros(1, 3, 20, 20, dtype=torch.int16)
    nothing = CachedCase("nothing", torch.zeros(1, 3, 20, 20), labels)

    def ones_in_long_volumes(_, image, *rest):
        return np.full(image.shape[1:], image.shape[1] > 3, np.uint8)

    monkeypatch.setattr(validation, "predict", ones_in_long_volumes)
    one = dice(segmenter, loaded_phantoms[:1], model)
    assert one > 0 and dice(segmenter, [nothing, loaded_phantoms[0]], model) == one
    assert dice(segmenter, [nothing], model) == 0 == dice(segmenter, [], model)


def test_shares_come_together_in_the_order_of_the_split(segmenter, loaded_phantoms, tiny_config, monkeypatch):
    model, cases = tiny_config().model, [loaded_phantoms[0], loaded_phantoms[1], loaded_phantoms[0]]
    cases = [CachedCase(f"case {n}", case.image, case.labels) for n, case in enumerate(cases)]
    alone, rows = dice(segmenter, cases, model), []

    def keep(fabric, mine):
        rows.extend(mine)
        return [(case.id, 0.5) for case in cases]

    monkeypatch.setattr(validation, "gathered", keep)
    for rank in (0, 1):
        assert dice(segmenter, cases, model, OneOf(rank, 2)) == 0.5
    assert [name for name, _ in rows] == ["case 0", "case 2", "case 1"]
    monkeypatch.setattr(validation, "gathered", lambda fabric, mine: rows)
    assert dice(segmenter, cases, model, OneOf(0, 2)) == alone


def test_counts_are_those_of_the_metrics(segmenter, loaded_phantoms, tiny_config):
    model, case = tiny_config().model, loaded_phantoms[0]
    segmenter.eval()
    predicted = predict(segmenter, case.image, model, FP32)
    labels = case.labels[0].numpy()
    rows = case_overlap(predicted.astype(labels.dtype), labels, range(model.classes))
    assert [row.label for row in rows] == [1, 2, 3], "the background has no row"
