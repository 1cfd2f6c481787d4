"""Every parameter count that Med-Tuning prints, from networks as they are built here.

The printed numbers are read from studies/papers. Counts in Tables 1, 2 and 7 are those of 4 image channels
and 4 classes, also on KiTS19; Table 8 has 3 classes and alpha 4.
"""

from copy import deepcopy
from functools import cache
from pathlib import Path

import pytest
import torch

from medseg.data.catalog import DATASETS
from medseg.models import config_of
from medseg.reports.papers import paper_table
from medseg.reports.tuning import PRINTED
from medseg.segmenter import NETWORKS, count_parameters, measure_size
from medseg.studies.fitted import fitted_to
from medseg.studies.study import load
from medseg.tuning import ADAPTER, tune

ROOT = Path(__file__).parents[1]
VIT, SWIN = "medtuning-vit-base-upernet", "medtuning-swin-unet"
# From scratch and with weights the same parameters train.
METHODS = PRINTED | {"Scratch": "full", "Full": "full"}
# Tables 3 to 6: options of Med-Adapter. Table 4 has its cubes at alpha 6, its FFT at alpha 4.
ALONE = {"reduction": 4, "fusion": "none"}
OPTIONS = {
    "conv3": ALONE | {"conv5": False, "global_branch": "none", "channel_mixing": False},
    "conv3+conv5": ALONE | {"global_branch": "none", "channel_mixing": False},
    "conv3+conv5+fft": ALONE | {"channel_mixing": False},
    "conv3+conv5+fft+cm": ALONE,
    "DWConv9": {"global_branch": "dwconv9"},
    "DWConv11": {"global_branch": "dwconv11"},
    "FFT": {"reduction": 4},
    "intra-only": ALONE,
    "add": {"reduction": 4, "fusion": "add"},
    "max": {"reduction": 4, "fusion": "max"},
    "concat": {"reduction": 4},
    **{f"alpha={alpha}": {"reduction": alpha} for alpha in (2, 4, 6, 8)},
}
# Table 8: name of the decoder, its width, and whether the layers that narrow the first tap are in it.
DECODERS = {
    "UPerNet": ("med_upernet", 256, True),
    "U-Net": ("med_unet", 384, True),
    "SETR-MLA": ("setr_mla", 128, False),
    "SETR-Naive": ("setr_naive", 256, False),
    "SETR-PUP": ("med_setr_pup", 384, False),
}
PARTS = paper_table("medtuning_param_decomposition", ROOT).set_index("part", append=True)["params"]
# In the paper's ViT these layers are there, and train, whatever the decoder.
NARROW = int(PARTS["ViT", "trainable fpn (1x1 768->256 + SyncBN + GELU)"])

# What should stand where the paper has another number, and why.
MISPRINTS = {
    # A typo, see medtuning_disagreements.csv: 15.095 and the adapters' 4.557 are not the printed 19.562.
    ("8 UPerNet", "decoder"): "15.005",
    # Added after rounding: 6.752 + 0.001, and 0.447 + 4.557. All other sums are of whole numbers.
    ("2 Swin-UNet VPT-Shallow", "tuned"): "6.752",
    ("8 SETR-Naive", "tuned"): "5.005",
}


@cache
def untuned(name, decoder=None):
    """A network on the meta device, nothing of it frozen; with a decoder of Table 8 it has 3 classes."""
    config = config_of(name)
    if decoder is not None:
        changes = {"decoder": decoder[0], "decoder_channels": decoder[1], "classes": 3}
        config = config.model_copy(update=changes)
    with torch.device("meta"):
        return NETWORKS[config.network](config)


@cache
def counts(name, method="full", options=(), decoder=None):
    """Parameters that train, and those of the adapter."""
    network = deepcopy(untuned(name, decoder))
    with torch.device("meta"):
        tune(network, method, dict(options), config_of(name).tuning.also)
    adapter = dict(network.named_children()).get(ADAPTER)
    return count_parameters(network, trainable_only=True), 0 if adapter is None else count_parameters(adapter)


def of_method(name, method, inserted):
    """The arguments of `counts`, and the printed count of the adapter where there is one."""
    return (name, METHODS[method]), {} if inserted != inserted else {"inserted": inserted}


