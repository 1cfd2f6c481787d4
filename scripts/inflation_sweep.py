"""Lift every architecture of timm by its first layer and check the centre law; one CSV row each.

Law: the lifted network on five random slices gives what the 2D network gives on the gray centre slice in
three colours, on small images where the network allows them. The deviation is the largest difference over the
largest output. It holds up to 1e-4, where another slice moves the output by a hundred deviations and not only
by rounding. Networks have random numbers, in float32 or where that does not reach it in float64. Networks of
more than 2,000 million parameters, or of more than 1,000 million that need float64, are too large for 24 GB:
they are lifted without numbers, and only the shape of the output is compared.

    python scripts/inflation_sweep.py                  # goes on where it stopped
    python scripts/inflation_sweep.py --part 0/2       # every second architecture, in a file of its own
    python scripts/inflation_sweep.py --merge          # parts into one sorted file
"""

import argparse
import csv
import io
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import medseg.compat  # noqa: F401  isort: skip
import timm
import torch
from timm.models._registry import _model_to_module
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from medseg.files import write_atomic
from medseg.inflation.first_conv import lift
from medseg.runtime import generator_for, keep_freed_memory, seed_for

OUTPUT = Path(__file__).parents[1] / "book" / "_data" / "inflation_sweep.csv"
COLUMNS = ("name", "family", "parameters", "first_conv", "image_px", "dtype", "status", "reason", "deviation")
SIZES = (64, 96, 128, 192, 224, 256)
# Two copies take 16 GB: 2D and lifted, in float32, and where that does not reach the law in float64.
LARGEST = {torch.float32: 2_000_000_000, torch.float64: 1_000_000_000}
DEPTH, RULE = 5, "center"
TOLERANCE, CONTRAST = 1e-4, 100
# How far another slice has to move the output: in a deep network little of the image may be left.
LEAST = {torch.float32: 1e-3, torch.float64: 1e-12}
aten = torch.ops.aten
Row = dict[str, Any]


