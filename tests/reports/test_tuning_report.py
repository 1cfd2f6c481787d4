"""Tuning: what is counted and timed, the laws of a Pareto front, and pages without records."""

import matplotlib.pyplot as plt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from study_records import as_result

from medseg.records import store
from medseg.reports import tuning
from medseg.reports.papers import paper_table
from medseg.reports.tables import NOT_RUN
from medseg.studies.study import ROOT, load

BUDGET = "colab"
PARAMETERS, STEPS = 6_000_000, 10


@pytest.fixture(scope="module")
def asked():
    return load("medtuning_methods", ROOT)


@pytest.fixture(scope="module")
def printed():
    return paper_table("medtuning_t1_vit_upernet_brats", ROOT)


@pytest.fixture
def run(asked):
    """A record of a cell with the scores of a finished run, and sizes, seconds and bytes as given."""
    pattern = store.read_study(ROOT / "results", "transseg_main")[0]

    def made(cell, seed, parameters, trainable, train_s, dice_plus=0.0, tuned_bytes=None):
        record = as_result(pattern, asked, cell, seed, dice_plus)
        sizes = {"parameters": parameters, "trainable": trainable, "tuned_bytes": tuned_bytes}
        changes = {
            "model": record.model.model_copy(update=sizes),
            "cost": record.cost.model_copy(update={"train_s": train_s, "peak_bytes": int(1e9 * train_s)}),
            "protocol": record.protocol.model_copy(update={"steps": STEPS}),
        }
        return record.model_copy(update=changes)

    return made


@pytest.fixture
def records(run):
    inserted = PARAMETERS + 200_000
    return [
        run("full", 1234, PARAMETERS, PARAMETERS, 2.0),
        run("med_adapter", 1234, inserted, 950_000, 1.0, 0.02, 3_900_000),
        run("med_adapter", 5678, inserted, 950_000, 3.0, 0.02, 3_900_000),
        run("with_unet", 1234, PARAMETERS, 400_000, 1.0),
    ]


def test_a_row_is_counted_beside_the_network_that_trains_whole(asked, records):
    table = tuning.tuning_table(asked.part("1"), records, BUDGET)
    assert list(table.columns) == tuning.COLUMNS
    assert list(table.loc["everything", tuning.COSTS]) == ["6.000", "0.000", "100.00", "0.200", "2.00", ""]
    row = table.loc["Med-Adapter"]
    assert list(row[tuning.COSTS]) == ["0.950", "0.200", "15.32", "0.200", "3.00", "3.90"]
    assert row["seeds"] == "2 of 3" and row["paper Dice"] == "78.82"


def test_the_whole_network_may_stand_in_another_table(asked, records):
    (row,) = tuning.tuning_table(asked.part("6"), records, BUDGET).query("`seeds` == '2 of 3'").values
    assert "0.200" in row
    unet = tuning.tuning_table(asked.part("8"), records, BUDGET).loc["U-Net"]
    assert unet["inserted M"] == ""  # nothing trains whole with this decoder


@pytest.mark.parametrize("table", ["1", "more", "rate"])
def test_without_records_a_table_says_so(asked, table):
    part = asked.part(table)
    found = tuning.tuning_table(part, [], BUDGET)
    assert list(found.index) == [cell.title for cell in part.cells]
    assert (found["Dice per case"] == NOT_RUN).all()
    assert (found[tuning.COSTS] == "").all(axis=None)


def test_a_column_beside_a_printed_table(asked, records, monkeypatch, tmp_path):
    part = asked.part("1")
    monkeypatch.setenv("MEDSEG_DATA", str(tmp_path))
    column = tuning.beside_print(part, records, BUDGET)
    dice = tuning.tuning_table(part, records, BUDGET)["Dice per case"]
    measured = [place for place, cell in enumerate(part.cells) if cell.cell in ("full", "med_adapter")]
    assert [column[place] for place in measured] == [dice.iloc[place] for place in measured]
    assert column[0] == "data not at hand: Task04_Hippocampus"
    (tmp_path / "Task04_Hippocampus").mkdir()
    assert tuning.beside_print(part, records, BUDGET)[0] == NOT_RUN
    monkeypatch.delenv("MEDSEG_DATA")
    assert tuning.beside_print(part, records, BUDGET)[0] == tuning.NO_DATA


@pytest.mark.parametrize("name, means", [("medtuning_brats19", "b19"), ("medtuning_brats20", "b20")])
def test_printed_rows_are_the_cells_of_the_study_in_order(name, means, printed):
    study = load(name, ROOT)
    cells = study.cells
    assert [cell.cell for cell in cells] == [tuning.PRINTED[row] for row in printed.index]
    mean = printed[[f"{means}_dice_{region}" for region in ("ET", "WT", "TC")]].mean(axis=1)
    assert [cell.paper_dice for cell in cells] == pytest.approx(list(mean), abs=0.011)


def test_rows_of_the_second_table_are_the_cells_of_both_networks():
    cells, rows = load("medtuning_kits19", ROOT).cells, paper_table("medtuning_t2_kits19", ROOT)
    own = [f"{network}_{cell}" for network in ("swin", "vit") for cell in tuning.PRINTED.values()]
    assert [cell.cell for cell in cells] == own
    assert [cell.paper_dice for cell in cells] == list(rows.dice_composite)


level = st.integers(1, 9).map(float)
points = st.lists(st.tuples(level, level), min_size=1, max_size=12)


@given(points)
def test_a_front_beats_all_others_and_none_of_its_own(drawn):
    parameters, dice = (list(side) for side in zip(*drawn, strict=True))
    front = tuning.pareto_front(parameters, dice)

    def beats(a, b):
        no_worse = parameters[a] <= parameters[b] and dice[a] >= dice[b]
        return no_worse and drawn[a] != drawn[b]

    assert not any(beats(a, b) for a in range(len(drawn)) for b in front)
    for place in set(range(len(drawn))) - set(front):
        assert any(beats(a, place) or drawn[a] == drawn[place] for a in front)
    assert [parameters[i] for i in front] == sorted({parameters[i] for i in front})


def test_the_figure_has_a_panel_a_data_set_and_the_printed_points(asked, records, printed):
    part = asked.part("1")
    figure = tuning.pareto_figure({"A": (part, records), "B": (part, [])}, printed, BUDGET)
    ours, none, paper = figure.axes
    assert [text.get_text() for text in none.texts] == [NOT_RUN] and not none.lines
    assert len(ours.containers) == 2 and len(paper.containers) == len(printed)
    # Med-Adapter alone is on our front: it has fewer parameters than all, and a higher Dice.
    assert ours.lines[0].get_xdata().tolist() == [0.95]
    front = paper.lines[0].get_xdata().tolist()
    assert front == [15.007, 15.015, 15.1, 17.853]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [c.title for c in part.cells]
    figure.canvas.draw()
    plt.close(figure)
