"""What a page says of sources is what cards, the printed table and the networks say."""

import matplotlib.pyplot as plt
import pytest
import torch

from medseg.encoders.relative_bias import resized_table
from medseg.encoders.sources import TABLE_2B, WEIGHTS
from medseg.errors import InputError
from medseg.reports import sources
from medseg.studies.study import ROOT, load

DONE = "done"


@pytest.fixture(scope="module")
def part():
    return sources.by_source(load("transseg_ablations", ROOT).part("2b"))


def test_cards_say_which_digest_is_known_and_which_pixels_were_seen():
    table = sources.cards_table()
    assert list(table.index) == list(WEIGHTS)
    stated = table.sha256 != "not stated"
    assert set(table.index[stated]) == {name for name, card in WEIGHTS.items() if card.sha256}
    # timm's cards: mean and standard deviation 0.5 for AugReg, those of ImageNet for DeiT.
    assert table.pixels["vit_tiny_augreg"] == "-1.00 to 1.00"
    low = -(0.485 / 0.229 + 0.456 / 0.224 + 0.406 / 0.225) / 3
    assert table.pixels["deit_tiny"].startswith(f"{low:.2f} to ")
    assert set(table.index[table.pixels == ""]) == {n for n, card in WEIGHTS.items() if not card.timm_name}


def test_printed_rows_are_those_of_the_cards():
    printed = sources.printed_rows(ROOT)
    assert set(printed.index) == set(TABLE_2B)
    for row, source in TABLE_2B.items():
        assert printed.objective[row] == (source.objective or "-")
        assert printed.encoder[row] == source.encoder
    # TransSeg, Table 2(b).
    assert printed["paper Dice"]["BEiT"] == 87.13 and printed["over random"]["BEiT"] == 12.43
    assert printed["over random"]["BEiT-Random"] == 0


def test_the_papers_numbers_of_the_study_are_the_printed_ones(part):
    printed = sources.printed_rows(ROOT).set_index("weights here")["paper Dice"]
    shown = {cell.title: cell.paper_dice for cell in part.cells if cell.paper_dice is not None}
    assert len(shown) == 5 and shown == {name: printed[name] for name in shown}


def test_cells_are_named_by_their_weights(part):
    titles = {cell.cell: cell.title for cell in part.cells}
    assert titles["scratch"] == sources.RANDOM and titles["center"] == "vit_tiny_augreg"
    assert set(titles.values()) - {sources.RANDOM} <= set(WEIGHTS)


def test_only_three_starts_share_a_network(part):
    few = part.model_copy(update={"cells": tuple(part.cells[:4])})
    table = sources.network_table(few, "colab")
    same = table["same network as the random start"] == "yes"
    assert set(table.index[same]) == {sources.RANDOM, "deit_tiny", "vit_tiny_augreg"}
    assert table["encoder, M parameters"].nunique() == table["encoder, GFLOPs a window"].nunique() == 2


def test_without_a_random_start_there_is_nothing_to_compare(part):
    some = part.model_copy(update={"cells": tuple(part.cells[1:3])})
    with pytest.raises(InputError, match="nothing to compare"):
        sources.network_table(some, "colab")


@pytest.mark.parametrize("folder", [True, False])
def test_what_is_not_run_says_why(part, folder, tmp_path, monkeypatch):
    monkeypatch.delenv("MEDSEG_WEIGHTS", raising=False)
    monkeypatch.delenv("MEDSEG_DATA", raising=False)
    if folder:
        monkeypatch.setenv("MEDSEG_WEIGHTS", str(tmp_path))
    table = sources.waiting_table(part, [], "colab")
    assert list(table.index) == [cell.title for cell in part.cells]
    assert table.why[sources.RANDOM] == "not run" and set(table.seeds) == {"0 of 3"}
    assert WEIGHTS["beit_base"].file in table.why["beit_base"]
    assert (WEIGHTS["deit_tiny"].file in table.why["deit_tiny"]) == folder


def test_nothing_waits_where_all_is_done(part, monkeypatch):
    done = [state.model_copy(update={"status": DONE}) for state in sources.states(part, [], "colab")]
    monkeypatch.setattr(sources, "states", lambda *asked: done)
    table = sources.waiting_table(part, [], "colab")
    assert table.empty and list(table.columns) == ["seeds", "why"]


def bias_table(window):
    generator = torch.Generator().manual_seed(0)
    return torch.randn((2 * window - 1) ** 2 + 3, 2, generator=generator)


def test_spread_evenly_the_corners_and_the_class_rows_stay():
    old = bias_table(4)
    new = sources.stretched_table(old, len(bias_table(6)))
    assert new.shape == (11**2 + 3, 2)
    for place in (0, 10, 110, 120, 60):
        row, column = divmod(place, 11)
        before = old[(row * 6 // 10) * 7 + column * 6 // 10]
        torch.testing.assert_close(new[place], before)
    assert torch.equal(new[-3:], old[-3:])
    torch.testing.assert_close(sources.stretched_table(old, len(old)), old)


def test_the_figure_shows_three_tables_and_a_cut():
    old = bias_table(4)
    figure = sources.bias_figure(old, len(bias_table(6)))
    cut = figure.axes[-1].lines
    assert [len(line.get_xdata()) for line in cut] == [7, 11, 11]
    new = resized_table(old, len(bias_table(6)))[:-3, 0].view(11, 11)
    assert cut[1].get_ydata() == pytest.approx(new[5].numpy())
    plt.close(figure)
    with pytest.raises(InputError, match="does not fit the window"):
        sources.bias_figure(old, 100)
