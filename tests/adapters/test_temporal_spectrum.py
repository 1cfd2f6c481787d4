"""The FFT branch of Med-Adapter is the transform that the official code writes down, for any depth."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from medseg.adapters.temporal_spectrum import TemporalSpectrum, resampled
from medseg.errors import InputError

LENGTHS = st.integers(1, 40)


def stirred(slices):
    torch.manual_seed(0)
    branch = TemporalSpectrum(slices).double()
    with torch.no_grad():
        branch.weight.normal_()
        branch.bias.normal_(std=3)
    return branch


@pytest.mark.parametrize("shape", [(2, 6, 3, 4, 2), (1, 5, 2, 2, 3), (1, 1, 3, 2, 1)])
def test_it_is_the_transform_over_all_three_axes(shape):
    branch = stirred(shape[1])
    volume = torch.randn(shape, dtype=torch.float64)
    axes = (1, 2, 3)
    along_depth = (1, -1, 1, 1, 1)
    spectrum = torch.fft.fftn(volume, dim=axes)
    spectrum = spectrum * branch.weight.view(along_depth) + branch.bias.view(along_depth)
    torch.testing.assert_close(branch(volume), torch.fft.ifftn(spectrum, dim=axes).abs())


def test_paper_size_and_start():
    branch = TemporalSpectrum(128)
    assert sum(parameter.numel() for parameter in branch.parameters()) == 256
    assert all(bool((parameter == 1).all()) for parameter in branch.parameters())


def test_bf16_goes_in_and_comes_out():
    branch, volume = TemporalSpectrum(4), torch.randn(1, 3, 2, 2, 2).bfloat16()
    filtered = branch(volume)
    assert filtered.dtype == torch.bfloat16
    torch.testing.assert_close(filtered, branch(volume.float()).bfloat16())


def test_gradients_are_those_of_differences():
    branch = stirred(5)
    volume = torch.randn(1, 4, 2, 2, 1, dtype=torch.float64, requires_grad=True)

    def filtered(volume, weight, bias):
        return torch.func.functional_call(branch, {"weight": weight, "bias": bias}, volume)

    assert torch.autograd.gradcheck(filtered, (volume, branch.weight, branch.bias))


@given(LENGTHS, LENGTHS)
def test_equal_weights_stay_equal(stored, slices):
    assert torch.equal(resampled(torch.full((stored,), 0.3), slices), torch.full((slices,), 0.3))


@given(LENGTHS)
def test_the_stored_length_is_untouched(stored):
    values = torch.randn(stored)
    assert resampled(values, stored) is values


@given(LENGTHS, LENGTHS)
def test_the_mean_of_a_volume_keeps_its_weight(stored, slices):
    values = torch.randn(stored)
    assert resampled(values, slices)[0] == values[0]


@given(LENGTHS, LENGTHS)
def test_what_is_even_in_frequency_stays_even(stored, slices):
    values = torch.randn(stored, dtype=torch.float64)
    even = resampled(values + values.roll(-1).flip(0), slices)
    torch.testing.assert_close(even, even.roll(-1).flip(0))


@given(st.integers(2, 40), st.integers(1, 40))
def test_a_weight_goes_with_cycles_a_slice(stored, slices):
    # Linear in |f| but at its two kinks, 0 and 1/2, which are frequencies of an even length.
    values = torch.fft.fftfreq(2 * stored, dtype=torch.float64).abs()
    wanted = torch.fft.fftfreq(slices, dtype=torch.float64).abs()
    torch.testing.assert_close(resampled(values, slices), wanted)


def test_every_other_length_in_between():
    values = torch.randn(7)
    assert torch.equal(resampled(values, 14)[::2], values)


def test_no_frequency_is_refused():
    with pytest.raises(InputError, match="a spectrum needs a frequency"):
        TemporalSpectrum(0)
