"""To the canonical grid and back is the identity, in all 48 storage orders."""

from itertools import permutations, product

import numpy as np
import pytest
from spaces import oblique_affine

from medseg.data.native import from_affine

CODES = ["".join(letters) for axes in permutations(["RL", "AP", "SI"]) for letters in product(*axes)]
SHAPE = (4, 5, 6)


@pytest.mark.parametrize("code", CODES)
def test_there_and_back_is_the_identity(code):
    space = from_affine(oblique_affine(code, shape=SHAPE), SHAPE)
    stored = np.arange(np.prod(SHAPE)).reshape(SHAPE)
    canonical = space.to_canonical(stored)
    assert space.orientation == code
    np.testing.assert_array_equal(space.to_native(canonical[0]), stored)
    assert (np.diag(space.canonical_affine)[:3] > 0).all()
    assert np.linalg.det(space.canonical_affine) > 0  # right-handed, whatever the file's order was


@pytest.mark.parametrize("code", ["RAS", "PIR", "SAL"])
def test_channels_travel_along(code):
    space = from_affine(oblique_affine(code, shape=SHAPE), SHAPE)
    stored = np.random.default_rng(0).normal(size=(*SHAPE, 3))
    canonical = space.to_canonical(stored)
    for channel in range(3):
        np.testing.assert_array_equal(space.to_native(canonical[channel]), stored[..., channel])
