"""How a run is computed, apart from what it computes: the same run on another engine agrees up to rounding.

======================  =======  ====  ====  ===================================================
option                  CPU      T4    A100  why
======================  =======  ====  ====  ===================================================
number format           bf16     fp16  bf16  see medseg.training.precision
TF32 for float32        -        -     yes   tensor cores take float32 products; off with tf32=False
channels-last weights   yes      yes   yes   convolutions read the channels of a pixel together
fused AdamW             yes      no    yes   one kernel a step; a scaler that clips cannot use it
volumes on the device   -        yes   yes   cut and augmented there, where they fit a quarter of it
batches ahead           0        0, 2  0, 2  2 in a thread where the volumes stay on the host
fused attention         fp32     yes   yes   torch's CPU kernel is slower than two products in bf16
freed memory kept       yes      -     -     glibc would fetch it anew, page by page, every step
torch.compile           no       no    no    minutes before the first step
gradient checkpointing  no       no    no    less memory for more time
======================  =======  ====  ====  ===================================================

"T4" stands for GPUs below compute capability 8.0, "A100" for 8.0 and up.
"""

from typing import Any, Literal

import torch
from pydantic import Field

from medseg.config import Frozen, validated
from medseg.runtime import device_kind
from medseg.training.precision import PrecisionPlan

# A share of what is free on a GPU: the rest belongs to the network.
VOLUMES_SHARE = 0.25


class Engine(Frozen):
    """Options of the machine. None means: as the table says for this hardware.

    Attributes:
        devices: processes (GPUs, or CPU processes) on this machine; nodes: machines.
        strategy: "ddp" gives every process the whole network, "fsdp" a part of its parameters.
        compile: run the parts of the network through torch.compile.
        fused: the fused AdamW; fused_attention: torch's own attention kernel.
        recompute: gradient checkpointing of the encoder's blocks.
        tf32: float32 products on tensor cores.
        prefetch: batches made ahead in a thread.
        cache_gb: bound on the volumes in memory, for each process; the rest is mapped from files.
        keep: number of newest checkpoints kept, beside the best one.
        loggers: beside the CSV file, which is always written.
    """

    devices: int = Field(1, ge=1)
    nodes: int = Field(1, ge=1)
    strategy: Literal["ddp", "fsdp"] = "ddp"
    compile: bool = False
    recompute: bool = False
    channels_last: bool = True
    tf32: bool = True
    fused: bool | None = None
    fused_attention: bool | None = None
    prefetch: int | None = Field(None, ge=0)
    cache_gb: float | None = Field(None, gt=0)
    keep: int = Field(2, ge=1)
    loggers: tuple[Literal["tensorboard", "wandb"], ...] = ()

    @property
    def processes(self) -> int:
        """Number of processes in all."""
        return self.devices * self.nodes


def settled(engine: Engine, chosen: PrecisionPlan) -> Engine:
    """The engine with the choices of this hardware made; prefetch waits for the size of the volumes."""
    fused = engine.fused if engine.fused is not None else not chosen.scaler
    tf32 = engine.tf32 and device_kind() == "cuda" and torch.cuda.get_device_capability() >= (8, 0)
    attention = engine.fused_attention
    if attention is None:
        attention = device_kind() != "cpu" or chosen.choice != "bf16"
    # FSDP splits parameters along their first axis and wants them contiguous.
    channels_last = engine.channels_last and (engine.strategy != "fsdp" or engine.processes == 1)
    settled_choices = {"fused": fused, "tf32": tf32, "fused_attention": attention}
    return engine.model_copy(update={**settled_choices, "channels_last": channels_last})


def fits_on(device: torch.device, volumes_bytes: int) -> bool:
    """Whether the training volumes may lie on the device."""
    if device.type != "cuda":
        return False
    return volumes_bytes <= VOLUMES_SHARE * torch.cuda.mem_get_info(device)[0]


def engine_of(**options: Any) -> Engine:
    """The engine of the given options.

    Raises:
        InputError: an option out of range.
    """
    return validated(Engine, options, "the options of the machine are not valid", "see medseg train --help")
