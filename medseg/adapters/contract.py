"""What every adapter keeps to: attached to the blocks of an encoder, and taken off again.

The encoder is not changed: its modules, its keys and its weights stay as they are. An adapter looks at what
goes into and comes out of modules, by torch's hooks, and holds its own parameters alone.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import nn
from torch.utils.hooks import RemovableHandle

from medseg.encoders.sites import Site
from medseg.errors import InputError


class Adapter(nn.Module, ABC):
    """Own parameters, and hooks on the blocks of one encoder.

    Args:
        sites: blocks of the encoder, in the order of the forward pass.

    Attributes:
        identity_at_start: whether the encoder gives the same maps with a fresh adapter as without it.
    """

    identity_at_start: bool = False

    def __init__(self, sites: Sequence[Site]):
        super().__init__()
        # A tuple is no submodule: the blocks stay the encoder's.
        self.sites = tuple(sites)
        self._handles: list[RemovableHandle] = []

    def attach(self) -> None:
        """Have the encoder's forward pass go through the adapter; a second call changes nothing."""
        if not self._handles:
            self._handles = self.hooks()

    def detach(self) -> None:
        """Give the encoder back as it was."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    @abstractmethod
    def hooks(self) -> list[RemovableHandle]:
        """Register the hooks on the sites, and return their handles."""

    def merge(self) -> None:
        """Write the adapter into the encoder's weights, and detach: the same function, no extra cost.

        Raises:
            InputError: the algebra does not allow it for this method.
        """
        raise InputError(
            "this adapter cannot be merged into the weights",
            expected="a method that adds to a weight matrix, such as lora",
            got=type(self).__name__,
            do="keep the adapter attached",
        )


def check_positive(**options: int) -> None:
    """Refuse options of an adapter that are no whole numbers, or below 1.

    Raises:
        InputError: one is.
    """
    for name, value in options.items():
        if not isinstance(value, int) or value < 1:
            raise InputError(
                "there is no such adapter",
                expected=f"a whole number as {name}, 1 or more",
                got=str(value),
                do="leave it out for the value of the paper",
            )
