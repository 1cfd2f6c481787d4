"""Batch norm over the windows of all processes: several processes see the statistics that one would.

torch.nn.SyncBatchNorm does this on GPUs alone; this one works on every backend, so CPU tests cover it.
"""

from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm


class _Sum(torch.autograd.Function):
    """Sum over processes; going back, so is the gradient."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        total = values.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].contiguous().clone()
        distributed.all_reduce(total)
        return total


class SyncedBatchNorm(_BatchNorm):
    """Batch norm (Ioffe and Szegedy 2015) with mean and variance over all processes while training."""

    def _check_input_dim(self, input: Tensor) -> None:
        """Any (B, C, ...) is taken."""

    def forward(self, features: Tensor) -> Tensor:
        """Normalised features, in the type that came in; statistics are computed in float32 or wider."""
        if not self.training:
            return super().forward(features)
        assert self.running_mean is not None and self.running_var is not None
        assert self.num_batches_tracked is not None and self.momentum is not None
        axes = [0, *range(2, features.ndim)]
        shape = (1, -1, *[1] * (features.ndim - 2))
        wide = features.to(torch.promote_types(features.dtype, torch.float32))
        n = distributed.get_world_size() * features.numel() // features.shape[1]
        mean = _Sum.apply(wide.sum(axes)) / n
        centred = wide - mean.view(shape)
        # Two passes: a mean of squares minus a squared mean loses digits.
        variance = _Sum.apply(centred.square().sum(axes)) / n
        with torch.no_grad():
            self.num_batches_tracked += 1
            self.running_mean.lerp_(mean, self.momentum)
            self.running_var.lerp_(variance * (n / max(1, n - 1)), self.momentum)
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return (centred * scale.view(shape) + self.bias.view(shape)).to(features.dtype)


def synchronised(network: nn.Module) -> nn.Module:
    """The network with every batch norm that trains replaced; parameters and buffers are the same objects.

    A frozen one keeps its statistics (medseg.tuning): there is nothing to synchronise.
    """
    for name, child in network.named_children():
        trains = all(parameter.requires_grad for parameter in child.parameters(recurse=False))
        if isinstance(child, _BatchNorm) and not isinstance(child, SyncedBatchNorm) and trains:
            twin = SyncedBatchNorm(child.num_features, child.eps, child.momentum)
            twin.weight, twin.bias = child.weight, child.bias
            for buffer, value in child.named_buffers():
                setattr(twin, buffer, value)
            twin.train(child.training)
            setattr(network, name, twin)
        else:
            synchronised(child)
    return network
