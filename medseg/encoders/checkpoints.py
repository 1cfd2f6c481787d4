"""Foreign weights: where they come from, their sha256, and a report of what was done with every key."""

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from medseg.config import Frozen
from medseg.errors import InputError
from medseg.files import sha256_of
from medseg.runtime import seed_for

Action = Literal["mapped", "inflated", "resized", "drawn", "skipped", "left over", "missing"]


class WeightsCard(Frozen):
    """One file of pre-trained weights."""

    file: str
    sha256: str
    encoder: str
    timm_name: str
    trained_on: str
    licence: str


WEIGHTS: dict[str, WeightsCard] = {
    "vit_tiny_augreg": WeightsCard(
        file="vit_tiny_patch16_224.augreg_in21k_ft_in1k.safetensors",
        sha256="3f1f07da5e1337265ac1eb0234d13841467caf730b3c4240bd3f98c49bc16a92",
        encoder="vit_tiny_patch16_224",
        timm_name="vit_tiny_patch16_224.augreg_in21k_ft_in1k",
        trained_on="ImageNet-21k, then ImageNet-1k, supervised",
        licence="Apache-2.0",
    ),
    "deit_tiny": WeightsCard(
        file="deit_tiny_patch16_224.fb_in1k.safetensors",
        sha256="b647d566cadf2698bc5a395e59eb285f71a8ddcf2f5afb6f02505e641cd4d3bd",
        encoder="deit_tiny_patch16_224",
        timm_name="deit_tiny_patch16_224.fb_in1k",
        trained_on="ImageNet-1k, supervised",
        licence="Apache-2.0",
    ),
}

# Random numbers in the place of a checkpoint: `smoke` walks the loading path with them. Never a result.
STAND_IN = "stand_in"


@dataclass(frozen=True)
class LoadReport:
    """What became of every key, and how much of the encoder was filled.

    Attributes:
        source: name of the weights.
        sha256: of the file; None for the stand-in.
        actions: key of the network (of the checkpoint for "skipped" and "left over") to action.
        coverage: share of the encoder's parameters that received values of the checkpoint; "drawn" counts
            as not received.
        drawn: share of the parameters that a rule drew anew on purpose.
    """

    source: str
    sha256: str | None
    actions: dict[str, Action]
    coverage: float
    drawn: float

    def counts(self) -> dict[str, int]:
        """Number of keys for each action."""
        return dict(sorted(Counter(self.actions.values()).items()))

    def require(self, coverage: float) -> "LoadReport":
        """Give the report back, or raise where less was filled than stated.

        Raises:
            InputError: keys are missing or left over, or coverage is below `coverage`.
        """
        odd = [key for key, action in self.actions.items() if action in ("missing", "left over")]
        if odd or self.coverage + self.drawn < coverage:
            raise InputError(
                f"weights {self.source!r} do not fit the encoder",
                expected=f"every key in its place, coverage at least {coverage:.3f}",
                got=f"coverage {self.coverage:.3f}; missing or left over: {', '.join(odd[:5]) or 'none'}",
                do="choose weights of this architecture, see medseg.encoders.checkpoints.WEIGHTS",
            )
        return self


def read_weights(name: str) -> tuple[dict[str, Tensor], WeightsCard]:
    """State dict and card of weights named in WEIGHTS.

    They are looked up as `$MEDSEG_WEIGHTS/<file>`; without that variable they are fetched from timm's
    place on the hub. Either way the sha256 must be the card's.

    Raises:
        InputError: unknown name, missing file, wrong sha256, or not a safetensors file.
    """
    if name not in WEIGHTS:
        raise InputError(
            "unknown weights", expected=" | ".join(WEIGHTS), got=name, do="choose one of the named weights"
        )
    card = WEIGHTS[name]
    path = _locate(card)
    found = sha256_of(path)
    if found != card.sha256:
        raise InputError(
            f"weights file {path.name} is not the one named {name!r}",
            expected=f"sha256 {card.sha256}",
            got=f"sha256 {found}",
            do="fetch the file again",
        )
    try:
        return load_file(path), card
    except SafetensorError as error:
        raise InputError(
            f"weights file {path.name} cannot be read",
            expected="safetensors",
            got=str(error),
            do="fetch it again",
        ) from error


def _locate(card: WeightsCard) -> Path:
    folder = os.environ.get("MEDSEG_WEIGHTS")
    if folder is None:
        return _fetch(card)
    path = Path(folder) / card.file
    if not path.is_file():
        raise InputError(
            "weights file is missing",
            expected=f"{card.file} in the folder that MEDSEG_WEIGHTS names",
            got="no such file",
            do="put it there, or unset MEDSEG_WEIGHTS to fetch it from the hub",
        )
    return path


def _fetch(card: WeightsCard) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(f"timm/{card.timm_name}", "model.safetensors"))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise InputError(
            f"weights {card.timm_name} could not be fetched",
            expected="an answer of the hub",
            got=type(error).__name__,
            do=f"set MEDSEG_WEIGHTS to a folder that holds {card.file}",
        ) from error


def stand_in_state(template: dict[str, Tensor]) -> dict[str, Tensor]:
    """Made-up weights with the keys and shapes of `template`, the same at every call."""
    generator = torch.Generator().manual_seed(seed_for(0, STAND_IN))
    return {
        key: torch.randn(value.shape, generator=generator) * 0.02
        + (1.0 if "norm" in key and "weight" in key else 0.0)
        for key, value in template.items()
    }
