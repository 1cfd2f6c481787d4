"""The table of precision: hardware and request in, number format and scaler out."""

from typing import get_args

import pytest
import torch

from medseg.config import TrainConfig
from medseg.training import precision
from medseg.training.precision import PLANS, plan, plugin


@pytest.fixture
def hardware(monkeypatch):
    def pretend(kind, capability=None):
        monkeypatch.setattr(precision, "device_kind", lambda: kind)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *device: capability)

    return pretend


@pytest.mark.parametrize(
    ("kind", "capability", "wanted", "choice", "scaler"),
    [
        ("cpu", None, "auto", "bf16", False),
        ("cuda", (7, 0), "auto", "fp16", True),
        ("cuda", (7, 5), "auto", "fp16", True),
        ("cuda", (8, 0), "auto", "bf16", False),
        ("cuda", (8, 9), "auto", "bf16", False),
        ("cuda", (10, 0), "auto", "bf16", False),
        ("cpu", None, "fp32", "fp32", False),
        ("cuda", (7, 5), "fp32", "fp32", False),
        ("cuda", (8, 0), "fp32", "fp32", False),
        ("cuda", (8, 0), "fp16", "fp16", True),
        ("cuda", (7, 5), "bf16", "bf16", False),
    ],
)
def test_table(hardware, kind, capability, wanted, choice, scaler):
    hardware(kind, capability)
    chosen = plan(wanted)
    dtype = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}[choice]
    assert (chosen.choice, chosen.dtype, chosen.scaler) == (choice, dtype, scaler)


@pytest.mark.parametrize(("kind", "choice"), [("cpu", "fp32"), ("cuda", "bf16")])
def test_3d_convolutions_run_in_fp32_on_a_cpu(hardware, kind, choice):
    hardware(kind, (8, 0))
    network = torch.nn.Sequential(torch.nn.Conv3d(1, 1, 3))
    assert plan("auto", network).choice == choice
    assert plan("auto", torch.nn.Conv2d(1, 1, 3)).choice == "bf16"
    assert plan("bf16", network).choice == "bf16"


def test_a_configuration_offers_every_plan():
    assert set(get_args(TrainConfig.model_fields["precision"].annotation)) == {"auto", *PLANS}


@pytest.mark.parametrize("choice", ["bf16", "fp32"])
def test_plugin_follows_the_plan(choice):
    made = plugin(PLANS[choice])
    assert made.precision == PLANS[choice].fabric
    assert getattr(made, "scaler", None) is None
    with made.forward_context():
        product = torch.nn.Linear(2, 2)(torch.ones(1, 2))
    assert product.dtype == PLANS[choice].dtype