def main() -> None:
    """Examine what is missing, or merge the parts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", help="architectures; default: all that are not in the file yet")
    parser.add_argument("--part", default="0/1", help="I/N: every N-th architecture, from I on")
    parser.add_argument("--merge", action="store_true", help="only merge the parts")
    parser.add_argument("--minutes", type=float, default=1e9, help="start no architecture after so long")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    keep_freed_memory()
    if given.merge:
        merge(given.output)
        return
    index, of = map(int, given.part.split("/"))
    path = given.output if of == 1 else given.output.with_suffix(f".{index}.csv")
    rows, end = read(path), time.monotonic() + 60 * given.minutes
    done = set(rows) | (set(read(given.output)) if not given.names else set())
    names = given.names or [name for name in timm.list_models()[index::of] if name not in done]
    for name in names:
        if time.monotonic() > end:
            break
        rows[name] = examine(name)
        write(path, rows)
        print(*rows[name].values(), flush=True)


def examine(name: str) -> Row:
    """The row of one architecture; what goes wrong is its reason."""
    row: Row = dict.fromkeys(COLUMNS, "") | {"name": name, "family": _model_to_module[name]}
    row["status"] = "failed"
    try:
        plain = build(name, "meta")
        named = plain.pretrained_cfg["first_conv"]
        parameters = sum(p.numel() for p in plain.parameters())
        row |= {"parameters": parameters, "first_conv": named if isinstance(named, str) else " ".join(named)}
        for dtype, least in LEAST.items():
            if parameters > LARGEST[dtype]:
                size, same = shapes_agree(name, plain)
                row |= {"image_px": size, "dtype": "", "deviation": ""}
                return row | (
                    {"status": "shape only"} if same else {"reason": "the output has another shape"}
                )
            size, deviation, response = centre_law(name, plain, dtype)
            row |= {
                "image_px": size,
                "dtype": str(dtype).removeprefix("torch."),
                "deviation": f"{deviation:.1e}",
            }
            if deviation <= TOLERANCE and response >= CONTRAST * deviation and response >= least:
                return row | {"status": "holds"}
        row["reason"] = f"deviation {deviation:.1e}; another slice moves the output by {response:.1e}"
    except Exception as error:  # whatever an architecture raises is what the table has to say
        row["reason"] = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    return row


def build(name: str, device: str, **options: Any) -> nn.Module:
    """An architecture without its classifier."""
    with torch.device(device):
        return timm.create_model(name, num_classes=0, **options).eval()


def small(
    plain: nn.Module, make: Callable[..., nn.Module], images: Callable[[int], Tensor]
) -> tuple[nn.Module, int, Any]:
    """The network, the smallest image size at which it runs, and its output there.

    Args:
        plain: network without numbers.
        make: builds the network from timm's options.
        images: batch of a size.
    """
    native, unsized = plain.pretrained_cfg["input_size"][-1], None
    resizable = bool(plain.pretrained_cfg.get("fixed_input_size"))
    reason: Exception = ValueError("no image size")
    for size in (*SIZES, native):
        for options in ([{"img_size": size}] if resizable else []) + [{}]:
            try:
                # Sizes that patches, strides or windows do not allow are refused in many ways.
                if not options:
                    model = unsized = unsized or make()
                else:
                    model = make(**options)
                with torch.no_grad():
                    output = model(images(size))
                if tree_leaves(output)[0].numel():
                    return model, size, output
            except Exception as error:
                reason = error
    raise reason


def shapes_agree(name: str, plain: nn.Module) -> tuple[int, bool]:
    """Image size, and whether the lifted network gives an output of the same shape there."""

    def blank(size: int) -> Tensor:
        return torch.zeros(1, 3, size, size, device="meta")

    model, size, flat = small(plain, lambda **options: build(name, "meta", **options), blank)
    lifted, _ = lift(model, DEPTH, RULE)
    with torch.no_grad():
        deep = lifted(torch.zeros(1, 1, DEPTH, size, size, device="meta"))
    return size, [x.shape for x in tree_leaves(flat)] == [x.shape for x in tree_leaves(deep)]


def centre_law(name: str, plain: nn.Module, dtype: torch.dtype) -> tuple[int, float, float]:
    """Image size, deviation from the 2D network, and what another slice moves, over the largest output."""

    def window(size: int) -> Tensor:
        shape = (1, 1, DEPTH, size, size)
        return torch.rand(shape, generator=generator_for(0, "sweep", "window")).to(dtype) * 2 - 1

    def two_slices(size: int) -> Tensor:
        return window(size)[0, 0, [DEPTH // 2, 0], None].expand(-1, 3, -1, -1)

    def make(**options: Any) -> nn.Module:
        torch.manual_seed(seed_for(0, "sweep", name))
        with Undrawn():
            model = build(name, "cpu", **options)
        fill(model)
        return model.to(dtype)

    model, size, flat = small(plain, make, two_slices)
    lifted, _ = lift(model, DEPTH, RULE)
    with torch.no_grad():
        deep = lifted(window(size))
    centre, other = ([leaf[d : d + 1] for leaf in tree_leaves(flat)] for d in (0, 1))
    scale = distance(centre, [torch.zeros_like(leaf) for leaf in centre])
    return size, distance(deep, centre) / scale, distance(other, centre) / scale


class Undrawn(TorchDispatchMode):
    """Zeros in the place of each draw: `fill` is faster than the draws of each architecture."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in (aten.normal_.default, aten.uniform_.default):
            return args[0].zero_()
        if func == aten.erfinv_.default:
            return args[0]
        return func(*args, **(kwargs or {}))


def fill(model: nn.Module) -> None:
    """Give every parameter numbers: He's scale for kernels, about 1 for scales, about 0 for shifts."""
    noise = torch.randn(1 << 20)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            repeats = -(-parameter.numel() // noise.numel())
            values = noise.repeat(repeats)[: parameter.numel()].view_as(parameter)
            if parameter.ndim > 1:
                parameter.copy_(values).mul_((2 * len(parameter) / parameter.numel()) ** 0.5)
            else:
                parameter.copy_(values).mul_(0.1).add_(float(key.endswith(("weight", "gamma", "scale"))))


def distance(a: Any, b: Any) -> float:
    """Largest difference between two outputs; infinite where a number is none."""
    ours, theirs = tree_leaves(a), tree_leaves(b)
    theirs = theirs * len(ours) if len(theirs) == 1 else theirs
    largest = max(float((x.double() - y).abs().max()) for x, y in zip(ours, theirs, strict=True))
    return largest if largest == largest else float("inf")


def merge(path: Path) -> None:
    """Put the parts into one sorted file and remove them."""
    parts = sorted(path.parent.glob(f"{path.stem}.*.csv"))
    rows: dict[str, Row] = {}
    for part in [path, *parts]:
        rows |= read(part)
    write(path, dict(sorted(rows.items())))
    for part in parts:
        part.unlink()


def read(path: Path) -> dict[str, Row]:
    """Rows of a file by name; none where it does not exist."""
    if not path.exists():
        return {}
    with path.open(newline="") as handle:
        return {row["name"]: row for row in csv.DictReader(handle)}


def write(path: Path, rows: dict[str, Row]) -> None:
    """Write the rows in one step."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows.values())
    write_atomic(path, text.getvalue())


if __name__ == "__main__":
    main()
