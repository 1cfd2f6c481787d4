"""The name of an encoder chooses its class."""

import medseg.compat  # noqa: F401  isort: skip
import pytest
import torch

from medseg.encoders.contract import Encoder
from medseg.encoders.registry import make
from medseg.encoders.timm_encoder import TimmEncoder
from medseg.encoders.video_swin import VideoSwinEncoder
from medseg.encoders.volume_tokens import VolumeTokens
from medseg.errors import InputError


@pytest.mark.parametrize(
    ("name", "mixing", "kind"),
    [
        ("test_vit", "patch", TimmEncoder),
        ("tiny_vit_5m_mobile_sam", "patch", TimmEncoder),
        ("video_swin_tiny", "patch", VideoSwinEncoder),
        ("test_vit", "joint", VolumeTokens),
    ],
)
def test_names(name, mixing, kind):
    with torch.device("meta"):
        encoder = make(name, 1, 3, 64, (0, 1, 2, 3), mixing)
    assert type(encoder) is kind and isinstance(encoder, Encoder)
    assert len(encoder.channels) == len(encoder.strides) == 4


def test_an_unknown_name():
    with pytest.raises(InputError, match="cannot build"):
        make("nobody", 1, 3, 64, (0, 1, 2, 3))
