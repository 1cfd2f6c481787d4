"""Frozen run configurations: YAML or keyword in, digest out, and the one dial `profile`."""

import hashlib
import json
import math
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from medseg.errors import InputError


class Frozen(BaseModel):
    """A value object: no later change, no unknown field."""

    model_config = ConfigDict(frozen=True, extra="forbid")


Model = TypeVar("Model", bound=BaseModel)


def validated(model: type[Model], fields: Mapping[str, Any], problem: str, do: str) -> Model:
    """The model of the given fields.

    Args:
        model: the class.
        fields: its fields, by name.
        problem: what to say of fields that do not fit.
        do: what the user can do about a wrong one.

    Raises:
        InputError: a field is unknown, missing or out of range; the first such field is named.
    """
    try:
        return model.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            problem,
            expected=first["msg"],
            got=f"{'.'.join(map(str, first['loc']))} = {first.get('input')!r}",
            do=do,
        ) from error


class DataConfig(Frozen):
    """Which cases train and test, and what is done to an image before, and to a predicted map after.

    Attributes:
        name: of the data set in the catalog.
        split_seed: of the split, or of the folds.
        fold: None for the split of the data set, or which of five folds to test on.
        train_cases: None for all training cases, or at most how many: the first of the shuffled ones, so a
            smaller number gives a part of a larger one.
        clip: None to normalise as the card of the data set says; or a fixed window (lower, upper) in its
            place; "transseg": the one of TransSeg's code for this data set, that of CT for MRI of the heart.
        least_enhancing_voxels: of BraTS alone: an enhancing tumour that is predicted with fewer voxels is
            scored as core. 0 leaves predictions as they are; Med-Tuning's code has 500.
    """

    name: str = "Task04_Hippocampus"
    split_seed: int = 1234
    fold: int | None = Field(None, ge=0, le=4)
    train_cases: int | None = Field(None, ge=1)
    clip: tuple[float, float] | Literal["transseg"] | None = None
    least_enhancing_voxels: int = Field(0, ge=0)

    @model_validator(mode="after")
    def _check(self) -> "DataConfig":
        if isinstance(self.clip, tuple) and not -math.inf < self.clip[0] < self.clip[1] < math.inf:
            raise ValueError("a window is two finite numbers, the lower one first")
        return self


class TuningConfig(Frozen):
    """What of the encoder trains; the decoder trains in any case.

    Attributes:
        method: "full", "head" (nothing of the encoder), "bias", "norm", or key of medseg.adapters.METHODS.
        options: of the adapter, by the names of its class.
        also: what the names of parameters of the encoder contain that train as well, such as "pos_embed".
    """

    method: str = "full"
    options: dict[str, bool | int | float | str] = {}
    also: tuple[str, ...] = ()


class ModelConfig(Frozen):
    """One network: what it sees (`slices`, `image_px`), what it is made of, where its weights come from.

    Attributes:
        network: "vit_upernet" is an encoder and a decoder, each by its own field; it keeps the name of its
            first form, which stands in records. "unet3d" is the control and takes neither.
        encoder: a timm name, or a name of medseg.encoders.registry.
        weights: key of WEIGHTS, "stand_in", or None.
        inflation: key of RULES: how 2D weights become 3D weights.
        slices: depth of the window; stride: step between them in slices of the volume.
        intensity: the range that the network sees; the paper states -1 to 1, its code takes 0 to 1.
        decoder: key of DECODERS.
        target: the slices that are predicted: the centre of the window, or all of it.
        tuning: what of the encoder trains.
        mixing: where slices meet: in the patch embedding, in attention (medseg.encoders.volume_tokens), or
            nowhere: slices are a batch of images (medseg.encoders.slice_batch).
    """

    network: Literal["vit_upernet", "unet3d"] = "vit_upernet"
    encoder: str = "vit_tiny_patch16_224"
    weights: str | None = "vit_tiny_augreg"
    inflation: Literal["center", "average", "linear", "variance", "rgb", "random"] = "center"
    intensity: tuple[float, float] = (-1.0, 1.0)
    decoder: Literal[
        "upernet",
        "setr_pup",
        "conv_trans",
        "unet",
        "med_upernet",
        "med_unet",
        "swin_unet",
        "setr_naive",
        "setr_mla",
        "med_setr_pup",
    ] = "upernet"
    target: Literal["center", "all"] = "center"
    mixing: Literal["patch", "joint", "cycle", "slices"] = "patch"
    slices: int = Field(5, ge=1)
    stride: int = Field(1, ge=1)
    image_px: int = Field(224, ge=16)
    in_channels: int = Field(1, ge=1)
    classes: int = Field(3, ge=2)
    # TransSeg taps blocks 3, 5, 7 and 11 (0-based) of its 12.
    taps: tuple[int, ...] = Field((3, 5, 7, 11), min_length=1)
    # None: as wide as the encoder, as in TransSeg.
    decoder_channels: int | None = Field(None, ge=8)
    tuning: TuningConfig = TuningConfig()

    @model_validator(mode="after")
    def _check(self) -> "ModelConfig":
        if self.stride > 1 and (self.target == "all" or self.network == "unet3d"):
            raise ValueError("a network that predicts all slices of a window needs stride 1")
        if self.mixing == "slices" and self.target == "center":
            raise ValueError("slices as a batch give every slice: target 'all'")
        if self.mixing in ("joint", "cycle") and self.target == "all":
            raise ValueError("slices that meet in attention give the centre slice only: target 'center'")
        return self


