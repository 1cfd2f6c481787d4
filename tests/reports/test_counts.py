"""Counts of Med-Tuning: the six totals exactly, the printed ones to their digits but for one."""

import pytest
import torch

from medseg.models import config_of
from medseg.reports import counts
from medseg.segmenter import count_parameters, unfilled
from medseg.studies import study


@pytest.fixture(scope="module")
def found():
    return counts.printed_counts(study.load("medtuning_methods"))


@pytest.mark.parametrize(
    ("network", "whole", "head", "tuned"),
    # Facts: parameter decomposition.
    [
        ("ViT+UPerNet", 100_849_156, 15_007_492, 17_853_188),
        ("Swin-UNet", 27_154_116, 6_751_530, 7_489_098),
    ],
)
def test_the_exact_totals(network, whole, head, tuned):
    counted = counts.CountedNetwork(config_of(counts.NETWORKS[network]))
    assert (counted.whole, counted.head) == (whole, head)
    assert counted.head + counted.inserted("med_adapter") == tuned
    assert counted.millions("scratch") == counted.millions("full") == {"tuned": whole / 1e6}
    assert counted.millions("head") == {"tuned": head / 1e6}


def test_a_sum_is_what_trains_in_the_network():
    base = config_of("medtuning-vit-base-upernet")
    tuning = base.tuning.model_copy(update={"method": "adaptformer"})
    with torch.device("meta"):
        segmenter = unfilled(base.model_copy(update={"tuning": tuning}))
    tuned = counts.CountedNetwork(base).millions("adaptformer")["tuned"]
    assert round(1e6 * tuned) == count_parameters(segmenter, trainable_only=True)


def test_one_channel_and_three_classes():
    # Facts: what KiTS19 would have, and Table 2 does not print.
    base = config_of("medtuning-vit-base-upernet")
    kits = counts.CountedNetwork(base.model_copy(update={"in_channels": 1, "classes": 3}))
    assert (round(kits.whole / 1e6, 3), round(kits.head / 1e6, 3)) == (100.257, 15.005)


def test_all_printed_counts_but_one_come_out(found):
    # 10 rows of Table 1, 20 of Table 2, 4 + 3 + 4 + 4 of Tables 3 to 6.
    assert len(found) == 45 and sorted(found.index.unique("table")) == list("123456")
    # Exact 6,752,490; the printed number is the sum of the two that stand rounded beside it.
    assert found[~found.agrees].index.tolist() == [("2", "Swin-UNet", "VPT-Shallow")]
    off = found[~found.agrees].iloc[0]
    assert off["tuned, paper"] == pytest.approx(6.752 + off["inserted, paper"])
    assert off["tuned"] == pytest.approx(6.752490)


def test_nothing_is_inserted_where_nothing_is_printed(found):
    assert (found.inserted.isna() == found["inserted, paper"].isna()).all()
    rows = found.index.get_level_values("row")[found.inserted.isna()]
    assert set(rows) == {"Scratch", "Full", "Head"}
