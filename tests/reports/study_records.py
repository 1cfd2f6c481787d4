"""Records that answer a study, made of one tiny run: its scores under another name."""

from medseg.data.catalog import DATASETS
from medseg.studies.fitted import fitted_to


def as_result(record, study, cell, seed, dice_plus=0.0):
    """The record as if it were of a cell and seed of a study at profile colab, each Dice moved a little."""
    config = fitted_to(study.config(study.choose([cell])[0], seed, "colab"), DATASETS[study.dataset])
    identity = record.identity.model_copy(update={"cell": cell, "seed": seed, "study": study.name})
    place = record.columns.index("dice")
    moved = {
        part: tuple(
            (*r[:place], None if r[place] is None else r[place] + dice_plus, *r[place + 1 :]) for r in rows
        )
        for part, rows in record.per_case.items()
    }
    return record.model_copy(update={"identity": identity, "config": config, "per_case": moved})
