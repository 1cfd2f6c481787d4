"""Whole-volume inference: batches under autocast against plain loops in float32.

On a case of the data set: against pairs of slices, with the network of profile `colab` (ViT-Ti and UPerNet,
5 slices) or that of a finished run. On a volume of the size of a scan: against one window at a time, resized
by torch's own interpolation, all logits kept until the end. On a GPU also on one of 512 x 512 x 126, against
the time that the FLOPs of encoder and decoder take as products of large matrices.
"""

import statistics

import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.measure import Aim, Options, Row, median_seconds
from benchmarks.subject import subject
from benchmarks.training import matmul_rate
from medseg.config import ModelConfig, resolve
from medseg.data.cases import load_case
from medseg.data.windows import cut
from medseg.inference.slice_windows import BATCH, predict, window_centers
from medseg.runtime import device_kind
from medseg.segmenter import Segmenter, build, measure_size
from medseg.training.precision import PLANS, plan
from medseg.training.run_folder import load_model

NAME = "inference"
PAIR = 2
# D H W of the volume that has the size of a scan, and the networks' image sizes on it.
SCAN, SCAN_PX = (40, 256, 256), (160, 224)
QUICK_SCAN, QUICK_SCAN_PX = (3, 64, 64), (64,)
# A volume of BCV, and the encoder of the paper's size.
LARGE, LARGEST = (126, 512, 512), "vit_base_patch16_224"


def run(options: Options) -> list[Row]:
    segmenter, model = _network(options)
    with subject(options.quick) as (card, cases, _):
        case = load_case(cases[0], card)
    rows = _case_rows(options, segmenter, model, case.image) + _scan_rows(options, case.image)
    return rows + ([_products_row(case.image)] if device_kind() == "cuda" else [])


def _case_rows(options: Options, segmenter: Segmenter, model: ModelConfig, image: Tensor) -> list[Row]:
    repeats = 1 if options.quick else 5
    image = image[:, :3] if options.quick else image
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


def _scan_rows(options: Options, image: Tensor) -> list[Row]:
    """The case enlarged to the size of a scan, at one row an image size."""
    scan = enlarged(image, QUICK_SCAN if options.quick else SCAN)
    return [_scan_row(options, scan, px) for px in (QUICK_SCAN_PX if options.quick else SCAN_PX)]


def _scan_row(options: Options, scan: Tensor, px: int) -> Row:
    model = resolve("colab", {"model": {"weights": None, "image_px": px}}).model
    segmenter = build(model, seed=1)[0].to(device_kind()).eval()
    seconds = median_seconds(
        {
            "loop": lambda _: one_at_a_time(segmenter, scan, model),
            "ours": lambda _: predict(segmenter, scan, model),
        },
        repeats=1 if options.quick else 5,
    )
    rate = {name: scan.shape[1] / value for name, value in seconds.items()}
    shape = " x ".join(map(str, scan.shape[1:]))
    return Row(
        NAME, f"volume of {shape} at {px} px: batches of {BATCH} against one window at a time", "slices/s",
        rate["loop"], rate["ours"], Aim("ratio", ">=", 1.5),
        f"{plan('auto', segmenter).choice} against fp32, {torch.get_num_threads()} threads",
    )  # fmt: skip


def _products_row(image: Tensor) -> Row:
    """A CT of the size of BCV's under TransSeg's network, against its FLOPs at the card's own rate."""
    model = resolve("full", {"model": {"encoder": LARGEST, "weights": None, "image_px": LARGE[-1]}}).model
    segmenter, scan = build(model, seed=1)[0].to(device_kind()).eval(), enlarged(image, LARGE)
    chosen = plan("auto", segmenter)
    seconds = median_seconds({"ours": lambda _: predict(segmenter, scan, model, chosen)}, repeats=3)["ours"]
    flops = len(window_centers("center", model.slices, LARGE[0])) * measure_size(model).flops
    rate = matmul_rate(chosen.dtype, device_kind(), n=8192)
    return products_row(seconds, flops, rate, f"{torch.cuda.get_device_name()}, {chosen.choice}")


def products_row(seconds: float, flops: int, rate: float, card: str) -> Row:
    """Measured seconds of a volume against those that its FLOPs take at a rate in FLOP/s."""
    what = f"volume of {' x '.join(map(str, LARGE))}, {LARGEST}: against its FLOPs as products of matrices"
    return Row(NAME, what, "s", flops / rate, seconds, Aim("ratio", "<=", 1.5), card)


def enlarged(image: Tensor, shape: tuple[int, int, int]) -> Tensor:
    """The image (C, D, H, W) at another size."""
    return functional.interpolate(image[None], size=shape, mode="trilinear", align_corners=False)[0]


def one_at_a_time(segmenter: Segmenter, image: Tensor, model: ModelConfig) -> Tensor:
    """Class numbers (D, H, W): a window after the other, without any of the package's inference."""
    size, native, votes = (model.image_px, model.image_px), image.shape[2:], []
    device = next(segmenter.parameters()).device
    with torch.inference_mode():
        for d in range(image.shape[1]):
            slices = cut(image, d, model.slices).transpose(0, 1)
            window = functional.interpolate(slices, size=size, mode="bilinear", align_corners=False)
            logits = segmenter(window.transpose(0, 1)[None].to(device))
            votes.append(functional.interpolate(logits, size=native, mode="bilinear", antialias=True))
    return torch.cat(votes).argmax(1).cpu()


def _network(options: Options) -> tuple[Segmenter, ModelConfig]:
    if options.run is not None:
        segmenter, run = load_model(options.run)
        return segmenter, run.config.model
    changes: dict[str, object] = {"weights": None}
    if options.quick:
        changes |= {"image_px": 64, "decoder_channels": 16}
    model = resolve("colab", {"model": changes}).model
    return build(model, seed=1)[0].to(device_kind()).eval(), model
