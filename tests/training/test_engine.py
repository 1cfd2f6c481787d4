"""The engine: how a run is computed, never what; bad options are refused."""

import pytest
import torch

from medseg.config import RunConfig
from medseg.errors import InputError
from medseg.training import engine as engines
from medseg.training.engine import Engine, engine_of, fits_on, settled
from medseg.training.precision import PLANS


def test_processes():
    assert Engine().processes == 1 and Engine(devices=4, nodes=2).processes == 8


@pytest.mark.parametrize(
    "options",
    [{"devices": 0}, {"nodes": 0}, {"keep": 0}, {"strategy": "dp"}, {"loggers": ("nothing",)}, {"cards": 2}],
    ids=str,
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(InputError, match="machine") as caught:
        engine_of(**options)
    assert next(iter(options)) in caught.value.got


def test_it_is_no_part_of_what_decides_a_result():
    assert not set(Engine.model_fields) & set(RunConfig.model_fields["train"].default.model_dump())


@pytest.mark.parametrize(("number", "fused"), [("fp32", True), ("bf16", True), ("fp16", False)])
def test_fused_unless_a_scaler_clips(number, fused):
    assert settled(Engine(), PLANS[number]).fused is fused
    assert settled(Engine(fused=not fused), PLANS[number]).fused is not fused


@pytest.mark.parametrize(
    ("kind", "capability", "tf32"),
    [("cpu", None, False), ("cuda", (7, 5), False), ("cuda", (8, 0), True), ("cuda", (9, 0), True)],
)
def test_tf32_where_the_hardware_has_it(monkeypatch, kind, capability, tf32):
    monkeypatch.setattr(engines, "device_kind", lambda: kind)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *device: capability)
    assert settled(Engine(), PLANS["fp32"]).tf32 is tf32
    assert settled(Engine(tf32=False), PLANS["fp32"]).tf32 is False


def test_channels_last_unless_the_parameters_are_split():
    plan = PLANS["fp32"]
    assert settled(Engine(devices=2), plan).channels_last
    assert not settled(Engine(devices=2, strategy="fsdp"), plan).channels_last
    assert settled(Engine(strategy="fsdp"), plan).channels_last
    assert not settled(Engine(channels_last=False), plan).channels_last


def test_volumes_lie_on_a_gpu_where_they_take_a_quarter_of_it(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 4000))
    gpu = torch.device("cuda", 0)
    assert fits_on(gpu, 250) and not fits_on(gpu, 251)
    assert not fits_on(torch.device("cpu"), 1)


@pytest.mark.parametrize(
    ("kind", "number", "fused"), [("cpu", "bf16", False), ("cpu", "fp32", True), ("cuda", "bf16", True)]
)
def test_attention_in_one_kernel_but_for_bf16_on_a_cpu(monkeypatch, kind, number, fused):
    monkeypatch.setattr(engines, "device_kind", lambda: kind)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *device: (9, 0))
    assert settled(Engine(), PLANS[number]).fused_attention is fused
    assert settled(Engine(fused_attention=not fused), PLANS[number]).fused_attention is not fused