class AugmentConfig(Frozen):
    """Training transforms of TransSeg, Table 6. Zoom acts in the plane; probabilities are per window.

    With `depth_zoom` it acts on depth as well, by the same factor, as in the code of the paper: the centre
    slice may then be an interpolated one, or lie between empty ones.
    """

    zoom: tuple[float, float] = (0.5, 2.0)
    depth_zoom: bool = False
    flip_p: float = 0.1
    rotate90_p: float = 0.1
    shift: float = 0.1
    shift_p: float = 0.5


class TrainConfig(Frozen):
    """Optimisation: AdamW, linear warm-up, linear decay to zero, gradient clipping (TransSeg, Table 6)."""

    seed: int = 1234
    steps: int = Field(25_000, ge=1)
    batch: int = Field(16, ge=1)
    lr: float = Field(3e-5, gt=0)
    weight_decay: float = 0.05
    warmup_steps: int = 20
    # TransSeg's code decays the weights of its LayerNorms, which BEiT names in a way that its rule misses.
    decay_norms: bool = False
    clip_norm: float = 1.0
    precision: Literal["auto", "bf16", "fp16", "fp32"] = "auto"
    checkpoint_every: int = Field(100, ge=1)
    # Parts that a batch is cut into, one forward pass after another. It decides a result where a network
    # has batch norms: they see a part at a time.
    accumulate: int = Field(1, ge=1)
    # Dice of the validation cases every so many steps; None: only after the last one, for the record.
    validate_every: int | None = Field(None, ge=1)
    # Which weights are scored: those of the last step, or of the best validation. "best_on_test" validates on
    # the test cases, as TransSeg's code does: it shows what that adds, and its test score is no estimate.
    selection: Literal["last", "best", "best_on_test"] = "last"

    @model_validator(mode="after")
    def _check(self) -> "TrainConfig":
        if self.batch % self.accumulate:
            raise ValueError(f"accumulate must divide the batch of {self.batch}")
        if self.selection != "last" and self.validate_every is None:
            raise ValueError(
                f"selection '{self.selection}' needs validate_every, --validate-every on the command line"
            )
        return self


class RunConfig(Frozen):
    """Everything that decides a run. Two runs with the same digest, split and weights are the same run."""

    profile: Literal["smoke", "colab", "full"] = "full"
    data: DataConfig = DataConfig()
    model: ModelConfig = ModelConfig()
    augment: AugmentConfig = AugmentConfig()
    train: TrainConfig = TrainConfig()

    def digest(self) -> str:
        """Hex sha256 of what differs from the defaults: a field that is added later changes no digest."""
        return digest_of(self.model_dump(mode="json", exclude_defaults=True))


# What a profile changes in the paper's recipe, which is `full`. The shorter `colab` budget takes a larger
# learning rate (3e-5 is the rate of 25,000 steps) and a narrower zoom, both chosen on validation cases
# (book/lab_log.md). `smoke` shows that things run and gives no result.
PROFILES: dict[str, dict[str, Any]] = {
    "smoke": {
        "model": {"weights": "stand_in", "image_px": 64, "decoder_channels": 32},
        "train": {"steps": 12, "batch": 4, "lr": 3e-4, "warmup_steps": 2, "checkpoint_every": 4},
    },
    "colab": {
        "model": {"image_px": 160, "decoder_channels": 64},
        "augment": {"zoom": (0.8, 1.25)},
        "train": {"steps": 1000, "lr": 5e-4},
    },
    "full": {"model": {"image_px": 240}},
}


def digest_of(value: Any) -> str:
    """Hex sha256 of the canonical JSON of a plain value.

    >>> digest_of({"b": 1, "a": 2}) == digest_of({"a": 2, "b": 1})
    True
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with the nested `changes` written over it; neither is altered.

    >>> merged({"a": {"x": 1, "y": 2}}, {"a": {"y": 3}})
    {'a': {'x': 1, 'y': 3}}
    """
    result = dict(base)
    for key, value in changes.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = merged(result[key], value) if both else value
    return result


def resolve(profile: str, *changes: dict[str, Any]) -> RunConfig:
    """The configuration of a profile with nested changes on top, later ones winning.

    Raises:
        InputError: unknown profile, unknown field or a value out of range.
    """
    if profile not in PROFILES:
        raise InputError(
            "unknown profile", expected=" | ".join(PROFILES), got=profile, do="choose one of the profiles"
        )
    tree: dict[str, Any] = merged({"profile": profile}, PROFILES[profile])
    for change in changes:
        tree = merged(tree, change)
    return validated(
        RunConfig,
        tree,
        "the run configuration is not valid",
        "correct the field; `medseg.config.RunConfig` lists them all",
    )
