"""One or many devices through Lightning Fabric: started, shared out, gathered.

The batch of a step is the same on any number of processes: it is cut into equal parts, rows in order, and
every part is computed as it would be in one process (norms over all of it, dropout masks drawn for all).
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

import medseg.compat  # noqa: F401  isort: skip
import torch
from lightning.fabric import Fabric
from lightning.fabric.strategies import ModelParallelStrategy, Strategy
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from medseg.config import TrainConfig
from medseg.decoders.dropout import ChannelDropout
from medseg.encoders.slice_batch import SliceBatch
from medseg.errors import InputError
from medseg.runtime import device_kind, keep_freed_memory
from medseg.segmenter import Segmenter
from medseg.training import loggers, precision
from medseg.training.engine import Engine
from medseg.training.sync_norm import synchronised

Result = TypeVar("Result")


def launch(engine: Engine, chosen: precision.PrecisionPlan, run_dir: Any = None) -> Fabric:
    """Start the processes of an engine, or join those that torchrun or Slurm started.

    Where Fabric starts them itself, it runs the program again in every further process, up to this line.

    Args:
        engine: devices, nodes, strategy, loggers.
        chosen: number format.
        run_dir: takes the files of the loggers.
    """
    strategy: str | Strategy = "auto"
    if engine.processes > 1:
        strategy = "ddp"
        if engine.strategy == "fsdp":
            strategy = ModelParallelStrategy(
                _shard, data_parallel_size=engine.processes, tensor_parallel_size=1
            )
    fabric = Fabric(
        accelerator=device_kind(),
        devices=engine.devices,
        num_nodes=engine.nodes,
        strategy=strategy,
        plugins=[precision.plugin(chosen)],
        loggers=loggers.make(engine.loggers, run_dir),
    )
    fabric.launch()
    precision.allow_tf32(engine.tf32)
    return fabric


def _shard(network: nn.Module, mesh: Any) -> nn.Module:
    """Split the parameters of every part of a segmenter over the processes (FSDP2)."""
    from torch.distributed.fsdp import fully_shard

    parts = network.parts.values() if isinstance(network, Segmenter) else ()
    for part in parts:
        fully_shard(part, mesh=mesh["data_parallel"])
    fully_shard(network, mesh=mesh["data_parallel"])
    return network


def prepare(segmenter: Segmenter, engine: Engine, fabric: Fabric) -> nn.Module:
    """Put the network on the devices, in the layout and with the wrappers of the settled engine."""
    if fabric.device.type == "cpu":
        keep_freed_memory()
    if engine.channels_last:
        _channels_last(segmenter)
    if not engine.fused_attention:
        segmenter.attend_by_products()
    if engine.recompute:
        segmenter.recompute_activations()
    if fabric.world_size > 1:
        synchronised(segmenter)
    if engine.compile:
        # Part by part: compiled whole, torch 2.13 gives this network zero gradients on a CPU.
        for part in segmenter.parts.values():
            part.compile(dynamic=False)
    return fabric.setup_module(segmenter)


def _channels_last(network: nn.Module) -> None:
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for parameter in network.parameters():
        if parameter.ndim in formats:
            parameter.data = parameter.data.contiguous(memory_format=formats[parameter.ndim])


def gradients_stay_here(fabric: Fabric, network: Any, wanted: bool) -> AbstractContextManager[None]:
    """No exchange of gradients within the block where more parts of the batch follow."""
    return fabric.no_backward_sync(network) if wanted and fabric.world_size > 1 else nullcontext()


@dataclass(frozen=True)
class Share:
    """Which rows of the batch this process computes."""

    batch: int
    parts: int
    rank: int
    processes: int

    @classmethod
    def of(cls, fabric: Fabric, train: TrainConfig, network: nn.Module) -> "Share":
        """The share of this process.

        Raises:
            InputError: the batch cannot be cut into equal parts, or into parts too small for the network.
        """
        parts = fabric.world_size * train.accumulate
        if train.batch % parts:
            raise InputError(
                "the batch cannot be shared out",
                expected=f"a batch that {fabric.world_size} processes x {train.accumulate} parts divide",
                got=f"a batch of {train.batch}",
                do="change --devices, --nodes or --accumulate",
            )
        parts_of = list(network.modules())
        normed = any(isinstance(module, _BatchNorm) for module in parts_of)
        # Slices as a batch are several images.
        one_image = not any(isinstance(module, SliceBatch) for module in parts_of)
        if normed and one_image and train.batch == train.accumulate:
            raise InputError(
                "a batch norm has no statistics of one window",
                expected="at least 2 windows in a forward pass, over all processes",
                got=f"a batch of {train.batch} in {train.accumulate} parts",
                do="raise the batch" if train.accumulate == 1 else "lower --accumulate",
            )
        return cls(train.batch, parts, fabric.global_rank, fabric.world_size)

    def rows(self, part: int) -> slice:
        """Rows of the part-th forward pass of a step.

        >>> [Share(8, 4, rank, 2).rows(part) for part in (0, 1) for rank in (0, 1)][1:3]
        [slice(2, 4, None), slice(4, 6, None)]
        """
        size = self.batch // self.parts
        first = (part * self.processes + self.rank) * size
        return slice(first, first + size)

    def tell(self, network: nn.Module, part: int) -> None:
        """Tell the layers that draw for the whole batch which rows are coming."""
        if self.parts > 1:
            rows = self.rows(part)
            for module in network.modules():
                if isinstance(module, ChannelDropout):
                    module.share = (rows.start, rows.stop - rows.start, self.batch)


def on_first(fabric: Fabric, call: Callable[[], Result]) -> Result:
    """Do something in the first process alone; its result reaches all of them.

    An error is raised in the first process, which speaks for all; the others end without a word.
    """
    if fabric.world_size == 1:
        return call()
    answer: tuple[bool, Any] = (False, None)
    problem: Exception | None = None
    if fabric.is_global_zero:
        try:
            answer = (True, call())
        except Exception as error:  # whatever it is, the others wait for an answer
            problem = error
    done, result = fabric.broadcast(answer)
    if not done:
        raise problem or SystemExit(0)
    return result


def gathered(fabric: Fabric, rows: list[Any]) -> list[Any]:
    """Rows of all processes, those of process 0 first."""
    if fabric.world_size == 1:
        return rows
    everyone: list[Any] = [None] * fabric.world_size
    torch.distributed.all_gather_object(everyone, rows)
    return [row for part in everyone for row in part]


def share_of(fabric: Fabric, engine: Engine, items: list[Any]) -> list[Any]:
    """The items that this process works on; under FSDP all of them, since each pass needs every process."""
    if engine.strategy == "fsdp":
        return items
    return items[fabric.global_rank :: fabric.world_size]
