"""Every decoder by its name: one call, both kinds of maps, logits that only need resizing."""

import pytest
import torch
from torch import nn

from medseg.decoders import DECODERS

WIDTHS = [8, 12, 16, 20]
KINDS = {"plain": ([16] * 4, (4, 4, 4, 4)), "pyramid": ([4, 8, 16, 32], (16, 8, 4, 2))}
NAMES = pytest.mark.parametrize("name", DECODERS)


def maps(sides, dtype=torch.float32):
    generator = torch.Generator().manual_seed(0)
    return [
        torch.randn(2, w, s, s, generator=generator).to(dtype) for w, s in zip(WIDTHS, sides, strict=True)
    ]


@NAMES
@pytest.mark.parametrize("kind", KINDS)
def test_logits_fit_the_image_after_a_whole_enlargement(name, kind):
    strides, sides = KINDS[kind]
    logits = DECODERS[name](WIDTHS, 16, 3, strides)(maps(sides))
    image_px = strides[0] * sides[0]
    assert logits.shape[:2] == (2, 3)
    assert logits.shape[2] == logits.shape[3] and image_px % logits.shape[2] == 0


@NAMES
def test_without_strides_the_maps_are_those_of_patches_of_16(name):
    torch.manual_seed(0)
    silent = DECODERS[name](WIDTHS, 16, 3)
    torch.manual_seed(0)
    said = DECODERS[name](WIDTHS, 16, 3, strides=[16] * 4)
    assert silent.state_dict().keys() == said.state_dict().keys()
    features = maps(KINDS["plain"][1])
    with torch.no_grad():
        assert torch.equal(silent.eval()(features), said.eval()(features))


@NAMES
def test_norms_and_dropout_are_those_that_processes_can_share(name):
    modules = list(DECODERS[name](WIDTHS, 16, 3).modules())
    kinds = {type(module) for module in modules}
    norms = {kind for kind in kinds if issubclass(kind, nn.modules.batchnorm._NormBase)}
    assert norms <= {nn.BatchNorm2d, nn.InstanceNorm2d}
    dropouts = [module for module in modules if isinstance(module, nn.modules.dropout._DropoutNd)]
    # timm's blocks hold dropouts that drop nothing.
    assert not any(dropout.p for dropout in dropouts)


@NAMES
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_reach_every_parameter(name, kind):
    strides, sides = KINDS[kind]
    decoder = DECODERS[name](WIDTHS, 16, 3, strides)
    decoder(maps(sides)).square().sum().backward()
    assert all(parameter.grad is not None for parameter in decoder.parameters())


@NAMES
def test_bf16_autocast_gives_about_the_same(name):
    decoder = DECODERS[name](WIDTHS, 16, 3).eval()
    features = maps(KINDS["plain"][1])
    with torch.no_grad():
        exact = decoder(features)
        with torch.autocast("cpu", torch.bfloat16):
            rough = decoder(features)
    assert rough.dtype == torch.bfloat16
    assert (rough.float() - exact).norm() < 0.05 * exact.norm()
