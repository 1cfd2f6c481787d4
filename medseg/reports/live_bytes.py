"""Bytes of the tensors that are alive at one time."""

import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import medseg.compat  # noqa: F401  isort: skip
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only


class LiveBytes(TorchDispatchMode):
    """Counts, while it is entered, every storage an operation returns until it is freed; on any device.

    Buffers inside one operation are not seen. Tensors that share a storage count once. It is the CPU's
    counterpart of `torch.cuda.max_memory_allocated`, and counts on the meta device too.

    >>> import torch
    >>> with LiveBytes([]) as live:
    ...     kept = torch.ones(1000)
    ...     del kept
    ...     kept = torch.ones(10)
    >>> live.now, live.peak
    (40, 4000)

    Args:
        before: tensors that are there already.

    Attributes:
        now, peak: bytes alive now, and at most so far.
    """

    def __init__(self, before: Iterable[Tensor]):
        super().__init__()
        self.now = self.peak = 0
        self._alive: set[int] = set()
        for tensor in before:
            self._see(tensor)

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Run one operation and see what it returns."""
        returned = func(*args, **(kwargs or {}))
        tree_map_only(Tensor, self._see, returned)
        return returned

    def _see(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self._alive:
            self._alive.add(key)
            self.now += size
            self.peak = max(self.peak, self.now)
            # A storage keeps its Python object as long as it lives.
            weakref.finalize(storage, self._free, key, size)

    def _free(self, key: int, size: int) -> None:
        self._alive.remove(key)
        self.now -= size
