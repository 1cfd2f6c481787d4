"""Med-Tuning's decoders and Swin-Unet's start for pages: counts of Table 8, grids, and what does not fit."""

import re
from collections.abc import Mapping, Sequence

import pandas as pd
import torch
from torch import Tensor, nn

from medseg.config import ModelConfig, TuningConfig
from medseg.models import config_of
from medseg.reports.med_adapter_views import PRINTED
from medseg.reports.papers import paper_table
from medseg.segmenter import count_parameters, unfilled

# Decoder and width of each row of Table 8, in its order.
TABLE_8 = {"med_upernet": 256, "med_unet": 384, "setr_mla": 128, "setr_naive": 256, "med_setr_pup": 384}
# The layer on the first tap (1x1 convolution, batch norm). The paper's network has it, and trains it, whoever
# decodes; ours is a part of the decoders that use it.
USE_FIRST_TAP = ("med_upernet", "med_unet")


def decoder_config(decoder: str, classes: int = 3) -> ModelConfig:
    """Med-Tuning's ViT-B with a decoder of TABLE_8 and Med-Adapter at alpha 4; one slice, to be looked at."""
    base = config_of("medtuning-vit-base-upernet")
    tuning = TuningConfig(
        method="med_adapter", options={"reduction": 4, "slices": 128}, also=base.tuning.also
    )
    changes = {"decoder": decoder, "decoder_channels": TABLE_8[decoder], "classes": classes, "slices": 1}
    return base.model_copy(update=changes | {"tuning": tuning})


def decoder_sizes(classes: int = 3) -> pd.DataFrame:
    """Table 8 in millions of parameters, ours beside the printed: without the adapters, and with them.

    Args:
        classes: of the network; with 3 the printed counts come out, BraTS has 4.
    """
    with torch.device("meta"):
        upernet = unfilled(decoder_config("med_upernet", classes)).parts["decoder"]
    first_tap, rows = count_parameters(upernet.get_submodule("narrow")), {}
    for decoder, (_, printed) in zip(TABLE_8, paper_table(PRINTED).loc[8].iterrows(), strict=True):
        with torch.device("meta"):
            segmenter = unfilled(decoder_config(decoder, classes))
        own = count_parameters(segmenter.parts["decoder"])
        always = count_parameters(segmenter.parts["encoder"], trainable_only=True)
        always += 0 if decoder in USE_FIRST_TAP else first_tap
        inserted = count_parameters(segmenter.get_submodule("adapter"))
        rows[printed.setting.split(" (")[0]] = {
            "decoder": decoder,
            "decoder itself": own / 1e6,
            "with positions, norm, first tap": (own + always) / 1e6,
            "decoder, paper": printed.inserted_or_decoder_M,
            "tuned": (own + always + inserted) / 1e6,
            "tuned, paper": printed.tuned_M,
        }
    return pd.DataFrame(rows).T.infer_objects().rename_axis("row of the paper")


def parameters_by_edge(config: ModelConfig) -> dict[int, int]:
    """Edge of a square map to the number of the decoder's parameters in layers that give maps of it.

    The last key is the edge of the logits, which are then resized to the image.
    """
    edges: dict[nn.Module, int] = {}

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        # B C h w, or B h w C where a layer norm has channels last: h or w, and both are the same.
        edges[module] = output.shape[2]

    with torch.device("meta"):
        segmenter = unfilled(config).eval()
        for module in segmenter.parts["decoder"].modules():
            if list(module.parameters(recurse=False)):
                module.register_forward_hook(note)
        with torch.no_grad():
            segmenter(torch.empty(1, config.in_channels, config.slices, config.image_px, config.image_px))
    counts = dict.fromkeys(sorted(set(edges.values())), 0)
    for module, edge in edges.items():
        counts[edge] += sum(p.numel() for p in module.parameters(recurse=False))
    return counts


def misfits(published: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> pd.DataFrame:
    """What of published weights does not fit a network as it is: shapes of both, keys and numbers, by kind.

    Args:
        published: state of the network that the weights were made for; shapes are enough.
        own: state of the network to be filled, with the same names.

    Returns:
        One row a kind of key: numbers of blocks and stages left out of its name.
    """
    kinds: dict[str, list[tuple[Tensor, Tensor | None]]] = {}
    for key, theirs in published.items():
        ours = own.get(key)
        if ours is None or ours.shape != theirs.shape:
            kind = "not in the network" if ours is None else re.sub(r"\.\d+", ".*", key)
            kinds.setdefault(kind, []).append((theirs, ours))
    rows = {
        kind: {
            "published": _shapes([theirs for theirs, ours in pairs if ours is not None]),
            "here": _shapes([ours for _, ours in pairs if ours is not None]),
            "keys": len(pairs),
            "numbers": sum((theirs if ours is None else ours).numel() for theirs, ours in pairs),
        }
        for kind, pairs in kinds.items()
    }
    return pd.DataFrame(rows).T.rename_axis("key")


def _shapes(tensors: Sequence[Tensor]) -> str:
    """Edges of tensors of one rank: a number, or from which to which."""
    sizes = [sorted(set(size)) for size in zip(*(tensor.shape for tensor in tensors), strict=True)]
    return " x ".join(f"{size[0]}" if len(size) == 1 else f"{size[0]} to {size[-1]}" for size in sizes)
