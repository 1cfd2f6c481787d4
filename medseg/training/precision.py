"""AMP in one file: which number format runs on which hardware, with or without a gradient scaler.

=========================  =====  ======  ==========================================================
hardware                   dtype  scaler  why
=========================  =====  ======  ==========================================================
CPU                        bf16   no      half the memory traffic; same exponent range as float32
CPU, 3D convolutions       fp32   no      torch 2.13: bf16 weight gradients of Conv3d are wrong on small maps
GPU, compute 8.0 and up    bf16   no      tensor cores; same exponent range as float32
GPU below 8.0 (T4, V100)   fp16   yes     tensor cores for fp16 only; small gradients need scaling
any, on request            fp32   no      reference
=========================  =====  ======  ==========================================================

Parameters, optimiser state and loss stay in float32; the forward pass runs under autocast.
"""

from dataclasses import dataclass
from typing import Literal

import medseg.compat  # noqa: F401  isort: skip
import torch
from lightning.fabric.plugins.precision import MixedPrecision, Precision
from torch import nn

from medseg.runtime import device_kind

Choice = Literal["bf16", "fp16", "fp32"]
FIRST_BF16_CAPABILITY = (8, 0)
CONV_3D = (nn.Conv3d, nn.ConvTranspose3d)


@dataclass(frozen=True)
class PrecisionPlan:
    """A number format, its torch dtype, Fabric's name of it, and whether gradients are scaled."""

    choice: Choice
    dtype: torch.dtype
    fabric: Literal["bf16-mixed", "16-mixed", "32-true"]
    scaler: bool


PLANS: dict[str, PrecisionPlan] = {
    "bf16": PrecisionPlan("bf16", torch.bfloat16, "bf16-mixed", scaler=False),
    "fp16": PrecisionPlan("fp16", torch.float16, "16-mixed", scaler=True),
    "fp32": PrecisionPlan("fp32", torch.float32, "32-true", scaler=False),
}


def plan(wanted: str = "auto", network: nn.Module | None = None) -> PrecisionPlan:
    """The plan for this machine and network; "auto" follows the table, any other choice is taken."""
    if wanted != "auto":
        return PLANS[wanted]
    if device_kind() == "cpu":
        modules = network.modules() if network is not None else ()
        return PLANS["fp32" if any(isinstance(m, CONV_3D) for m in modules) else "bf16"]
    if torch.cuda.get_device_capability() < FIRST_BF16_CAPABILITY:
        return PLANS["fp16"]
    return PLANS["bf16"]


def plugin(wanted: PrecisionPlan) -> Precision:
    """The Fabric plugin of a plan."""
    if wanted.choice == "fp32":
        return Precision()
    return MixedPrecision(wanted.fabric, device_kind())  # type: ignore[arg-type]


def allow_tf32(allowed: bool) -> None:
    """Let float32 products and convolutions use TF32 on a GPU: 10 bits of mantissa in place of 23."""
    if device_kind() == "cuda":
        torch.set_float32_matmul_precision("high" if allowed else "highest")
        torch.backends.cudnn.allow_tf32 = allowed
