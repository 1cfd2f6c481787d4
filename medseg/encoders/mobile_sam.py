"""TinyViT-5M as the image encoder of MobileSAM (Zhang et al. 2023): one stride is not timm's.

SAM wants features at stride 16, so MobileSAM's last patch merging does not halve the map: strides are 4, 8,
16 and 16 where timm's tiny_vit_5m_224 has 4, 8, 16 and 32. The windows (7, 7, 14, 7 tokens) are timm's.
"""

from typing import Any

import medseg.compat  # noqa: F401  isort: skip
import timm

NAME = "tiny_vit_5m_mobile_sam"


def tiny_vit_5m(**options: Any) -> Any:
    """TinyViT-5M of timm with the strides of MobileSAM.

    Args:
        **options: those of timm.create_model.
    """
    trunk: Any = timm.create_model("tiny_vit_5m_224", **options)
    trunk.stages[-1].downsample.conv2.conv.stride = (1, 1)
    trunk.feature_info[-1]["reduction"] = trunk.feature_info[-2]["reduction"]
    return trunk
