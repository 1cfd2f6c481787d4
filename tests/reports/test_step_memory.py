"""With a frozen encoder no gradient flows into what needs none, and nothing is kept for it."""

import pytest
import torch
from torch import nn

from medseg.config import ModelConfig, TrainConfig, TuningConfig
from medseg.reports.step_memory import COLUMNS, PEAK, memory_table, step_memory
from medseg.segmenter import build, count_parameters, unfilled

PX, SLICES = 32, 3
METHODS = ("full", "head", "bias", "lora", "bottleneck", "med_adapter", "vpt_deep", "st_adapter")


def model_of(method):
    return ModelConfig(
        encoder="test_vit",
        weights=None,
        taps=(1, 2, 3, 5),
        slices=SLICES,
        image_px=PX,
        decoder="med_upernet",
        decoder_channels=8,
        tuning={"method": method},
    )


def built(method):
    return build(model_of(method), 1)[0].train()


def batch_on(device, batch=2):
    windows = torch.zeros(batch, 1, SLICES, PX, PX, device=device)
    return windows, windows[:, :, 0].long()


def counted(method, precision="fp32", batch=2):
    return step_memory(built(method), *batch_on("cpu", batch), TrainConfig(precision=precision))


@pytest.mark.parametrize("method", METHODS)
def test_gradients_and_moments_belong_to_what_trains(method):
    network, found = built(method), counted(method)
    trained = 4 * count_parameters(network, trainable_only=True)
    assert found["parameters"] == 4 * count_parameters(network)
    assert found["gradients"] == trained
    assert found["optimiser"] == 2 * trained


def test_what_a_frozen_encoder_keeps():
    found = {method: counted(method) for method in METHODS}
    assert found["head"]["kept encoder"] == 0
    # VPT lengthens the few sequences of this tiny network.
    for method in set(METHODS[2:]) - {"vpt_deep"}:
        assert 0 < found[method]["kept encoder"] < found["full"]["kept encoder"]
    own = {method for method in METHODS if found[method]["kept adapter"]}
    assert own == {"lora", "bottleneck", "med_adapter", "st_adapter"}
    assert len({found[method]["kept decoder"] for method in METHODS}) <= 2
    table = memory_table(found, "full")
    assert list(table.columns) == [*COLUMNS, "sum", "of whole", PEAK, "peak of whole"]
    assert table.loc["full", "of whole"] == table.loc["full", "peak of whole"] == 1


def test_maps_of_a_frozen_encoder_have_no_graph():
    maps = built("head").encoder(torch.randn(2, 1, SLICES, PX, PX))
    assert not any(value.requires_grad for value in maps)


@pytest.mark.parametrize("method", ["lora", "bottleneck", "med_adapter"])
def test_nothing_ahead_of_the_first_adapter_has_a_graph(method):
    network, met = built(method), {}
    trunk = network.encoder.trunk
    for name, module in {"patches": trunk.patch_embed, "norm": trunk.blocks[0].norm1}.items():
        module.register_forward_hook(lambda _, inputs, out, name=name: met.update({name: out.requires_grad}))
    first, second = trunk.blocks[:2]
    first.register_forward_pre_hook(lambda _, given: met.update(first=given[0].requires_grad))
    second.register_forward_pre_hook(lambda _, given: met.update(second=given[0].requires_grad))
    network(torch.randn(2, 1, SLICES, PX, PX))
    assert met == {"patches": False, "norm": False, "first": False, "second": True}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_frozen_linear_layers_do_not_keep_their_inputs(precision):
    network, inputs, kept = built("lora"), {}, set()
    for name, module in network.encoder.named_modules():
        if isinstance(module, nn.Linear) and name.endswith("fc2"):
            module.register_forward_pre_hook(lambda _, given, name=name: inputs.update({name: given[0]}))

    def keep(tensor):
        kept.add(tensor.untyped_storage().data_ptr())
        return tensor

    cast = torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16")
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor), cast:
        output = network(torch.randn(2, 1, SLICES, PX, PX))
    assert output.requires_grad and len(inputs) == 6
    assert not kept & {value.untyped_storage().data_ptr() for value in inputs.values()}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_peak_holds_what_must_live_at_one_time(method, precision):
    found = counted(method, precision, batch=8)
    start_of_the_way_back = sum(found[name] for name in COLUMNS if name != "gradients")
    step_of_adam = sum(found[name] for name in ("parameters", "gradients", "optimiser"))
    assert found[PEAK] >= max(start_of_the_way_back, step_of_adam)


@pytest.mark.parametrize("method, options", [("lora", {}), ("med_adapter", {"slices": 1})])
def test_adapters_on_vit_b_need_seven_tenths_of_the_tensors_of_everything(method, options):
    found = {}
    for name, own in (("full", {}), (method, options)):
        config = model_of(name).model_copy(
            update={
                "encoder": "vit_base_patch16_224",
                "image_px": 224,
                "taps": (2, 5, 8, 11),
                "decoder_channels": 256,
                "tuning": TuningConfig(method=name, options=own),
            }
        )
        with torch.device("meta"):
            network, windows = unfilled(config).train(), torch.zeros(4, 1, SLICES, 224, 224)
        found[name] = step_memory(network, windows, windows[:, :, 0].long(), TrainConfig(precision="fp32"))
    assert found[method][PEAK] <= 0.7 * found["full"][PEAK]


@pytest.mark.parametrize("method", ["full", "lora"])
def test_what_is_kept_of_fp32_grows_with_the_batch(method):
    small, large = counted(method, batch=2), counted(method, batch=4)
    assert large["kept encoder"] == 2 * small["kept encoder"]
    # A copy of each weight in the format of the forward pass does not.
    small, large = (counted(method, "bf16", batch) for batch in (2, 4))
    assert large["kept encoder"] < 2 * small["kept encoder"]


@pytest.mark.parametrize("method", ["head", "lora", "med_adapter"])
def test_the_meta_device_counts_the_same_without_memory(method):
    with torch.device("meta"):
        there = unfilled(model_of(method)).train()
    here = built(method)
    here.attend_by_products()
    there.attend_by_products()
    sides = {"meta": there, "cpu": here}
    train = TrainConfig(precision="fp32")
    found = [step_memory(network, *batch_on(device), train) for device, network in sides.items()]
    exact = ("parameters", "gradients", "optimiser")
    assert all(found[0][name] == found[1][name] for name in exact)
    meta, cpu = (sum(row[name] for name in COLUMNS) for row in found)
    assert meta == pytest.approx(cpu, rel=0.05)
    # There AdamW is not fused and has copies of one parameter at a time.
    largest = max(p.nbytes for p in here.parameters() if p.requires_grad)
    assert 0 <= found[0][PEAK] - found[1][PEAK] <= 3 * largest
