"""The ways from 2D to 3D side by side: which tokens meet, what a prediction sees of its neighbours, cost."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from matplotlib.colors import ListedColormap, LogNorm
from matplotlib.figure import Figure
from torch import Tensor, nn

from medseg.config import ModelConfig
from medseg.data.catalog import DATASETS
from medseg.data.transforms import RESIZE_ONLY, resample
from medseg.data.windows import cut
from medseg.encoders.registry import make
from medseg.encoders.timm_encoder import TimmEncoder
from medseg.encoders.volume_tokens import VolumeTokens
from medseg.inference.slice_windows import window_centers
from medseg.records.schema import Record
from medseg.segmenter import Segmenter, measure_size
from medseg.shapes import CHANNEL, DEPTH, Windows
from medseg.studies.fitted import fitted_to
from medseg.studies.schedule import answering
from medseg.studies.study import Study

# Going back costs about two forward passes: one for the gradient of the weights, one for that of the input.
PASSES_A_STEP = 3
NOT_MET, MET, ASKING = range(3)
COLOURS = ListedColormap(["whitesmoke", "tab:blue", "tab:orange"])


class _Equal(nn.Module):
    """A block that gives all tokens of a sequence the same weight."""

    def forward(self, tokens: Tensor) -> Tensor:
        return tokens.mean(1, keepdim=True).repeat(1, tokens.shape[1], 1)


def attended(encoder: VolumeTokens, block: int, row: int, column: int) -> np.ndarray:
    """Which patch tokens (slices, rows, columns) one token of the centre slice attends over in one block.

    Read off the encoder's own code: every token carries its number as a one-hot vector, the block is
    replaced by one that mixes all it is given, and what arrives at the token is who was there.

    Args:
        encoder: its weights have no part in it.
        block: number from 0.
        row: of the token that asks.
        column: of the token that asks.
    """
    trunk: Any = encoder.plane.trunk
    prefix, (height, width) = trunk.num_prefix_tokens, trunk.patch_embed.grid_size
    in_slice = prefix + height * width
    numbers = torch.eye(encoder.slices * in_slice).view(1, encoder.slices, in_slice, -1)
    with torch.no_grad():
        mixed = encoder._attend(_Equal(), numbers, block)
    met = mixed[0, encoder.slices // 2, prefix + row * width + column] > 0
    return met.view(encoder.slices, in_slice)[:, prefix:].unflatten(1, (height, width)).numpy()


def embedded(encoder: TimmEncoder, row: int, column: int) -> np.ndarray:
    """Which patches of pixels (slices, rows, columns) go into one token, by the kernel that is there now.

    Args:
        encoder: a plain ViT; where its kernel is zero on a slice, that slice does not count.
        row: of the token.
        column: of the token.
    """
    embedding = encoder.trunk.patch_embed
    kernel = embedding.proj.weight.unflatten(1, (encoder.in_channels, encoder.slices))
    met = np.zeros((encoder.slices, *embedding.grid_size), bool)
    met[:, row, column] = (kernel != 0).flatten(3).any(3).any(1).any(0).numpy()
    return met


def sequences(model: ModelConfig) -> list[tuple[int, int]]:
    """What every block of a ViT is given for one window: number of sequences, tokens of each.

    Recorded while a window without numbers passes through, class tokens included; empty for a network that is
    no plain stack of blocks.
    """
    found: list[tuple[int, int]] = []
    with torch.device("meta"), torch.no_grad():
        encoder: Any = make(
            model.encoder, model.in_channels, model.slices, model.image_px, model.taps, model.mixing
        )
        trunk = encoder.plane.trunk if isinstance(encoder, VolumeTokens) else encoder.trunk
        for block in getattr(trunk, "blocks", ()):
            block.register_forward_pre_hook(lambda _, given: found.append(tuple(given[0].shape[:2])))
        encoder(torch.empty(1, model.in_channels, model.slices, model.image_px, model.image_px))
    return found


def window_of(image: Tensor, centre: int, model: ModelConfig) -> Windows:
    """The window (1, C, slices, px, px) that a network sees around a slice of a volume (C, D, H, W)."""
    return resample(cut(image, centre, model.slices, model.stride), RESIZE_ONLY, model.image_px)[None]


def neighbour_response(
    segmenter: Segmenter, model: ModelConfig, image: Tensor, centre: int, reach: int = 2
) -> dict[int, float]:
    """How far one voxel of a slice moves the logits of the centre slice.

    The voxel in the middle of the plane is raised by 1, half the range of intensities.

    Args:
        segmenter: in evaluation mode.
        model: gives the window.
        image: normalised volume (C, D, H, W).
        centre: number of the slice that is predicted.
        reach: slices to each side that are asked.

    Returns:
        Offset of the slice to the largest change as a share of the largest logit; NaN where the slice is not
        in the window.
    """
    window, middle, place = window_of(image, centre, model), model.slices // 2, model.image_px // 2

    def predicted(windows: Tensor) -> Tensor:
        with torch.no_grad():
            logits = segmenter(windows)
        return logits[:, :, middle] if segmenter.target == "all" else logits

    before, moved = predicted(window), {}
    for offset in range(-reach, reach + 1):
        moved[offset] = float("nan")
        if abs(offset) <= middle:
            changed = window.clone()
            changed.select(DEPTH, middle + offset).select(CHANNEL, 0)[:, place, place] += 1
            moved[offset] = float((predicted(changed) - before).abs().max() / before.abs().max())
    return moved


def cost_table(study: Study, profile: str, than: str, n_slices: int) -> pd.DataFrame:
    """What every cell costs, by count: parameters, tokens, and FLOPs (one multiply-add = 2).

    Args:
        study: its cells are the rows.
        profile: of the configurations.
        than: name of the cell that is 1 in the last column.
        n_slices: depth of the volume that the FLOPs for each predicted slice are counted on.
    """
    rows: dict[str, dict[str, Any]] = {}
    for cell in study.cells:
        config = fitted_to(study.config(cell, study.seeds[0], profile), DATASETS[study.dataset])
        size, given = measure_size(config.model), sequences(config.model)
        windows = len(window_centers(config.model.target, config.model.slices, n_slices))
        trained = PASSES_A_STEP * size.flops * config.train.batch * config.train.steps
        rows[cell.cell] = {
            "model": cell.title,
            "M parameters": size.parameters / 1e6,
            "tokens": given[0][0] * given[0][1] if given else float("nan"),
            "GFLOP encoder": size.flops_per_part["encoder"] / 1e9,
            "GFLOP window": size.flops / 1e9,
            "windows a slice": windows / n_slices,
            "GFLOP a slice": size.flops * windows / n_slices / 1e9,
            "TFLOP training": trained / 1e12,
        }
    for row in rows.values():
        row["times"] = row["GFLOP a slice"] / rows[than]["GFLOP a slice"]
    return pd.DataFrame(list(rows.values())).set_index("model")


def meeting_figure(panels: Mapping[str, np.ndarray], row: int, column: int) -> Figure:
    """Token volumes (slices, rows, columns) as rows of slices: who meets (blue) the token that asks (orange).

    A volume of fewer slices stands in the middle.
    """
    most = max(len(met) for met in panels.values())
    figure, axes = plt.subplots(len(panels), most, figsize=(most + 2.2, len(panels)))
    for line, (title, met) in zip(axes, panels.items(), strict=True):
        first = (most - len(met)) // 2
        line[0].text(-0.15, 0.5, title, ha="right", va="center", transform=line[0].transAxes)
        for position, axis in enumerate(line):
            axis.set(xticks=[], yticks=[])
            if not 0 <= position - first < len(met):
                axis.axis("off")
                continue
            drawn = np.where(met[position - first], MET, NOT_MET)
            if position == most // 2:
                drawn[row, column] = ASKING
            axis.pcolormesh(drawn, cmap=COLOURS, vmin=NOT_MET, vmax=ASKING, edgecolors="w", linewidth=0.2)
            axis.set_aspect("equal")
    for offset, axis in enumerate(axes[0], start=-(most // 2)):
        axis.set_title(f"slice {offset:+d}" if offset else "centre", fontsize=9)
    figure.subplots_adjust(left=0.32, right=0.99, bottom=0.02, top=0.94)
    return figure


def response_figure(tables: Mapping[str, pd.DataFrame]) -> Figure:
    """Responses (rows: models, columns: offsets of slices) as coloured tables side by side.

    A zero stands as 0, without colour; what a model does not see is left empty.
    """
    figure, axes = plt.subplots(
        1, len(tables), figsize=(3 + 3.2 * len(tables), 3.2), layout="constrained", sharey=True
    )
    values = np.concatenate([table.to_numpy(float).ravel() for table in tables.values()])
    shown = values[values > 0]
    norm = LogNorm(shown.min(), shown.max())
    for axis, (title, table) in zip(np.atleast_1d(axes), tables.items(), strict=True):
        numbers = table.to_numpy(float)
        axis.imshow(np.where(numbers > 0, numbers, np.nan), norm=norm, cmap="Blues", aspect="auto")
        for (line, column), value in np.ndenumerate(numbers):
            if not np.isnan(value):
                dark = value > 0 and norm(value) > 0.6
                text = f"{value:.0e}" if value else "0"
                axis.text(
                    column, line, text, ha="center", va="center", fontsize=8, color="w" if dark else "k"
                )
        axis.set_xticks(
            range(len(table.columns)), [f"{offset:+d}" if offset else "0" for offset in table.columns]
        )
        axis.set_yticks(range(len(table)), table.index)
        axis.set(title=title, xlabel="slice of the voxel, from the centre")
    return figure


def readings_figure(study: Study, records: Sequence[Record], profile: str) -> Figure:
    """Training loss of every cell, first record: by steps, and by FLOPs that the steps took."""
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.2), layout="constrained", sharey=True)
    kept = answering(study, records, profile)
    for position, cell in enumerate(study.cells):
        runs = [r for r in kept if r.identity.cell == cell.cell and r.curve]
        if runs:
            steps, losses = np.array(runs[0].curve).T
            # 1 GMAC is 2 GFLOP.
            tflop = steps * runs[0].protocol.batch * PASSES_A_STEP * 2 * runs[0].model.gmac / 1e3
            axes[0].plot(steps, losses, color=f"C{position}", label=cell.title)
            axes[1].plot(tflop, losses, color=f"C{position}")
    axes[0].set(xlabel="training step", ylabel="Dice + focal loss")
    axes[1].set_xlabel("TFLOP of the steps so far, by count")
    if axes[0].lines:
        figure.legend(fontsize=8, loc="outside lower center", ncols=3)
        return figure
    for axis in axes:
        axis.set(xticks=[], yticks=[])
        axis.text(0.5, 0.5, "not run", ha="center", transform=axis.transAxes)
    return figure
