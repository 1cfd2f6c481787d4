"""Named networks have the sizes that the paper and its code state."""

from functools import cache

import pytest

from medseg.errors import InputError
from medseg.models import MODELS, config_of
from medseg.segmenter import measure_size

# Parameters of the encoder; its FLOPs with layer norms; parameters of the decoder.
PAPER = {
    "transseg-beit-base-1": (85_833_792, 213_343_401_984, 74_940_686),
    "transseg-beit-base-5": (86_620_224, 214_954_014_720, 74_940_686),
}


@cache
def size_of(name):
    return measure_size(config_of(name))


@pytest.mark.parametrize("name", PAPER)
def test_beit_has_the_cost_of_the_paper(name):
    size = size_of(name)
    parameters = size.parameters_per_part
    flops = size.flops_with_layer_norms_per_part["encoder"]
    assert (parameters["encoder"], flops, parameters["decoder"]) == PAPER[name]


def test_depth_costs_the_patch_embedding_alone():
    one, five = (size_of(f"transseg-beit-base-{slices}") for slices in (1, 5))
    assert five.flops - one.flops == 2 * 1024 * 768 * (16 * 16 * 4)
    assert five.parameters - one.parameters == 983_808 - 197_376


def test_decoder_on_a_swin_has_the_size_of_the_paper():
    assert measure_size(config_of("transseg-swin-base-5")).parameters_per_part["decoder"] == 33_246_222


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_every_named_network_can_be_measured(name):
    size = measure_size(config_of(name))
    assert size.parameters == size.trainable > 0 and size.flops > 0


def test_an_unknown_name():
    with pytest.raises(InputError, match="unknown model"):
        config_of("transseg-nobody")


@pytest.mark.parametrize(
    ("name", "encoder", "decoder"),
    [
        ("medtuning-vit-base-upernet", 85_892_352, 14_956_804),
        ("medtuning-swin-unet", 20_404_122, 6_749_994),
    ],
)
def test_base_networks_of_med_tuning(name, encoder, decoder):
    parts = size_of(name).parameters_per_part
    assert parts == {"encoder": encoder, "decoder": decoder, "slices": 0}
