"""One of two gloo processes (`two_norms.py RANK FOLDER`): batch norm over the rows of both, to a file."""

import sys
from pathlib import Path

import torch
from torch import distributed, nn

from medseg.training.sync_norm import synchronised

STEPS, CHANNELS, ROWS = 3, 5, 4


def network(axes: int) -> nn.Module:
    """A norm on the way, so that its gradient goes on to a layer before it."""
    kernel, norm = {4: (nn.Conv2d, nn.BatchNorm2d), 5: (nn.Conv3d, nn.BatchNorm3d)}[axes]
    torch.manual_seed(axes)
    layers = nn.Sequential(kernel(2, CHANNELS, 1), norm(CHANNELS), nn.GELU(), norm(CHANNELS))
    nn.init.normal_(layers[1].weight)
    nn.init.normal_(layers[1].bias)
    return layers.double()


def batch(axes: int, step: int) -> torch.Tensor:
    """Rows of all processes, with a mean far from zero."""
    generator = torch.Generator().manual_seed(100 * axes + step)
    return 20 + torch.randn(ROWS, 2, *range(3, 1 + axes), generator=generator, dtype=torch.float64)


def trained(layers: nn.Module, axes: int, rows: slice) -> dict[str, torch.Tensor]:
    """Outputs, input gradients, summed parameter gradients and buffers after some steps, then evaluation."""
    found = {}
    for step in range(STEPS):
        values = batch(axes, step)[rows].requires_grad_()
        out = layers(values)
        # A loss that weights rows and channels unequally.
        (out * batch(axes, 50 + step)[rows].mean(1, keepdim=True)).square().sum().backward()
        found |= {f"out {step}": out.detach(), f"gradient {step}": values.grad}
    found |= {f"d {name}": p.grad for name, p in layers.named_parameters()}
    found |= {f"buffer {name}": value.clone() for name, value in layers.named_buffers()}
    found["evaluated"] = layers.eval()(batch(axes, 99)[rows]).detach()
    return found


if __name__ == "__main__":
    rank, folder = int(sys.argv[1]), Path(sys.argv[2])
    store = distributed.FileStore(str(folder / "store"), 2)
    distributed.init_process_group("gloo", store=store, rank=rank, world_size=2)
    rows = slice(0, ROWS // 2) if rank == 0 else slice(ROWS // 2, ROWS)
    results = {axes: trained(synchronised(network(axes)), axes, rows) for axes in (4, 5)}
    torch.save(results, folder / f"{rank}.pt")
    distributed.barrier()
    distributed.destroy_process_group()
