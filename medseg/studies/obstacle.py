"""Why a run cannot start on this machine: weights or data that are not at hand. Without torch."""

import os
from pathlib import Path

from medseg.config import RunConfig
from medseg.data.download import VARIABLE
from medseg.encoders.sources import WEIGHTS, stated_sha256


def lacks_weights(config: RunConfig) -> str | None:
    """Why the weights file that a run needs cannot be read, in words, or None.

    Where MEDSEG_WEIGHTS names a folder the file has to be in it. Where it names none the file may be fetched,
    if its sha256 is known.
    """
    folder, card = os.environ.get("MEDSEG_WEIGHTS"), WEIGHTS.get(config.model.weights or "")
    if card is None:
        return None
    if folder is not None and not (Path(folder) / card.file).is_file():
        return f"weights not at hand: {card.file}"
    if stated_sha256(config.model.weights):
        return None
    return (
        f"no sha256 stated: {card.file}"
        if folder
        else f"weights not at hand, and no sha256 stated: {card.file}"
    )


def lacks_data(config: RunConfig) -> str | None:
    """The data set that a run needs and that the folder of MEDSEG_DATA does not hold, in words, or None."""
    folder = os.environ.get(VARIABLE)
    if folder is None or (Path(folder) / config.data.name).is_dir():
        return None
    return f"data not at hand: {config.data.name}"
