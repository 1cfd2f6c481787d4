"""Ablations: printed numbers as the paper has them, paired differences, windows and choices by their laws."""

import matplotlib.pyplot as plt
import pytest

from medseg.data.catalog import DATASETS
from medseg.errors import InputError
from medseg.records import store
from medseg.reports import ablations, tables
from medseg.reports.papers import paper_table
from medseg.studies import study as studies
from medseg.studies.fitted import fitted_to

BUDGET = "colab"
STUDIES = ("transseg_ablations", "transseg_ablations_acdc")
BLOCKS = {
    "4a": "a_prediction_target",
    "4b": "b_weight_init",
    "4c": "c_input_stride",
    "4d": "d_input_slices",
    "video": "text_videoswin_slices",
}
CASES = 8


@pytest.fixture(scope="module")
def asked():
    return studies.load(STUDIES[0], studies.ROOT)


@pytest.fixture(scope="module")
def pattern():
    """Any finished record, to be filled with scores."""
    return store.read_study(studies.ROOT / "results", "transseg_main")[0]


def row(part, case, points):
    hits = 5000 + 50 * points
    return (f"{part}{case}", 1, hits / 10_000, None, None, None, None, hits, 10_000 - hits, 10_000 - hits)


def filled(pattern, study, cell, seed, gain):
    """A record of a cell with a Dice of 50 percent, half a point more by number of case and `gain`."""
    config = fitted_to(study.config(study.choose([cell])[0], seed, BUDGET), DATASETS[study.dataset])
    identity = pattern.identity.model_copy(update={"study": study.name, "cell": cell, "seed": seed})
    scores = {p: tuple(row(p, case, case + gain) for case in range(CASES)) for p in ("validation", "test")}
    return pattern.model_copy(update={"config": config, "identity": identity, "per_case": scores})


@pytest.fixture
def records(pattern, asked):
    gains = {"center": 4, "stride_2": 2, "slices_21": 0}
    return [filled(pattern, asked, cell, asked.seeds[0], gain) for cell, gain in gains.items()]


@pytest.mark.parametrize("name", STUDIES)
@pytest.mark.parametrize("letter, block", BLOCKS.items())
def test_a_study_states_the_printed_numbers(name, letter, block):
    printed = paper_table("transseg_t4_ablations_14label_dsc", studies.ROOT).loc[block].dsc14
    cells = studies.load(name, studies.ROOT).part(letter).cells
    assert sorted(c.paper_dice for c in cells if c.paper_dice is not None) == sorted(printed)


def test_differences_are_paired_to_the_chosen_cell(asked, records):
    table = ablations.ablation_table(asked.part("4c"), records, BUDGET, "center")
    assert list(table.columns) == ablations.COLUMNS
    assert list(table["difference"]) == [ablations.REFERENCE, "-1.00", tables.NOT_RUN]
    assert list(table["95 % interval"]) == ["", "-1.00 to -1.00", ""]
    assert list(table["seeds"]) == ["1 of 3", "1 of 3", "0 of 3"]
    assert list(table["counted"]) == ["", f"{2 * CASES} cases", ""]


def test_without_records_a_table_holds_the_printed_numbers(asked):
    table = ablations.ablation_table(asked.part("4d"), [], BUDGET, "center")
    assert list(table["paper Dice"]) == ["83.34", "84.74", "83.83", "77.52"]
    assert (table["Dice per case"] == tables.NOT_RUN).all()


def test_a_cell_of_another_table_is_refused(asked):
    with pytest.raises(InputError, match="no cell"):
        ablations.ablation_table(asked.part("4a"), [], BUDGET, "center")


def test_the_sweeps_show_what_was_run(asked, records):
    figure = ablations.sweep_figure({"A": (asked, records), "B": (asked, [])}, BUDGET)
    slices, strides = figure.axes
    paper, ours, none = (slices.lines[i].get_xydata().tolist() for i in (0, 1, 4))
    assert [x for x, _ in paper] == [1, 5, 11, 21]
    assert ours == [[5, 0], [21, -2]] and none == []
    assert strides.lines[1].get_xydata().tolist() == [[1, 0], [2, -1]]
    assert [t.get_text() for t in slices.get_legend().get_texts()][-1] == "B: not run"
    plt.close(figure)


@pytest.mark.parametrize("n_slices, slices, stride, seen", [(36, 21, 1, 21), (10, 21, 1, 10), (10, 5, 3, 5)])
def test_the_share_that_a_window_sees(n_slices, slices, stride, seen):
    assert ablations.seen_share(n_slices, slices, stride) == seen / n_slices


def test_a_figure_of_windows_counts_every_slice_of_the_window():
    figure = ablations.windows_figure({"short": 4}, [(1, 1), (5, 1)])
    middle, first = ((2 ** axes.images[0].get_array() - 1).round().tolist() for axes in figure.axes)
    assert middle == [[0, 0, 1, 0], [1, 1, 1, 2]] and first == [[1, 0, 0, 0], [3, 1, 1, 0]]
    plt.close(figure)


def test_the_best_of_equal_networks_is_ahead_where_it_was_chosen_only(pattern, asked):
    # Two seeds two points apart, the same in every case: each case is a fair coin of one point up or down.
    runs = [
        filled(pattern, asked, "center", seed, gain) for seed, gain in zip(asked.seeds, (0, 4), strict=False)
    ]
    gain = ablations.best_of(runs, (1, 4, 50), cases=CASES)
    chosen, test = gain.to_numpy().T
    assert abs(chosen[0]) < 0.05 and 0.2 < chosen[1] < chosen[2] <= 1
    assert (abs(test) < 0.05).all()
    assert gain.equals(ablations.best_of(runs, (1, 4, 50), cases=CASES))


def test_equal_seeds_leave_nothing_to_choose(pattern, asked):
    runs = [filled(pattern, asked, "center", seed, 0) for seed in asked.seeds]
    assert (ablations.best_of(runs, (1, 9), cases=3) == 0).all(axis=None)


def test_one_seed_is_no_choice(records):
    assert (ablations.best_of(records[:1], (1, 4), cases=3) == tables.NOT_RUN).all(axis=None)


@pytest.mark.parametrize("tries, cases", [((), 3), ((0, 2), 3), ((2,), 0)])
def test_nothing_to_choose_from_is_refused(records, tries, cases):
    with pytest.raises(InputError, match="nothing to choose from"):
        ablations.best_of(records, tries, cases)
