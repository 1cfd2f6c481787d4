"""The learning-curve figure: every step, the Dice where it was measured, written whole or not at all."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from medseg.errors import InputError
from medseg.reports.curves import learning_curves, save_figure
from medseg.training.curve import Curve, write_curve


@pytest.fixture
def folder(tmp_path):
    def make(name, steps, validations=()):
        losses = [1 / (n + 1) for n in range(steps)]
        write_curve(Curve(losses, [1e-4] * steps, list(validations)), tmp_path / name)
        return tmp_path / name

    yield make
    plt.close("all")


def drawn(panel):
    return [tuple(map(np.asarray, line.get_data())) for line in panel.lines]


def test_every_step_and_its_mean(folder):
    figure = learning_curves([folder("a", 200)])
    (panel,) = figure.axes
    (steps, losses), (ends, means) = drawn(panel)
    assert steps.tolist() == list(range(1, 201)) and losses == pytest.approx(1 / np.arange(1, 201))
    # 2 % of 200 steps: means over four, at the last step of each.
    assert ends.tolist() == list(range(4, 201))
    assert means == pytest.approx([losses[end - 4 : end].mean() for end in ends])


@pytest.mark.parametrize("steps", [1, 2, 30])
def test_short_runs(folder, steps):
    (panel,) = learning_curves([folder("a", steps)]).axes
    assert len(drawn(panel)[0][0]) == steps


def test_dice_where_it_was_measured(folder):
    runs = [folder("a", 9, [(3, 0.25), (9, 0.5)]), folder("b", 9)]
    loss, dice = learning_curves(runs).axes
    (steps, values) = drawn(dice)[0]
    assert steps.tolist() == [3, 9] and values.tolist() == [0.25, 0.5] and len(dice.lines) == 1
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["a", "b"]


def test_runs_of_one_name_are_both_there(folder):
    runs = [folder("x/run", 5), folder("y/run", 9)]
    (panel,) = learning_curves(runs).axes
    assert sorted(len(steps) for steps, _ in drawn(panel)) == [5, 5, 9, 9]


def test_no_curve(tmp_path):
    with pytest.raises(InputError, match="holds no learning curve"):
        learning_curves([tmp_path])


@pytest.mark.parametrize("ending", [".png", ".svg", ".pdf"])
def test_pictures(folder, tmp_path, ending):
    path = tmp_path / f"curve{ending}"
    save_figure(learning_curves([folder("a", 4)]), path)
    assert path.stat().st_size > 1000 and [p.name for p in tmp_path.iterdir() if p.is_file()] == [path.name]


@pytest.mark.parametrize("name", ["curve.txt", "curve"])
def test_other_endings_are_refused(folder, tmp_path, name):
    with pytest.raises(InputError, match="cannot be written"):
        save_figure(learning_curves([folder("a", 4)]), tmp_path / name)
    assert not (tmp_path / name).exists()
