"""Pages on decoders: the counts of Table 8, the grids that a decoder works on, and what does not fit."""

import pytest
import torch

from medseg.reports import decoder_views as views


@pytest.fixture(scope="module")
def sizes():
    return views.decoder_sizes()


@pytest.mark.parametrize("row", ["U-Net", "SETR-MLA", "SETR-Naive", "SETR-PUP"])
def test_printed_counts(sizes, row):
    found = sizes.loc[row]
    assert round(found["with positions, norm, first tap"], 3) == found["decoder, paper"]
    # 5.004 is the sum of two rounded numbers.
    assert abs(found["tuned"] - found["tuned, paper"]) < 0.001


def test_upernet_is_printed_with_a_typing_error(sizes):
    found = sizes.loc["UPerNet"]
    assert round(found["with positions, norm, first tap"], 3) == 15.005
    assert found["decoder, paper"] == 15.095
    assert round(found["tuned"], 3) == 19.562 == found["tuned, paper"]


@pytest.mark.parametrize(
    ("decoder", "edges"),
    [
        ("med_upernet", [1, 2, 4, 6, 8]),
        ("setr_mla", [8]),
        ("setr_naive", [8]),
        ("med_setr_pup", [8, 16, 32, 64]),
        ("med_unet", [8, 16, 32, 64, 128]),
    ],
)
def test_grids_hold_every_parameter_of_the_decoder(sizes, decoder, edges):
    wanted = sizes.set_index("decoder").loc[decoder, "decoder itself"]
    found = views.parameters_by_edge(views.decoder_config(decoder))
    assert list(found) == edges and sum(found.values()) == round(1e6 * wanted)


def test_misfits_are_counted_by_kind():
    published = {
        "a.0.w": torch.empty(3, 2),
        "a.1.w": torch.empty(3, 4),
        "b": torch.empty(5),
        "c": torch.ones(1),
    }
    own = {"a.0.w": torch.empty(2, 2), "a.1.w": torch.empty(2, 4), "c": torch.ones(1)}
    found = views.misfits(published, own)
    assert found.loc["a.*.w"].tolist() == ["3 x 2 to 4", "2 x 2 to 4", 2, 12]
    assert found.loc["not in the network"].tolist() == ["", "", 1, 5]
