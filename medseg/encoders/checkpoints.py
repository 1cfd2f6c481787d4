"""Foreign weights: where they come from, their sha256, and a report of what was done with every key."""

import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from safetensors.torch import load_file
from torch import Tensor

from medseg.encoders.sources import SUMS, WEIGHTS, WeightsCard, stated_sha256
from medseg.errors import InputError
from medseg.files import sha256_of
from medseg.runtime import seed_for

Action = Literal["mapped", "inflated", "resized", "drawn", "skipped", "left over", "missing"]

# Random numbers in the place of a checkpoint: `smoke` walks the loading path with them. Never a result.
STAND_IN = "stand_in"
# The user's own statement of digests, in the folder of the weights.


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
        decoder: of the decoder, where its weights are copied from the filled encoder.
    """

    source: str
    sha256: str | None
    actions: dict[str, Action]
    coverage: float
    drawn: float
    decoder: "LoadReport | None" = None

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
                do="choose weights of this architecture, see medseg.encoders.sources.WEIGHTS",
            )
        return self


def read_weights(name: str) -> tuple[dict[str, Tensor], WeightsCard]:
    """State dict and card of weights named in WEIGHTS; the card given back holds the sha256.

    They are looked up as `$MEDSEG_WEIGHTS/<file>`; without that variable they are fetched from timm's
    place on the hub. Either way the sha256 must be the card's or the user's, see `stated_sha256`.

    Raises:
        InputError: unknown name, missing file, unknown or wrong sha256, or a file that cannot be read.
    """
    if name not in WEIGHTS:
        raise InputError(
            "unknown weights", expected=" | ".join(WEIGHTS), got=name, do="choose one of the named weights"
        )
    card, wanted = WEIGHTS[name], stated_sha256(name)
    if wanted is None:
        place = f"https://huggingface.co/timm/{card.timm_name}" if card.timm_name else "its authors"
        raise InputError(
            f"nobody has stated the sha256 of {card.file}",
            expected=f"a line `<sha256>  {card.file}` in {SUMS} of the folder that MEDSEG_WEIGHTS names",
            got="none",
            do=f"take the file from {place}, check it, then `sha256sum {card.file} >> {SUMS}` beside it",
        )
    path = _locate(card)
    found = sha256_of(path)
    if found != wanted:
        raise InputError(
            f"weights file {path.name} is not the one named {name!r}",
            expected=f"sha256 {wanted}",
            got=f"sha256 {found}",
            do="fetch the file again",
        )
    return _read(path), card if card.sha256 else card.model_copy(update={"sha256": wanted})


def _read(path: Path) -> dict[str, Tensor]:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
        # Releases wrap the state in one of these, beside the state of their training.
        for wrap in ("model", "state_dict", "module"):
            state = state.get(wrap, state)
        return {key: value for key, value in state.items() if isinstance(value, Tensor)}
    except Exception as error:  # torch.load raises many kinds, some without a message
        raise InputError(
            f"weights file {path.name} cannot be read",
            expected="safetensors, or a .pth that holds tensors alone",
            got=(str(error).splitlines() or [type(error).__name__])[0],
            do="fetch it again",
        ) from error


def _locate(card: WeightsCard) -> Path:
    folder = os.environ.get("MEDSEG_WEIGHTS")
    if folder is None and card.timm_name is not None:
        return _fetch(card)
    path = Path(folder or "") / card.file
    if folder is None or not path.is_file():
        raise InputError(
            "weights file is missing",
            expected=f"{card.file} in the folder that MEDSEG_WEIGHTS names",
            got="no such file" if folder else "MEDSEG_WEIGHTS is not set",
            do="put it there"
            + (", or unset MEDSEG_WEIGHTS to fetch it from the hub" if card.timm_name else ""),
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
        key: torch.randn(value.shape, generator=generator) * 0.02 + float(_is_scale(key))
        if value.is_floating_point()
        else torch.zeros(value.shape, dtype=value.dtype)
        for key, value in template.items()
    }


def _is_scale(key: str) -> bool:
    """Whether a value lies about one: the weight of a norm, a variance."""
    return ("norm" in key or "bn" in key) and key.endswith("weight") or key.endswith("running_var")
