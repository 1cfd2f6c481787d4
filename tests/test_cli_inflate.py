import json
import sys
from typing import get_args

import pytest
import torch
from safetensors.torch import load_file, save_file

import medseg.compat  # noqa: F401  isort: skip
import timm

from medseg import cli
from medseg.cli.console import console
from medseg.cli.inflate import RuleName
from medseg.inflation.rules import RULES


@pytest.fixture
def medseg(monkeypatch, capsys):
    """One call of the command line in this process: exit code, standard output and error."""
    monkeypatch.setattr(console, "width", 200, raising=False)

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["medseg", "inflate", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        return ended.value.code or 0, out, err

    return call


@pytest.fixture
def weights(tmp_path):
    """A file as timm writes it, with a classifier."""
    torch.manual_seed(1)
    path = tmp_path / "test_vit.safetensors"
    save_file(timm.create_model("test_vit").state_dict(), path)
    return path


def test_help_has_an_example(medseg):
    code, out, _ = medseg("--help")
    assert code == 0
    assert "Example: medseg inflate" in " ".join(out.split())


def test_every_rule_is_offered():
    assert set(get_args(RuleName)) == set(RULES)


def test_report_without_weights_says_so(medseg):
    code, out, _ = medseg("test_vit", "--depth", 3)
    assert code == 0
    assert "patch_embed.proj" in out and "(64, 1, 3, 16, 16)" in out
    assert "random numbers of seed 0: no weights were given" in out


def test_json_counts_every_parameter(medseg):
    code, out, _ = medseg("test_vit", "--depth", 5, "--in-channels", 2, "--rule", "average", "--json")
    report = json.loads(out)
    model = timm.create_model("test_vit", num_classes=0)
    extra = (5 * 2 - 3) * model.patch_embed.proj.weight[:, 0].numel()
    assert code == 0
    assert report["parameters_kept"] + report["parameters_changed"] == extra + sum(
        parameter.numel() for parameter in model.parameters()
    )


def test_lifted_weights_hold_the_file(medseg, weights, tmp_path):
    lifted = tmp_path / "lifted.safetensors"
    code, out, _ = medseg("test_vit", "--weights", weights, "-o", lifted)
    before, after = load_file(weights), load_file(lifted)
    kernel = after.pop("patch_embed.proj.weight")
    assert code == 0 and "skipped head.bias, head.weight" in out
    torch.testing.assert_close(kernel[:, 2], before["patch_embed.proj.weight"].sum(1), rtol=0, atol=0)
    assert kernel.shape[1] == 5 and not kernel[:, [0, 1, 3, 4]].any()
    assert all(torch.equal(value, before[key]) for key, value in after.items())
    model = timm.create_model("test_vit", num_classes=0, in_chans=5)
    model.load_state_dict(load_file(lifted))


def test_a_first_layer_of_another_kind_is_not_written(medseg, tmp_path):
    path = tmp_path / "lifted.safetensors"
    code, _, err = medseg("vit_tiny_r_s16_p8_224", "-o", path)
    assert code == 2 and "StdConv2dSame" in err and not path.exists()
    assert medseg("vit_tiny_r_s16_p8_224")[0] == 0


def test_random_numbers_follow_the_seed(medseg, tmp_path):
    paths = [tmp_path / f"{n}.safetensors" for n in range(3)]
    for path, seed in zip(paths, (0, 0, 1), strict=True):
        assert medseg("test_vit", "--rule", "random", "--seed", seed, "-o", path)[0] == 0
    first, again, other = (load_file(path)["patch_embed.proj.weight"] for path in paths)
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("no_such_model",), "unknown architecture"),
        (("test_vit", "--rule", "rgb", "--depth", 2), "at least 3 slices"),
        (("test_vit", "--rule", "nothing"), "Invalid value"),
        (("test_vit", "--depth", 0), "Invalid value"),
        (("test_vit", "-o", "lifted.pt"), "FILE.safetensors"),
        (("test_vit", "--weights", "missing.safetensors"), "cannot be read"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, tuple) else "",
)
def test_bad_input_ends_with_2(medseg, arguments, said):
    code, _, err = medseg(*arguments)
    assert code == 2 and said in err


def test_weights_of_another_architecture_are_refused(medseg, weights, tmp_path):
    output = tmp_path / "lifted.safetensors"
    code, _, err = medseg("resnet18", "--weights", weights, "-o", output)
    assert code == 2 and "does not fit the architecture" in err
    assert not output.exists()
