"""Ways to tune, read off the modules: where they act on a block, what they add and what they change."""

from collections.abc import Callable, Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from matplotlib.figure import Figure
from torch import Tensor, nn

from medseg.adapters.contract import Adapter
from medseg.adapters.temporal_spectrum import TemporalSpectrum
from medseg.config import ModelConfig
from medseg.encoders.contract import Encoder
from medseg.encoders.sites import Site
from medseg.errors import InputError
from medseg.segmenter import build, count_parameters
from medseg.shapes import DEPTH, Windows
from medseg.tuning import ADAPTER, tuned_state

# Where something can stand at a block, in the order of its forward pass: the module, and its side.
PLACES: dict[str, tuple[Callable[[Site], nn.Module], str]] = {
    "ahead of the block": (lambda site: site.block, "in"),
    "beside the projection to queries, keys and values": (lambda site: site.attention.qkv, "out"),
    "beside the perceptron": (lambda site: site.mlp, "out"),
    "behind the block": (lambda site: site.block, "out"),
}
STYLES = (("tab:orange", ">"), ("tab:green", "s"), ("tab:purple", "o"), ("tab:blue", "<"))


def stirred(adapter: Adapter, scale: float = 0.1, seed: int = 0) -> Adapter:
    """The adapter, with random numbers added to all of its parameters: in place of training."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.add_(scale * torch.randn(parameter.shape, generator=generator))
    return adapter


def acting(adapter: Adapter, encoder: Encoder, windows: Windows) -> set[tuple[int, str]]:
    """The places where an adapter changes what passes, by number of the block (from 0) and key of PLACES.

    What passes is compared ahead of the adapter's hooks and behind them, in one forward pass.

    Args:
        adapter: of this encoder, detached; one that starts as the identity changes nothing before `stirred`.
        encoder: in evaluation mode.
        windows: its input.
    """
    sites = encoder.sites()
    passed: dict[tuple[int, str], list[Tensor]] = {}

    def watch() -> list[torch.utils.hooks.RemovableHandle]:
        handles = []
        for key in ((number, place) for number in range(len(sites)) for place in PLACES):
            module_of, side = PLACES[key[1]]
            module = module_of(sites[key[0]])

            def note(*call: object, key: tuple[int, str] = key) -> None:
                value = call[-1][0] if isinstance(call[-1], tuple) else call[-1]
                assert isinstance(value, Tensor)
                passed.setdefault(key, []).append(value)

            add = module.register_forward_pre_hook if side == "in" else module.register_forward_hook
            handles.append(add(note))
        return handles

    first = watch()
    adapter.attach()
    second = watch()
    with torch.no_grad():
        encoder(windows)
    adapter.detach()
    for handle in first + second:
        handle.remove()
    return {key for key, (ahead, behind) in passed.items() if not torch.equal(ahead, behind)}


def places_figure(found: Mapping[str, set[tuple[int, str]]], sites: Sequence[Site]) -> Figure:
    """For every method (rows) and every block (columns) the places where it acts; lines where stages end."""
    figure, axes = plt.subplots(figsize=(9, 0.5 * len(found) + 1), layout="constrained")
    order = list(PLACES)
    for row, acts in enumerate(found.values()):
        for number, place in acts:
            at = number + (order.index(place) + 1) / (len(order) + 1)
            colour, marker = STYLES[order.index(place)]
            axes.plot(at, row, marker, color=colour, ms=6)
    for number, site in enumerate(sites):
        closes = site.closes_stage
        axes.axvline(number + 1, color="black" if closes else "lightgrey", lw=1.2 if closes else 0.6)
    for place, (colour, marker) in zip(order, STYLES, strict=True):
        axes.plot([], [], marker, color=colour, label=place)
    axes.set_xticks(np.arange(len(sites)) + 0.5, [str(number + 1) for number in range(len(sites))])
    axes.set_yticks(range(len(found)), list(found))
    axes.set(xlim=(0, len(sites)), ylim=(len(found) - 0.4, -0.6), xlabel="block; black lines close a stage")
    axes.tick_params(length=0)
    figure.legend(fontsize=8, loc="outside lower center", ncols=2)
    return figure


def facts_table(models: Mapping[str, ModelConfig], windows: Windows, seed: int) -> pd.DataFrame:
    """What each way to tune adds, and what it does to the maps of the last tap; nothing is trained.

    Args:
        models: title to a network whose slices are a batch of images; they differ in tuning alone.
        windows: input of the networks.
        seed: of the fresh parts.

    Returns:
        A row a network. `inserted` and `tuned in encoder` are numbers of parameters, the second with the
        first, `adapter MB` the size of these in a file, `file MB` that with the decoder. `off at start` is
        the largest difference to the encoder without adapter, relative to its largest value. The columns
        after it say in how many slices the map moves when the middle slice does, fresh and with stirred
        parameters. `merges` is empty for ways that insert nothing.
    """
    rows = {}
    for title, model in models.items():
        segmenter = build(model, seed)[0].eval()
        encoder, adapter = segmenter.encoder, dict(segmenter.named_children()).get(ADAPTER)
        assert encoder is not None
        inserted = count_parameters(adapter) if adapter else 0
        tuned = inserted + count_parameters(encoder, trainable_only=True)
        row = {
            "inserted": inserted,
            "tuned in encoder": tuned,
            "% of encoder": 100 * tuned / count_parameters(encoder),
            "adapter MB": sum(value.nbytes for value in tuned_state(segmenter, decoder=False).values()) / 1e6,
            "file MB": sum(value.nbytes for value in tuned_state(segmenter).values()) / 1e6,
            "off at start": 0.0,
            "moved, start": _moved(encoder, windows),
            "moved, later": _moved(encoder, windows),
            "merges": "",
        }
        if isinstance(adapter, Adapter):
            row |= {"off at start": _off(adapter, encoder, windows)}
            row |= {"moved, later": _moved(encoder, windows, stirred(adapter)), "merges": _merges(adapter)}
        rows[title] = row
    return pd.DataFrame(rows).T.infer_objects().rename_axis("way to tune")


def _last_map(encoder: Encoder, windows: Windows) -> Float[Tensor, "_slices _c _h _w"]:
    with torch.no_grad():
        return encoder(windows)[-1]


def _off(adapter: Adapter, encoder: Encoder, windows: Windows) -> float:
    fresh = _last_map(encoder, windows)
    adapter.detach()
    plain = _last_map(encoder, windows)
    adapter.attach()
    return float((fresh - plain).abs().max() / plain.abs().max())


def _moved(encoder: Encoder, windows: Windows, adapter: Adapter | None = None) -> int:
    """In how many slices of the first window the map moves beyond rounding when the middle one does."""
    slices = windows.shape[DEPTH]
    raised = windows.clone()
    raised.select(DEPTH, slices // 2).add_(0.5)
    before, after = _last_map(encoder, windows[:1]), _last_map(encoder, raised[:1])
    return int(((after - before).abs().amax((1, 2, 3)) > 1e-6 * before.abs().max()).sum())


def _merges(adapter: Adapter) -> str:
    try:
        adapter.merge()
    except InputError:
        return "no"
    return "yes"


def spectrum_figure(image_dhw: Float[np.ndarray, "_d _h _w"], weights: Mapping[str, Tensor]) -> Figure:
    """What the FFT branch of Med-Adapter gives for one volume: the weight over frequency, and a coronal cut.

    Args:
        image_dhw: axes D H W; it passes as the one channel of a token volume.
        weights: title to the weight of each frequency along depth, in the order of fft; the bias is zero.
    """
    depth, height = image_dhw.shape[:2]
    tokens = torch.from_numpy(np.ascontiguousarray(image_dhw)).float()[None, ..., None]
    frequencies = np.fft.fftshift(np.fft.fftfreq(depth))
    figure, axes = plt.subplots(
        2, len(weights), figsize=(2.2 * len(weights), 3.4), layout="constrained", height_ratios=[1, 1.6]
    )
    for column, (title, weight) in zip(axes.T, weights.items(), strict=True):
        branch = TemporalSpectrum(depth)
        with torch.no_grad():
            branch.weight.copy_(weight)
            branch.bias.zero_()
            cut = branch(tokens)[0, :, height // 2, :, 0].numpy()
        column[0].plot(frequencies, np.fft.fftshift(weight.numpy()), ".-")
        column[0].set(ylim=(-0.1, 1.1), xlabel="cycles a slice")
        column[0].set_title(title, fontsize=9)
        column[1].imshow(cut, cmap="gray", origin="lower", aspect="auto")
        column[1].set(xticks=[], yticks=[])
    axes[0, 0].set_ylabel("weight")
    axes[1, 0].set_ylabel("slices")
    return figure
