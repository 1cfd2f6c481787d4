"""The configuration of a run on a data set: without torch, so that asking what is missing stays quick."""

from medseg.config import RunConfig
from medseg.data.catalog import DatasetCard


def fitted_to(config: RunConfig, card: DatasetCard) -> RunConfig:
    """The configuration with the data set's own name, channels and classes."""
    model = config.model.model_copy(update={"classes": len(card.labels), "in_channels": len(card.channels)})
    data = config.data.model_copy(update={"name": card.name})
    return config.model_copy(update={"model": model, "data": data})
