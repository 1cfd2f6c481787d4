"""medseg inflate: any timm architecture lifted to windows of slices, and what that changed."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.table import Table

from medseg.cli.console import Json, console, print_line
from medseg.errors import InputError

if TYPE_CHECKING:
    from torch import nn

    from medseg.inflation.first_conv import Lifted, LiftReport

RuleName = Literal["center", "average", "linear", "variance", "rgb", "random"]


def inflate(
    name: Annotated[str, typer.Argument(metavar="MODEL", help="Architecture of timm, for example resnet50.")],
    depth: Annotated[int, typer.Option(min=1, help="Slices of a window.")] = 5,
    rule: Annotated[RuleName, typer.Option(help="Inflation rule.")] = "center",
    in_channels: Annotated[int, typer.Option("--in-channels", min=1, help="Image channels of a slice.")] = 1,
    weights: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="2D weights of this architecture, safetensors with timm's names."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="FILE.safetensors",
            help="Write the lifted weights under timm's names, channels and slices as one axis, C x D.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of random numbers: rule random, and a run without weights.")] = 0,
    as_json: Json = False,
) -> None:
    """Lift the first layer of a timm architecture to windows of slices; the rest stays as it is."""
    from medseg.inflation.first_conv import lift
    from medseg.runtime import generator_for

    if output is not None and output.suffix != ".safetensors":
        raise InputError(
            "cannot write that", expected="FILE.safetensors", got=output.name, do="change the name"
        )
    model, skipped = _build(name, seed), []
    source = f"random numbers of seed {seed}: no weights were given"
    if weights is not None:
        skipped = _load(model, weights)
        source = weights.name
    lifted, report = lift(model, depth, rule, in_channels, generator_for(seed, "inflate"))
    if output is not None:
        _readable(report)
        _write(lifted, output, {"architecture": name, "rule": rule, "source": source})
    if as_json:
        print(json.dumps({"name": name, "source": source, "skipped": skipped, **asdict(report)}, indent=1))
        return
    title = f"{name}: B C D H W with C = {in_channels}, D = {depth}; rule {rule}"
    table = Table("first layer", "kind", "2D weight", "3D weight", "note", title=title)
    for layer in report.layers:
        table.add_row(layer.key, layer.kind, str(layer.shape_before), str(layer.shape), layer.note)
    console.print(table)
    changed, kept = report.parameters_changed, report.parameters_kept
    print_line(f"{kept:,} parameters kept, {changed:,} in lifted layers")
    print_line(f"weights: {source}" + (f"; skipped {', '.join(skipped)}" if skipped else ""))
    if output is not None:
        print_line(f"written to {output}, C and D of the first layer as one axis")


def _build(name: str, seed: int) -> "nn.Module":
    import medseg.compat  # noqa: F401  isort: skip
    import timm
    import torch

    from medseg.runtime import seed_for

    if name not in timm.list_models():
        raise InputError(
            "unknown architecture",
            expected="a name that timm.list_models() gives, without a tag of weights",
            got=name,
            do="see timm.list_models('resnet*')",
        )
    torch.manual_seed(seed_for(seed, "model"))
    return timm.create_model(name, num_classes=0).eval()


def _load(model: Any, path: Path) -> list[str]:
    """Fill the 2D model from a file; gives the keys of the classifier, which are left out."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"weights file {path.name} cannot be read",
            expected="a safetensors file",
            got=type(error).__name__,
            do="check the path and the format",
        ) from error
    top = model.pretrained_cfg.get("classifier") or ()
    tops = tuple(f"{key}." for key in ([top] if isinstance(top, str) else top))
    skipped = sorted(key for key in state.keys() - model.state_dict().keys() if key.startswith(tops))
    try:
        model.load_state_dict({key: value for key, value in state.items() if key not in skipped})
    except RuntimeError as error:
        raise InputError(
            f"weights file {path.name} does not fit the architecture",
            expected="every key with its shape, the classifier apart",
            got="; ".join(line.strip() for line in str(error).splitlines()[1:4])[:400],
            do="choose the architecture that the file was made with",
        ) from error
    return skipped


def _readable(report: "LiftReport") -> None:
    """Refuse a file that timm would not read as this network: its first layer is of another kind now."""
    changed = [f"{layer.key}: {layer.kind}, {layer.note}" for layer in report.layers if layer.note]
    if changed:
        raise InputError(
            "timm could not read such a file",
            expected="a first layer that stays of its kind",
            got="; ".join(changed),
            do="leave -o out, or keep the network in Python: medseg.inflation.first_conv.lift",
        )


def _write(lifted: "Lifted", path: Path, metadata: dict[str, str]) -> None:
    """The state under timm's names: the weight of the first layer has channels x depth inputs."""
    from safetensors.torch import save

    from medseg.files import write_atomic

    state = {key: value.contiguous() for key, value in lifted.trunk.state_dict().items()}
    more = {"depth": str(lifted.depth), "in_channels": str(lifted.in_channels)}
    write_atomic(path, save(state, metadata | more))
