"""Size and slice variation: a straight tube does not change, a moving one does; the file is as measured."""

import csv
import runpy
from pathlib import Path

import numpy as np
import pytest

from medseg.metrics.structures import measure_structure, neighbour_dice

ROOT = Path(__file__).parents[2]
CSV = ROOT / "book" / "_data" / "structures.csv"


def tube(shift, depth=4):
    mask = np.zeros((depth, 8, 16), bool)
    for d in range(depth):
        mask[d, 2:6, 2 + d * shift : 6 + d * shift] = True
    return mask


def test_a_tube_that_moves_varies_more():
    assert neighbour_dice(tube(0)) == [1.0, 1.0, 1.0]
    assert neighbour_dice(tube(2)) == [0.5, 0.5, 0.5]
    assert neighbour_dice(tube(4)) == [0.0, 0.0, 0.0]


def test_order_and_axes_of_the_plane_do_not_matter():
    mask = np.random.default_rng(0).random((6, 5, 7)) > 0.5
    expected = sorted(neighbour_dice(mask))
    for turned in (mask[::-1], mask[:, ::-1], mask.transpose(0, 2, 1)):
        assert sorted(neighbour_dice(turned)) == expected


def test_maps_are_summed_and_absent_structures_counted():
    absent = np.zeros((3, 8, 16), bool)
    found = measure_structure([tube(0), absent, tube(2, depth=2)])
    assert (found.maps, found.voxels, found.slices) == (3, 6 * 16, 6)
    assert found.neighbour_dice == found.inner_dice == pytest.approx(3.5 / 4)
    assert measure_structure([absent]) == (1, 0, 0, None, None)
    assert measure_structure([]) == (0, 0, 0, None, None)


def test_ends_count_as_zero_or_not_at_all():
    closed = np.concatenate([tube(0)[:1] & False, tube(0), tube(0)[:1] & False])
    found = measure_structure([closed])
    assert (found.neighbour_dice, found.inner_dice) == (3 / 5, 1.0)
    assert neighbour_dice(closed[:2], ends=False) == []


@pytest.mark.real_data
def test_the_file_holds_what_the_script_measures():
    with CSV.open() as file:
        shown = [row for row in csv.reader(file) if row[0] == "Task04_Hippocampus"]
    found = runpy.run_path(str(ROOT / "scripts" / "structures.py"))["rows_of"]("Task04_Hippocampus")
    assert [list(map(str, row)) for row in found] == shown
