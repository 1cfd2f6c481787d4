"""Configurations: one meaning, one digest; what is wrong is named."""

import pytest
from pydantic import ValidationError

from medseg.config import PROFILES, ModelConfig, RunConfig, digest_of, merged, resolve
from medseg.errors import InputError


def leaves(tree, path=()):
    """(path, value) of everything that is not a dict."""
    if not isinstance(tree, dict):
        return [(path, tree)]
    return [leaf for key, value in tree.items() for leaf in leaves(value, (*path, key))]


def changed(value):
    """Another valid value of the same kind."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, (int, float)):
        return value + 1
    return None


def tree_of(path, value):
    return {path[0]: tree_of(path[1:], value)} if path else value


def test_every_number_is_part_of_the_digest():
    base = RunConfig()
    seen = {base.digest()}
    numbers = [(p, v) for p, v in leaves(base.model_dump(mode="json")) if changed(v) is not None]
    assert len(numbers) > 10
    for path, value in numbers:
        other = RunConfig.model_validate(tree_of(path, changed(value)))
        assert other.digest() not in seen, path
        seen.add(other.digest())


def test_digest_is_that_of_the_meaning():
    said = RunConfig.model_validate({"train": {"seed": 1234}, "profile": "full"})
    assert said.digest() == RunConfig().digest()
    assert RunConfig.model_validate_json(resolve("colab").model_dump_json()) == resolve("colab")


def test_a_field_that_is_added_later_changes_no_digest():
    class Later(RunConfig):
        added: int = 3

    assert Later().digest() == RunConfig().digest() != Later(added=4).digest()


def test_digest_does_not_move():
    # Run ids of the records depend on these; a change here makes every record another run.
    assert RunConfig().digest() == digest_of({})
    changes = {"model": {"slices": 1}, "train": {"seed": 910}}
    assert resolve("full", changes).digest() == digest_of(
        {"model": {"slices": 1, "image_px": 240}, "train": {"seed": 910}}
    )


def test_nan_has_no_digest():
    with pytest.raises(ValueError):
        digest_of({"lr": float("nan")})


def test_configurations_do_not_change():
    with pytest.raises(ValidationError):
        RunConfig().profile = "smoke"
    with pytest.raises(ValidationError):
        ModelConfig().slices = 1


@pytest.mark.parametrize("profile", PROFILES)
def test_a_profile_differs_where_it_says_so(profile):
    resolved = resolve(profile)
    assert resolved.profile == profile
    assert resolved == RunConfig.model_validate(merged({"profile": profile}, PROFILES[profile]))


def test_full_is_the_recipe_of_the_paper():
    train = resolve("full").train
    assert (train.steps, train.batch, train.lr, train.warmup_steps) == (25_000, 16, 3e-5, 20)
    assert train.clip_norm == 1.0


def test_later_changes_win():
    config = resolve("smoke", {"train": {"steps": 7, "batch": 3}}, {"train": {"steps": 9}})
    assert (config.train.steps, config.train.batch) == (9, 3)
    assert config.train.lr == PROFILES["smoke"]["train"]["lr"]


def test_merging_alters_neither_side():
    base, changes = {"a": {"x": 1}, "b": 2}, {"a": {"y": {"z": 3}}, "b": {"c": 4}}
    assert merged(base, changes) == {"a": {"x": 1, "y": {"z": 3}}, "b": {"c": 4}}
    assert base == {"a": {"x": 1}, "b": 2} and changes == {"a": {"y": {"z": 3}}, "b": {"c": 4}}


@pytest.mark.parametrize(
    ("profile", "changes", "got"),
    [
        ("fast", {}, "fast"),
        ("smoke", {"train": {"stepps": 3}}, "train.stepps"),
        ("smoke", {"train": {"steps": 0}}, "train.steps"),
        ("smoke", {"model": {"classes": 1}}, "model.classes"),
        ("smoke", {"model": {"inflation": "copy"}}, "model.inflation"),
        ("smoke", {"model": {"network": "nobody"}}, "model.network"),
        ("smoke", {"train": {"lr": "much"}}, "train.lr"),
    ],
)
def test_bad_configuration(profile, changes, got):
    with pytest.raises(InputError) as caught:
        resolve(profile, changes)
    assert got in caught.value.got and caught.value.expected and caught.value.do


@pytest.mark.parametrize(
    "clip", [(250.0, -175.0), (5.0, 5.0), (float("nan"), 1.0), (0.0, float("inf")), "paper"]
)
def test_a_window_is_two_finite_numbers_in_order(clip):
    with pytest.raises(InputError, match="not valid"):
        resolve("colab", {"data": {"clip": clip}})


def test_windows_that_are_one():
    assert resolve("colab", {"data": {"clip": (-175.0, 250.0)}}).data.clip == (-175.0, 250.0)
    assert resolve("colab", {"data": {"clip": "transseg"}}).data.clip == "transseg"
