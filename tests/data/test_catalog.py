"""Cards agree with the sources they state."""

import pytest
from pydantic import ValidationError

from medseg.data.catalog import DATASETS


def test_md5_is_the_one_of_monai():
    import medseg.compat  # noqa: F401  isort: skip
    from monai.apps import DecathlonDataset

    with_download = {name: card.md5 for name, card in DATASETS.items() if card.md5}
    assert "Task04_Hippocampus" in with_download
    for name, md5 in with_download.items():
        assert md5 == DecathlonDataset.md5[name] and name in DecathlonDataset.resource


@pytest.mark.parametrize("name", DATASETS)
def test_cards_are_consistent(name):
    card = DATASETS[name]
    assert card.name == name and card.licence and card.citation
    assert card.labels[0] == "background" and sorted(card.labels) == list(range(len(card.labels)))
    assert (card.window is None) == (card.normalise == "percentile")
    assert card.nsd_tolerance_mm > 0 and len(card.channels) >= 1


def test_hippocampus_is_as_published():
    card = DATASETS["Task04_Hippocampus"]
    assert card.labels == {0: "background", 1: "Anterior", 2: "Posterior"}
    assert card.split_sizes == (208, 39, 13) and sum(card.split_sizes) == 260
    assert card.licence == "CC BY-SA 4.0" and card.nsd_tolerance_mm == 1.0


def test_acdc_is_as_published():
    card = DATASETS["ACDC"]
    assert list(card.labels) == [0, 1, 2, 3] and card.labels[1] == "right ventricle"
    # TransSeg, Table 1: 70, 10 and 20 patients, of two frames each.
    assert card.split_sizes == (2 * 70, 2 * 10, 2 * 20)
    assert (card.modality, card.normalise, card.licence) == ("MRI", "percentile", "CC BY-NC-SA 4.0")


def test_a_card_written_before_spacing_known_is_read():
    card = DATASETS["Phantom"]
    assert type(card)(**card.model_dump(exclude={"spacing_known"})) == card and card.spacing_known


def test_cards_do_not_change_and_know_their_fields():
    card = DATASETS["Phantom"]
    with pytest.raises(ValidationError):
        card.name = "other"
    with pytest.raises(ValidationError):
        type(card)(**card.model_dump(), colour="red")
    assert type(card).model_validate_json(card.model_dump_json()) == card