def printed_rows():
    """A row of the paper, what it prints, and the arguments of `counts`."""
    for row in paper_table("medtuning_t1_vit_upernet_brats", ROOT).reset_index().itertuples():
        arguments, printed = of_method(VIT, row.method, row.inserted_M)
        yield f"1 {row.method}", {"tuned": row.tuned_M} | printed, arguments
    for row in paper_table("medtuning_t2_kits19", ROOT).reset_index().itertuples():
        name = SWIN if row.backbone == "Swin-UNet" else VIT
        arguments, printed = of_method(name, row.method, row.inserted_M)
        yield f"2 {row.backbone} {row.method}", {"tuned": row.tuned_M} | printed, arguments
    for row in paper_table("medtuning_t3_to_t8_ablations_brats19_5fold", ROOT).reset_index().itertuples():
        case, printed = f"{row.table} {row.setting}", {"tuned": row.tuned_M}
        if row.table == 7:
            arguments, inserted = of_method(VIT, row.setting.split()[-1].title(), row.inserted_or_decoder_M)
            yield case, printed | inserted, arguments
        elif row.table == 8:
            decoder = row.setting.partition(" (")[0]
            options = (("reduction", 4),)
            printed["decoder"] = row.inserted_or_decoder_M
            yield f"8 {decoder}", printed, (VIT, "med_adapter", options, DECODERS[decoder])
        else:
            options = tuple(OPTIONS[row.setting].items())
            printed["inserted"] = row.inserted_or_decoder_M
            yield case, printed, (SWIN, "med_adapter", options)


ROWS = list(printed_rows())


@pytest.mark.parametrize(("case", "printed", "arguments"), ROWS, ids=[row[0] for row in ROWS])
def test_printed_counts(case, printed, arguments):
    tuned, inserted = counts(*arguments)
    if len(arguments) == 4 and not arguments[3][2]:
        tuned += NARROW
    # What Table 8 counts as a decoder is all that trains beside the adapters.
    ours = {"tuned": tuned, "inserted": inserted, "decoder": tuned - inserted}
    for column, millions in printed.items():
        print_, right = f"{millions:.3f}", MISPRINTS.get((case, column), f"{millions:.3f}")
        assert f"{ours[column] / 1e6:.3f}" == right, (column, ours[column])
        assert (right != print_) == ((case, column) in MISPRINTS)


def test_the_study_of_table_8_has_its_decoders():
    own = load("medtuning_brats19_folds", ROOT)
    models = [own.config(cell, 1234, "full").model for cell in own.part("8").cells]
    named = {(model.decoder, model.decoder_channels) for model in models}
    assert named == {(decoder, width) for decoder, width, _ in DECODERS.values()}
    # One network but for what reads its maps.
    assert len({(m.encoder, m.taps, m.tuning.also) for m in models}) == 1


def test_the_study_of_table_7_tunes_one_number():
    own = load("medtuning_brats19_folds", ROOT)
    models = [
        fitted_to(own.config(cell, 1234, "full"), DATASETS[own.dataset]).model for cell in own.part("7").cells
    ]
    tuned = {m.encoder: measure_size(m).trainable for m in models if m.tuning.method == "med_adapter"}
    assert len(tuned) > 1 and set(tuned.values()) == {17_853_188}


def test_no_misprint_is_stale():
    cells = {(case, column) for case, printed, _ in ROWS for column in printed}
    assert set(MISPRINTS) <= cells
    assert len(ROWS) == 10 + 20 + 15 + 8 + 5


@pytest.mark.parametrize(("network", "name"), [("Swin-UNet", SWIN), ("ViT", VIT)])
def test_whole_numbers_of_the_decomposition(network, name):
    def stated(start):
        rows = [
            value for (model, part), value in PARTS.items() if network in model and part.startswith(start)
        ]
        return int(rows[0])

    assert counts(name) == (stated("total without adapters"), 0)
    assert counts(name, "head") == (stated("head total"), 0)
    assert counts(name, "med_adapter") == (stated("tuned total"), stated("Med-Adapters"))


def test_the_decoder_of_the_base_with_three_classes():
    whole = int(PARTS["ViT", "same with 3 classes"].split()[0])
    assert counts(VIT, "head", (), DECODERS["UPerNet"]) == (whole, 0)
