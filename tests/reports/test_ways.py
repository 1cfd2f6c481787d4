"""What the page on the ways from 2D to 3D says about them follows from the networks."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import torch

from medseg.encoders.timm_encoder import TimmEncoder
from medseg.encoders.volume_tokens import VolumeTokens
from medseg.inference.slice_windows import window_centers
from medseg.reports import ways
from medseg.segmenter import build, measure_size
from medseg.studies.study import ROOT, Cell, Study, load

ARCHITECTURE, PX, TAPS, WIDTH = "test_vit", 64, (1, 2, 3, 5), 64
ROW, COLUMN, SLICES = 1, 2, 3
CELLS = {
    "flat": {"slices": 1},
    "center": {},
    "average": {"inflation": "average"},
    "all": {"target": "all"},
    "cycle": {"mixing": "cycle"},
    "joint": {"mixing": "joint"},
}


@pytest.fixture(autouse=True)
def closed_figures():
    yield
    plt.close("all")


@pytest.fixture(scope="module")
def study():
    small = {"encoder": ARCHITECTURE, "taps": TAPS, "slices": SLICES, "image_px": PX, "decoder_channels": 8}
    cells = tuple(Cell(cell=n, title=n, changes={"model": small | more}) for n, more in CELLS.items())
    return Study(
        name="ways", title="", question="", dataset="Phantom", seeds=(1,), paper_table="", cells=cells
    )


def model_of(study, name):
    return study.config(study.choose([name])[0], 1, "smoke").model


@pytest.mark.parametrize(
    "mode, block, met",
    [
        ("joint", 0, np.s_[:]),
        ("joint", 4, np.s_[:]),
        ("cycle", 0, np.s_[SLICES // 2]),
        ("cycle", 1, np.s_[:, ROW]),
        ("cycle", 2, np.s_[:, :, COLUMN]),
        ("cycle", 3, np.s_[SLICES // 2]),
    ],
)
def test_who_meets(mode, block, met):
    encoder = VolumeTokens(ARCHITECTURE, 1, SLICES, PX, TAPS, mode)
    expected = np.zeros((SLICES, PX // 16, PX // 16), bool)
    expected[met] = True
    np.testing.assert_array_equal(ways.attended(encoder, block, ROW, COLUMN), expected)


@pytest.mark.parametrize("rule, slices", [("center", [1]), ("average", [0, 1, 2]), ("rgb", [0, 1, 2])])
def test_pixels_of_a_token(rule, slices):
    encoder = TimmEncoder(ARCHITECTURE, 1, SLICES, PX, TAPS)
    encoder.load("stand_in", rule)
    met = ways.embedded(encoder, ROW, COLUMN)
    assert np.argwhere(met).tolist() == [[d, ROW, COLUMN] for d in slices]


def test_sequences_give_the_flops_of_the_encoder(study):
    # Per block and token 24 C^2 in linear layers; per sequence of L tokens 4 L^2 C in attention.
    for name in ("center", "cycle", "joint"):
        model = model_of(study, name)
        given = ways.sequences(model)
        assert len(given) == 6
        flops = 2 * model.slices * PX**2 * WIDTH
        ratio = 8 + 4 * _mlp_ratio()
        flops += sum(n * (ratio * length * WIDTH**2 + 4 * length**2 * WIDTH) for n, length in given)
        assert flops == measure_size(model).flops_per_part["encoder"]


def _mlp_ratio():
    block = TimmEncoder(ARCHITECTURE, 1, 1, PX, TAPS).trunk.blocks[0]
    return block.mlp.fc1.out_features // WIDTH


def test_sequences_of_each_way(study):
    side, prefix = PX // 16, 1
    slice_tokens = side * side + prefix
    assert set(ways.sequences(model_of(study, "center"))) == {(1, slice_tokens)}
    assert set(ways.sequences(model_of(study, "joint"))) == {(1, SLICES * slice_tokens)}
    turning = [(SLICES, slice_tokens), (side, SLICES * side), (side, SLICES * side)]
    assert ways.sequences(model_of(study, "cycle")) == 2 * turning


def test_what_a_prediction_sees_at_the_start(study, loaded_phantoms):
    image = loaded_phantoms[0].image
    seen = {}
    for name in CELLS:
        model = model_of(study, name)
        network, _ = build(model, 1)
        seen[name] = ways.neighbour_response(network.eval(), model, image, 5)
        assert list(seen[name]) == [-2, -1, 0, 1, 2] and seen[name][0] > 0
        assert np.isnan(seen[name][2])
    assert np.isnan(seen["flat"][1])
    assert seen["center"][1] == seen["all"][1] == seen["center"][-1] == 0
    assert min(seen[name][offset] for name in ("average", "cycle", "joint") for offset in (-1, 1)) > 0


def test_cost_for_each_predicted_slice(study):
    table, n_slices = ways.cost_table(study, "smoke", "flat", 9), 9
    assert list(table.index) == list(CELLS) and table.loc["flat", "times"] == 1
    alike = table["GFLOP window"] == table["GFLOP a slice"]
    assert list(table.index[~alike]) == ["all"]
    shared = len(window_centers("all", SLICES, n_slices)) / n_slices
    assert table.loc["all", "windows a slice"] == pytest.approx(shared)
    assert table.loc["joint", "tokens"] == SLICES * table.loc["center", "tokens"]
    assert table.loc["cycle", "M parameters"] == table.loc["flat", "M parameters"]
    steps, batch = 12, 4  # of the profile smoke
    assert table.loc["flat", "TFLOP training"] == pytest.approx(
        3 * steps * batch * table.loc["flat", "GFLOP window"] / 1e3
    )


def test_figures(study):
    met = {"three": np.ones((3, 4, 4), bool), "one": np.zeros((1, 4, 4), bool)}
    drawn = ways.meeting_figure(met, ROW, COLUMN)
    assert [axis.axison for axis in drawn.axes] == [True] * 3 + [False, True, False]
    table = pd.DataFrame({0: [1.0, 0.5], 1: [0.0, float("nan")]}, index=["a", "b"])
    (axis,) = ways.response_figure({"start": table}).axes
    assert sorted(text.get_text() for text in axis.texts) == ["0", "1e+00", "5e-01"]
    empty = ways.readings_figure(study, [], "smoke")
    assert [text.get_text() for text in empty.axes[0].texts] == ["not run"]


def test_the_two_readings_of_one_curve(tiny_run, tiny_config, phantom_data):
    record = tiny_run.record
    changes = tiny_config().model_dump(exclude={"profile", "data"}, exclude_defaults=True)
    study = Study(
        name="own_data",
        title="",
        question="",
        dataset="Phantom",
        seeds=(record.identity.seed,),
        paper_table="",
        cells=(Cell(cell=record.identity.cell, title="tiny", changes=changes),),
    )
    by_step, by_flops = ways.readings_figure(study, [record], "smoke").axes
    steps, flops = (axis.lines[0].get_xdata() for axis in (by_step, by_flops))
    assert list(steps) == [step for step, _ in record.curve]
    assert flops[-1] == pytest.approx(3 * 4 * 2 * 2 * record.model.gmac / 1e3)
    torch.testing.assert_close(flops / flops[-1], steps / steps[-1])


def test_a_network_of_stages_has_a_cost_and_no_sequences():
    base = load("transseg_ablations", ROOT)
    changes = {"model": {"encoder": "swin_tiny_patch4_window7_224", "taps": [0, 1, 2, 3], "weights": None,
                         "image_px": 224}}  # fmt: skip
    cell = base.cells[0].model_copy(update={"changes": changes})
    study = base.model_copy(update={"cells": (cell,), "tables": ()})
    assert ways.sequences(study.config(cell, 1, "smoke").model) == []
    assert np.isnan(ways.cost_table(study, "smoke", cell.cell, 36)["tokens"].iloc[0])
