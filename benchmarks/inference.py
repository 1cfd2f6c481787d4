"""Whole-volume inference: batches under autocast against one pair of slices at a time in float32.

The network is the same: ViT-Ti and UPerNet as in profile `colab`, 5 slices, or that of a finished run.
"""

import statistics

import torch

from benchmarks.measure import Aim, Options, Row, median_seconds
from benchmarks.subject import subject
from medseg.config import ModelConfig, resolve
from medseg.data.cases import load_case
from medseg.inference.slice_windows import BATCH, predict
from medseg.segmenter import Segmenter, build
from medseg.training.precision import PLANS, plan
from medseg.training.run_folder import load_model

NAME = "inference"
PAIR = 2


def run(options: Options) -> list[Row]:
    segmenter, model = _network(options)
    repeats = 1 if options.quick else 5
    with subject(options.quick) as (card, cases, _):
        case = load_case(cases[0], card)
    image = case.image[:, :3] if options.quick else case.image
    chosen = plan()
    labels = {}

    def way(batch: int, choice: str) -> None:
        labels[batch, choice] = predict(segmenter, image, model, PLANS[choice], batch)

    seconds = median_seconds(
        {
            "pairs": lambda _: way(PAIR, "fp32"),
            "ours": lambda _: way(BATCH, chosen.choice),
            "batched": lambda _: way(BATCH, "fp32"),
            "autocast": lambda _: way(PAIR, chosen.choice),
        },
        repeats,
    )
    rate = {name: image.shape[1] / value for name, value in seconds.items()}
    equal = labels[PAIR, "fp32"] == labels[BATCH, chosen.choice]
    trained = f"network of {options.run.name}" if options.run else "untrained, says little: see --run"
    where = (
        f"{model.encoder}, {model.image_px} px, {image.shape[1]} slices, {torch.get_num_threads()} threads"
    )
    return [
        Row(NAME, f"batches of {BATCH} in {chosen.choice} against pairs in fp32", "slices/s",
            rate["pairs"], rate["ours"], Aim("ratio", ">=", 1.5), where),
        Row(NAME, f"the batch alone: {BATCH} against {PAIR}, both fp32", "slices/s",
            rate["pairs"], rate["batched"]),
        Row(NAME, f"the format alone: {chosen.choice} against fp32, both pairs", "slices/s",
            rate["pairs"], rate["autocast"]),
        Row(NAME, "voxels with equal label in both", "share", 1.0, statistics.fmean(equal.ravel().tolist()),
            note=trained),
    ]  # fmt: skip


def _network(options: Options) -> tuple[Segmenter, ModelConfig]:
    if options.run is not None:
        segmenter, run = load_model(options.run)
        return segmenter, run.config.model
    changes: dict[str, object] = {"weights": None}
    if options.quick:
        changes |= {"image_px": 64, "decoder_channels": 16}
    model = resolve("colab", {"model": changes}).model
    return build(model, seed=1)[0].eval(), model
