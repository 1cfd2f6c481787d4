"""Which parameters of a network train: all, those of the decoder, some of the encoder, or an adapter's.

The rest is the frozen base. It is named by a digest, and a file of what was tuned holds all else: beside the
same base it gives the whole network again.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from inspect import Parameter, signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

import medseg.compat  # noqa: F401  isort: skip
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from medseg.adapters import METHODS
from medseg.errors import InputError
from medseg.files import write_atomic

if TYPE_CHECKING:
    from medseg.segmenter import Segmenter

# Name of the adapter in the network and in its state.
ADAPTER = "adapter"
# How the names of an encoder and of its adapter start in the state of a network.
OF_ENCODER = ("parts.encoder.", f"{ADAPTER}.")
# Of what a network was made as: what is behind the encoder.
OF_DECODER = ("decoder", "target")
NORMS = (nn.LayerNorm, nn.GroupNorm, _BatchNorm)


def _of_norms(encoder: nn.Module) -> set[str]:
    return {
        f"{name}.{own}"
        for name, module in encoder.named_modules()
        if isinstance(module, NORMS)
        for own, _ in module.named_parameters(recurse=False)
    }


# Methods without a module of their own: names of the encoder's parameters that train. Tables of relative
# positions are no biases of a layer. The projections of BEiT have theirs under other names (q_bias).
OWN: dict[str, Callable[[nn.Module], set[str]]] = {
    "full": lambda encoder: {name for name, _ in encoder.named_parameters()},
    "head": lambda encoder: set(),
    "bias": lambda encoder: {name for name, _ in encoder.named_parameters() if name.endswith("bias")},
    "norm": _of_norms,
}


def tune(
    segmenter: "Segmenter", method: str, options: Mapping[str, Any] | None = None, also: Sequence[str] = ()
) -> None:
    """Freeze the encoder but for what a method trains; an adapter is made, attached, and named `adapter`.

    What is not the encoder trains in any case. Fresh parameters are drawn from torch's global generator.

    Args:
        segmenter: a network with its weights in place, not tuned before.
        method: "full", "head" (nothing of the encoder), "bias" (BitFit, Zaken et al. 2022), "norm", or an
            adapter, key of METHODS.
        options: of the adapter.
        also: what the names of parameters of the encoder contain that train as well, such as "pos_embed".

    Raises:
        InputError: unknown method or option, no encoder, one tuned before or that takes no such adapter, or
            `also` meets nothing.
    """
    options, encoder = dict(options or {}), segmenter.encoder
    if method not in OWN and method not in METHODS:
        raise InputError(
            "there is no such way to tune",
            expected=" | ".join([*OWN, *METHODS]),
            got=method,
            do="choose one of them",
        )
    known = options_of(method)
    if not set(options) <= set(known):
        raise InputError(
            f"{method} has no such option",
            expected=", ".join(known) or "no options",
            got=", ".join(options),
            do="leave it out",
        )
    for name, value in options.items():
        kind = known[name].annotation
        if kind is float and type(value) is int:
            options[name] = float(value)
        # A bool is an int to Python.
        elif type(value) is not kind:
            raise InputError(
                f"the option {name} of {method} is of another type",
                expected=f"{kind.__name__}, such as {known[name].default!r}",
                got=f"{type(value).__name__} {value!r}",
                do="write it without quotes" if isinstance(value, str) else "change the value",
            )
    if encoder is None and method == "full":
        return
    if encoder is None or not all(parameter.requires_grad for parameter in encoder.parameters()):
        raise InputError(
            "this network cannot be tuned in part",
            expected="a network with an encoder, nothing of it frozen yet",
            got=" + ".join(segmenter.parts),
            do="build it anew, or train it whole (full)",
        )
    names = [name for name, _ in encoder.named_parameters()]
    for part in also:
        if not any(part in name for name in names):
            raise InputError(
                "also names no parameter of the encoder",
                expected="a part of a name, such as pos_embed",
                got=part,
                do="see the names in encoder.named_parameters()",
            )
    if method in METHODS:
        adapter = METHODS[method](encoder.sites(), **options)
        adapter.attach()
        segmenter.add_module(ADAPTER, adapter.to(next(encoder.parameters()).device))
    whole = {name: option.default for name, option in known.items()} | options
    segmenter.made_as |= {"method": method, "also": sorted(also), "options": whole}
    trained = OWN[method](encoder) if method in OWN else set()
    for name, parameter in encoder.named_parameters():
        parameter.requires_grad_(name in trained or any(part in name for part in also))
    for module in encoder.modules():
        if isinstance(module, _BatchNorm) and not _trains(module):
            module.register_forward_pre_hook(_to_eval)
    # TinyViT keeps what it gathered from its bias tables, with their graph, until the mode is set.
    encoder.train(encoder.training)


def options_of(method: str) -> dict[str, Parameter]:
    """What can be set of a way to tune, by name; what is fixed by its name is not among it."""
    if method not in METHODS:
        return {}
    make = METHODS[method]
    fixed = make.keywords if isinstance(make, partial) else {}
    # The first one is the blocks.
    found = list(signature(make).parameters.items())[1:]
    return {name: option for name, option in found if name not in fixed}


def tuned_state(segmenter: nn.Module, decoder: bool = True) -> dict[str, Tensor]:
    """All of the state but the frozen base: the adapter, the encoder's tuned parameters, the decoder.

    Buffers belong to the base where a parameter of their module is frozen.

    Args:
        segmenter: a network, tuned in any way.
        decoder: whether what is behind the encoder is among it; without, what remains is the adapter alone.
    """
    frozen = _base_names(segmenter)
    return {
        name: value
        for name, value in segmenter.state_dict().items()
        if name not in frozen and (decoder or name.startswith(OF_ENCODER))
    }


def base_digest(segmenter: nn.Module) -> str:
    """Hex sha256 over names, types, shapes and bytes of the frozen base."""
    state, digest = segmenter.state_dict(), hashlib.sha256()
    for name in sorted(_base_names(segmenter)):
        value = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy())
    return digest.hexdigest()


def save_tuned(segmenter: nn.Module, path: Path, decoder: bool = True) -> None:
    """Write `tuned_state` as safetensors, with the digest of the base and what the network was made as.

    `decoder` as in `tuned_state`.

    Raises:
        OSError: no room on the disk, or no right to write there; nothing is left behind.
    """
    state = tuned_state(segmenter, decoder)
    kept = {name: value.detach().contiguous().cpu() for name, value in state.items()}
    facts = {"base": base_digest(segmenter), "decoder": str(decoder), "made": _made(segmenter)}
    write_atomic(path, save(kept, facts))


def load_tuned(segmenter: nn.Module, path: Path) -> None:
    """Fill a network, tuned in the same way on the same base, from a file of `save_tuned`.

    From a file without the decoder only the encoder is filled.

    Raises:
        InputError: no such file, or one of another base or another way of tuning.
    """
    try:
        with safe_open(path, framework="pt") as file:
            facts = file.metadata() or {}
            base = facts.get("base", "none named")
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  no mapping
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{path} cannot be read",
            expected="a file of what was tuned",
            got=str(error),
            do="tune and save first",
        ) from error
    wanted = tuned_state(segmenter, decoder=facts.get("decoder") != str(False))
    shapes = {name: tuple(value.shape) for name, value in wanted.items()}
    others = shapes.items() ^ {name: tuple(value.shape) for name, value in state.items()}.items()
    if others:
        raise InputError(
            f"{path} was tuned in another way",
            expected=f"the {len(shapes)} tensors that train in this network",
            got=f"differences, first in {min(others)[0]}",
            do="tune the network with the method and the options of the file",
        )
    made, here = json.loads(facts.get("made", "{}")), json.loads(_made(segmenter))
    # Options that no shape tells: a file of an earlier version names none.
    for name in sorted(made.keys() & here.keys()):
        if made[name] != here[name] and (name not in OF_DECODER or facts.get("decoder") != str(False)):
            raise InputError(
                f"{path} was tuned in another way",
                expected=f"{name} {made[name]}",
                got=f"{name} {here[name]}",
                do="build the network as it was when the file was written",
            )
    if base != (own := base_digest(segmenter)):
        raise InputError(
            f"{path} was tuned on another base",
            expected=f"digest {base[:12]}",
            got=f"digest {own[:12]}",
            do="build the network with the weights that it was tuned on",
        )
    segmenter.load_state_dict(segmenter.state_dict() | state)
    # As in tune.
    segmenter.train(segmenter.training)


def _made(segmenter: nn.Module) -> str:
    """What a network was made as, in JSON."""
    return json.dumps(getattr(segmenter, "made_as", {}))


def _trains(module: nn.Module) -> bool:
    """Whether a module has parameters of its own, and all train."""
    own = list(module.parameters(recurse=False))
    return bool(own) and all(parameter.requires_grad for parameter in own)


def _base_names(segmenter: nn.Module) -> set[str]:
    """Names in the state of what is frozen in the encoder: parameters, and buffers beside frozen ones."""
    frozen = {name for name, p in segmenter.named_parameters() if not p.requires_grad}
    buffers = {
        f"{prefix}.{name}"
        for prefix, module in segmenter.named_modules()
        if any(not p.requires_grad for p in module.parameters(recurse=False))
        for name, _ in module.named_buffers(recurse=False)
    }
    return (frozen | buffers) & set(segmenter.state_dict())


def _to_eval(norm: Any, inputs: tuple[Tensor, ...]) -> None:
    """A frozen batch norm keeps its statistics, whatever mode the network is in."""
    norm.eval()
