"""Why a run cannot start on this machine: weights or data that are not at hand. Without torch."""

import os
from pathlib import Path

from medseg.config import RunConfig
from medseg.data.download import VARIABLE
from medseg.encoders.sources import WEIGHTS


def lacks_weights(config: RunConfig) -> str | None:
    """The weights file that a run needs and that the folder of MEDSEG_WEIGHTS does not hold, in words.

    None where nothing is missing, and where no folder is named: then the file may still be fetched.
    """
    folder, card = os.environ.get("MEDSEG_WEIGHTS"), WEIGHTS.get(config.model.weights or "")
    if folder is None or card is None or (Path(folder) / card.file).is_file():
        return None
    return f"weights not at hand: {card.file}"


def lacks_data(config: RunConfig) -> str | None:
    """The data set that a run needs and that the folder of MEDSEG_DATA does not hold, in words, or None."""
    folder = os.environ.get(VARIABLE)
    if folder is None or (Path(folder) / config.data.name).is_dir():
        return None
    return f"data not at hand: {config.data.name}"
