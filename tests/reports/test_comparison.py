"""The figure of several models: which slices, what is where, and what is refused."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medseg.data.volume import read
from medseg.errors import InputError
from medseg.reports.comparison import comparison_figure, consecutive_slices, painted
from medseg.reports.scene import colour_of


@given(st.integers(1, 12), st.integers(1, 8), st.integers(0, 11))
def test_slices_are_consecutive_inside_and_hold_the_fullest(depth, count, fullest):
    labels = np.zeros((depth, 3, 3), np.uint8)
    labels[:, 0, 0] = 1
    labels[fullest % depth] = 2
    slices = consecutive_slices(labels, count)
    assert slices == list(range(slices[0], slices[0] + min(count, depth)))
    assert fullest % depth in slices and slices[0] >= 0 and slices[-1] < depth


def test_a_picture_is_grey_where_no_label_is_shown():
    image = np.linspace(-5, 5, 12).reshape(3, 4).astype(np.float32)
    labels = np.zeros((3, 4), np.uint8)
    grey = painted(image, labels, [1, 2])
    assert grey.shape == (3, 4, 3) and np.ptp(grey, axis=-1).max() == 0
    assert grey.min() >= 0 and grey.max() <= 1
    labels[1, 2], labels[0, 0] = 2, 7
    mixed = painted(image, labels, [1, 2])
    assert (mixed != grey).any(-1).sum() == 1
    assert mixed[1, 2].argmax() == np.argmax(colour_of(1))


def test_rows_and_columns(phantom_data):
    case = phantom_data.cases[phantom_data.split.test[0]]
    volume, names = read(case.image, case.labels), phantom_data.card.labels
    other = np.where(volume.labels == 1, 2, volume.labels)
    figure = comparison_figure(volume, {"A": volume.labels, "B": other}, names)
    plt.close(figure)
    lines = np.array(figure.axes).reshape(4, 5)
    assert [line[0].get_ylabel() for line in lines] == ["image", "reference", "A", "B"]
    (numbers,) = {tuple(int(axis.get_title().split()[1]) for axis in lines[0])}
    assert list(numbers) == consecutive_slices(volume.labels, 5)
    pictures = [[axis.images[0] for axis in line] for line in lines]
    assert all(picture.origin == "lower" for line in pictures for picture in line), "anterior is up"
    reference, same, moved = ([np.asarray(p.get_array()) for p in line] for line in pictures[1:])
    assert all(np.array_equal(a, b) for a, b in zip(reference, same, strict=True))
    assert any((a != b).any() for a, b in zip(reference, moved, strict=True))
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == [name for value, name in names.items() if value]


def test_what_does_not_fit_is_refused(phantom_data):
    case = phantom_data.cases[phantom_data.split.test[0]]
    with pytest.raises(InputError, match="no reference"):
        comparison_figure(read(case.image), {}, {1: "a"})
    volume = read(case.image, case.labels)
    with pytest.raises(InputError, match="of A does not lie"):
        comparison_figure(volume, {"A": volume.labels[1:]}, {1: "a"})
