"""Parameter-efficient tuning: small modules on the blocks of a frozen encoder, one file a method."""

from collections.abc import Callable
from functools import partial

from medseg.adapters.adaptformer import AdaptFormer
from medseg.adapters.bottleneck import Bottleneck
from medseg.adapters.contract import Adapter
from medseg.adapters.lora import LoRA
from medseg.adapters.med_adapter import MedAdapter
from medseg.adapters.pro_tuning import ProTuning
from medseg.adapters.prompts import Prompts
from medseg.adapters.st_adapter import STAdapter
from medseg.adapters.v_petl import VPETL

# METHODS[name](sites, **options): what Med-Tuning compares (Table 1), and LoRA and V-PETL.
METHODS: dict[str, Callable[..., Adapter]] = {
    "vpt_shallow": partial(Prompts, deep=False),
    "vpt_deep": Prompts,
    "bottleneck": Bottleneck,
    "adaptformer": AdaptFormer,
    "pro_tuning": ProTuning,
    "st_adapter": STAdapter,
    "lora": LoRA,
    "v_petl": VPETL,
    "med_adapter": MedAdapter,
}
