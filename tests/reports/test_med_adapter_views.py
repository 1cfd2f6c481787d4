"""Pages on Med-Adapter: the printed counts, how far a branch reaches, figures with no and some records."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from torch import nn

from medseg.adapters.depthwise import CubeConv
from medseg.adapters.med_adapter import MedAdapter, SeparableBranch
from medseg.adapters.temporal_spectrum import TemporalSpectrum
from medseg.data.catalog import DATASETS
from medseg.encoders.registry import make
from medseg.records import store
from medseg.reports import med_adapter_views as views
from medseg.reports import tables
from medseg.studies import study as studies
from medseg.studies.fitted import fitted_to

BUDGET = "colab"
SHAPE = (11, 12, 12, 4)


@pytest.fixture(scope="module")
def asked():
    return studies.load("medtuning_methods", studies.ROOT)


def record_of(study, cell, gain):
    """A record of a cell with a Dice of 50 percent and `gain` in four cases."""
    pattern = store.read_study(studies.ROOT / "results", "transseg_main")[0]
    config = fitted_to(study.config(study.choose([cell])[0], study.seeds[0], BUDGET), DATASETS[study.dataset])
    identity = pattern.identity.model_copy(update={"study": study.name, "cell": cell, "seed": study.seeds[0]})
    hits = 5000 + 100 * gain
    row = (1, hits / 10_000, None, None, None, None, hits, 10_000 - hits, 10_000 - hits)
    scores = {part: tuple((f"{part}{n}", *row) for n in range(2)) for part in ("validation", "test")}
    return pattern.model_copy(update={"config": config, "identity": identity, "per_case": scores})


def test_every_printed_count_of_tables_3_to_6(asked):
    table = views.size_table(asked)
    assert len(table) == 4 + 3 + 4 + 4
    assert ((table["inserted"] - table["inserted, paper"]).abs() < 0.0006).all()
    assert ((table["tuned"] - table["tuned, paper"]).abs() < 0.0006).all()
    assert table.loc[(4, "FFT"), "alpha"] == 4 and table.loc[(4, "DWConv9"), "alpha"] == 6


@pytest.mark.parametrize(("branch", "edge"), [(SeparableBranch(4, 3), 3), (CubeConv(4, 5), 5)])
def test_a_convolution_reaches_its_kernel(branch, edge):
    moved = views.impulse_response(branch.double().eval(), SHAPE) > 0
    assert [int(moved.any(axes).sum()) for axes in ((1, 2), (0, 2), (0, 1))] == [edge] * 3


def test_the_spectrum_reaches_one_column_once_it_is_uneven():
    branch = TemporalSpectrum(SHAPE[0]).double()
    fresh = views.impulse_response(branch, SHAPE)
    assert np.argwhere(fresh > 1e-9).tolist() == [[5, 6, 6]]
    nn.init.normal_(branch.weight)
    uneven = views.impulse_response(branch, SHAPE) > 1e-9
    assert uneven[:, 6, 6].all() and uneven.sum() == SHAPE[0]


@pytest.mark.parametrize(("options", "step"), [({"conv5": False}, 2), ({"conv3": False}, 4)])
def test_adapters_in_a_row_hear_further(options, step):
    sites = make("vit_tiny_patch16_224", 1, 21, 32, (2, 5), "slices").sites()
    adapter = MedAdapter(sites, global_branch="none", fusion="none", **options).double().eval()
    tokens = torch.randn(1, 21, 2, 2, 192, dtype=torch.float64)
    for blocks in (1, 2, 4):
        assert views.slices_seen(tokens, adapter, blocks) == 1 + step * blocks


def test_the_impulse_figure_has_a_panel_a_response():
    figure = views.impulse_figure({"a": np.zeros((3, 4, 4)), "b": np.ones((3, 2, 2))})
    assert [axis.get_title() for axis in figure.axes] == ["a", "b"]
    plt.close(figure)


def test_without_records_every_row_says_so(asked):
    figure = views.differences_figure({"A": (asked, []), "B": (asked, [])}, BUDGET)
    words = [[text.get_text() for text in axis.texts] for axis in figure.axes]
    assert words == [[tables.NOT_RUN] * 2 * rows for rows in (3, 3, 3, 3, 1)]
    plt.close(figure)


def test_what_was_run_stands_at_its_difference(asked):
    records = [record_of(asked, cell, gain) for cell, gain in {"intra": 1, "conv3": 3}.items()]
    figure = views.differences_figure({"A": (asked, records)}, BUDGET)
    first = figure.axes[0]
    assert len(first.texts) == 2
    drawn = [line.get_xydata().tolist() for line in first.lines if line.get_color() == views.COLOURS[0]]
    assert pytest.approx(drawn[0][0]) == [2.0, 0.0]
    plt.close(figure)


def test_table_4_is_compared_at_the_reduction_of_its_cubes(asked):
    part, chosen = views.ablation_parts(asked)["Table 4"]
    options = {c.cell: c.changes["model"]["tuning"].get("options", {}) for c in part.cells}
    assert {options[cell].get("reduction", 6) for cell in (chosen, "dwconv9", "dwconv11")} == {6}
