"""Parameters of Med-Tuning's networks: what its tables print, and what the modules here count."""

import pandas as pd
import torch

from medseg.config import ModelConfig
from medseg.models import config_of
from medseg.reports.med_adapter_views import size_table
from medseg.reports.papers import paper_table
from medseg.reports.tuning import PRINTED
from medseg.segmenter import count_parameters, unfilled
from medseg.studies.study import Study
from medseg.tuning import METHODS

# As Table 2 names them.
NETWORKS = {"ViT+UPerNet": "medtuning-vit-base-upernet", "Swin-UNet": "medtuning-swin-unet"}
COUNTS = ["inserted, paper", "inserted", "tuned, paper", "tuned"]
# Half a unit of the last printed digit, and the error of a float.
HALF_DIGIT = 0.0005 + 1e-9


def printed_counts(study: Study) -> pd.DataFrame:
    """Millions of parameters in Tables 1 to 6 of Med-Tuning, as printed and as counted here, without memory.

    Args:
        study: medtuning_methods, whose cells say what the rows of Tables 3 to 6 are.

    Returns:
        Rows by table, network and row of the paper; columns COUNTS and `agrees`: to the printed digits.
    """
    bases = {network: CountedNetwork(config_of(name)) for network, name in NETWORKS.items()}
    printed = {("1", "ViT+UPerNet"): paper_table("medtuning_t1_vit_upernet_brats")}
    kits = paper_table("medtuning_t2_kits19")
    printed |= {("2", network): kits.loc[network].set_index("method") for network in NETWORKS}
    parts = {}
    for (table, network), rows in printed.items():
        counted = pd.DataFrame([bases[network].millions(PRINTED[row]) for row in rows.index], rows.index)
        paper = rows.rename(columns={"tuned_M": "tuned, paper", "inserted_M": "inserted, paper"})
        parts[table, network] = counted.join(paper).reindex(columns=COUNTS)
    for number, rows in size_table(study).reindex(columns=COUNTS).groupby(level=0):
        parts[str(number), "Swin-UNet"] = rows.droplevel(0)
    found = pd.concat(parts, names=["table", "network", "row"])
    return found.assign(agrees=_agree(found, "inserted") & _agree(found, "tuned"))


class CountedNetwork:
    """A network of Med-Tuning without memory for its weights, and what its ways to tune add and train.

    Attributes:
        sites: the blocks of its encoder.
        whole: parameters without an adapter.
        head: those that train where nothing is inserted: decoder, and what the configuration names `also`.
    """

    def __init__(self, base: ModelConfig):
        head = base.model_copy(update={"tuning": base.tuning.model_copy(update={"method": "head"})})
        with torch.device("meta"):
            segmenter = unfilled(head)
        assert segmenter.encoder is not None
        self.sites = segmenter.encoder.sites()
        self.whole = count_parameters(segmenter)
        self.head = count_parameters(segmenter, trainable_only=True)

    def inserted(self, method: str) -> int:
        """Parameters of an adapter, key of METHODS."""
        with torch.device("meta"):
            return count_parameters(METHODS[method](self.sites))

    def millions(self, method: str) -> dict[str, float]:
        """Inserted and tuned; nothing is inserted where the head or all trains, from scratch or not."""
        if method not in METHODS:
            return {"tuned": (self.head if method == "head" else self.whole) / 1e6}
        inserted = self.inserted(method)
        return {"inserted": inserted / 1e6, "tuned": (self.head + inserted) / 1e6}


def _agree(found: pd.DataFrame, what: str) -> pd.Series:
    return ~((found[what] - found[f"{what}, paper"]).abs() > HALF_DIGIT)
