"""MobileSAM's TinyViT: its strides, and real weights in a network that they were trained in."""

import medseg.compat  # noqa: F401  isort: skip
import pytest
import torch
from matplotlib import cbook
from matplotlib.image import imread

from medseg.encoders import mobile_sam
from medseg.encoders.checkpoints import read_weights
from medseg.encoders.timm_encoder import TimmEncoder

# Of the pixels that the network was trained on, in 0..1.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def test_the_last_stage_keeps_the_stride_of_the_one_before():
    with torch.device("meta"):
        network = mobile_sam.tiny_vit_5m(num_classes=0)
        maps = network.forward_intermediates(torch.empty(1, 3, 64, 64), intermediates_only=True)
    assert [tuple(feature.shape[1:]) for feature in maps] == [
        (64, 16, 16),
        (128, 8, 8),
        (160, 4, 4),
        (320, 4, 4),
    ]
    assert [info["reduction"] for info in network.feature_info] == [4, 8, 16, 16]


@pytest.mark.real_weights
def test_real_weights_meet_the_statistics_they_were_trained_with():
    encoder = TimmEncoder(mobile_sam.NAME, 3, 1, 384, (0, 1, 2, 3)).eval()
    encoder.load("tiny_vit_sa1b", "center")
    colours = read_weights("tiny_vit_sa1b")[0]["patch_embed.seq.0.c.weight"]
    encoder.trunk.patch_embed.conv1.conv.weight.data = colours
    likeness = {}

    def compare(name):
        def hook(norm, inputs, outputs):
            means = torch.stack([inputs[0].mean((0, 2, 3)), norm.running_mean])
            likeness[name] = torch.corrcoef(means)[0, 1].item()

        return hook

    for name, module in encoder.trunk.named_modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.register_forward_hook(compare(name))
    with cbook.get_sample_data("grace_hopper.jpg") as file:
        photograph = imread(file, format="jpg")[:384, 64:448] / 255
    image = torch.from_numpy((photograph - MEAN) / STD).float().permute(2, 0, 1)
    with torch.no_grad():
        encoder(image[None, :, None])
    # One photograph says little about the colours the first convolution meets. About the rest it does: a key
    # in a wrong place breaks what follows.
    assert min(value for name, value in likeness.items() if "patch_embed" not in name) > 0.8
