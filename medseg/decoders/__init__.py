"""Feature maps in, logits out: DECODERS(in_channels, channels, classes)."""

from collections.abc import Callable, Sequence

from torch import nn

from medseg.decoders.upernet import UPerNet

DECODERS: dict[str, Callable[[Sequence[int], int, int], nn.Module]] = {"upernet": UPerNet}
