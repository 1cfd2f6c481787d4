"""A CPU build of torch beside a CUDA build of torchvision: declare the operators that its Python files name.

torchvision's Python files register shape functions for operators of its compiled library. Where that
library does not load (it was built for another torch), the import ends in "operator torchvision::nms
does not exist", and timm and monai with it. Declaring the schemas is enough: the operators themselves
are not used here. Import this module before anything that imports torchvision.
"""

import importlib.util
from pathlib import Path

import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def _declare() -> torch.library.Library | None:
    spec = importlib.util.find_spec("torchvision")
    if spec is None or spec.origin is None:
        return None
    library = Path(spec.origin).parent.joinpath("_C.so")
    try:
        torch.ops.load_library(str(library))
        return None
    except OSError:
        declared = torch.library.Library("torchvision", "DEF")
        for schema in _SCHEMAS:
            declared.define(schema)
        return declared


# Kept alive for the life of the process: a Library that is collected takes its schemas with it.
LIBRARY = _declare()
