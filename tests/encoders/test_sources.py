"""Cards of weights and the rows of TransSeg's Table 2(b) say what is known, and no more."""

import string

import medseg.compat  # noqa: F401  isort: skip
import pytest
import timm

from medseg.encoders import mobile_sam, registry
from medseg.encoders.sources import TABLE_2B, WEIGHTS

AT_HAND = {"vit_tiny_augreg", "deit_tiny", "tiny_vit_sa1b"}


@pytest.mark.parametrize("name", WEIGHTS)
def test_cards_are_complete(name):
    card = WEIGHTS[name]
    assert (card.sha256 is not None) == (name in AT_HAND), "a digest that nobody computed is not stated"
    if card.sha256 is not None:
        assert len(card.sha256) == 64 and set(card.sha256) <= set(string.hexdigits.lower())
    known = timm.is_model(card.encoder) or card.encoder == mobile_sam.NAME
    assert known or card.encoder.startswith(registry.VIDEO_SWIN)
    assert card.licence and card.trained_on


@pytest.mark.parametrize("name", [name for name, card in WEIGHTS.items() if card.timm_name])
def test_what_the_hub_holds_has_timms_name_and_licence(name):
    card = WEIGHTS[name]
    assert card.timm_name.startswith(card.encoder) and card.file == f"{card.timm_name}.safetensors"
    assert timm.is_model_pretrained(card.timm_name)
    licence = timm.get_pretrained_cfg(card.timm_name).license
    assert licence is None or licence == card.licence.lower()


def test_rows_of_the_table():
    # TransSeg, Table 2(b).
    objectives = {
        "BEiT-Random": None,
        "CT-DINO": "SSL",
        "BEiT-SSL": "SSL",
        "DINO": "SSL",
        "SwinT": "SL",
        "VideoSwinT": "SL",
        "BEiT": "SSL+SL",
    }
    assert {row: source.objective for row, source in TABLE_2B.items()} == objectives
    for row, source in TABLE_2B.items():
        assert (source.weights is None) == (row in ("BEiT-Random", "CT-DINO"))
        if source.weights is not None:
            card = WEIGHTS[source.weights]
            assert (card.encoder, card.objective) == (source.encoder, source.objective)
