"""AdamW: every parameter once, and only matrices and kernels are decayed."""

import pytest
import torch

from medseg.config import TrainConfig
from medseg.segmenter import build
from medseg.training.optimizer import adamw, lay_out


@pytest.mark.parametrize("fused", [False, True])
def test_groups(tiny_config, fused):
    segmenter, _ = build(tiny_config().model, seed=1)
    named = dict(segmenter.named_parameters())
    frozen = next(name for name in named if name.endswith("classify.1.weight"))
    named[frozen].requires_grad_(False)
    optimizer = adamw(segmenter, TrainConfig(weight_decay=0.5, lr=0.25), fused)
    names = {id(parameter): name for name, parameter in named.items()}
    decayed, plain = ([names[id(p)] for p in group["params"]] for group in optimizer.param_groups)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.5, 0.0]
    assert {group["lr"] for group in optimizer.param_groups} == {0.25}
    assert {group["fused"] for group in optimizer.param_groups} == {fused}
    assert sorted([*decayed, *plain, frozen]) == sorted(named)
    assert all(named[name].ndim > 1 for name in decayed)
    assert any(name.endswith("pos_embed") for name in plain) and any(name.endswith("bias") for name in plain)


def test_the_paper_code_decays_the_weights_of_its_layer_norms(tiny_config):
    segmenter, _ = build(tiny_config().model, seed=1)
    names = {id(parameter): name for name, parameter in segmenter.named_parameters()}

    def plain(**options):
        groups = adamw(segmenter, TrainConfig(weight_decay=0.5, **options), fused=False).param_groups
        return {names[id(p)] for p in groups[1]["params"]}

    more = plain() - plain(decay_norms=True)
    norms = {f"{n}.weight" for n, m in segmenter.named_modules() if isinstance(m, torch.nn.LayerNorm)}
    assert more and more == norms & set(names.values())


def test_what_is_not_decayed_stays_without_a_gradient():
    layer = torch.nn.Linear(2, 2)
    before = {name: p.detach().clone() for name, p in layer.named_parameters()}
    optimizer = adamw(layer, TrainConfig(weight_decay=0.5, lr=0.1), fused=False)
    for parameter in layer.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    assert torch.equal(layer.bias, before["bias"])
    torch.testing.assert_close(layer.weight.detach(), before["weight"] * 0.95)


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("last", [False, True])
def test_moments_of_another_layout_are_laid_out_anew(fused, last):
    layout, other = torch.contiguous_format, torch.channels_last
    layout, other = (other, layout) if last else (layout, other)

    def trained(steps, change_at=None):
        torch.manual_seed(1)
        kernel = torch.nn.Conv2d(3, 4, 2, bias=False).to(memory_format=layout)
        optimizer = adamw(kernel, TrainConfig(lr=0.1), fused)
        for step in range(steps):
            kernel.weight.grad = torch.randn(4, 3, 2, 2).contiguous(memory_format=layout)
            if step == change_at:
                for moments in optimizer.state.values():
                    for name in ("exp_avg", "exp_avg_sq"):
                        other = {torch.contiguous_format: torch.channels_last}.get(
                            layout, torch.contiguous_format
                        )
                        moments[name] = moments[name].contiguous(memory_format=other)
                lay_out(optimizer)
            optimizer.step()
        return kernel.weight.detach()

    assert torch.equal(trained(4, change_at=2), trained(4))
