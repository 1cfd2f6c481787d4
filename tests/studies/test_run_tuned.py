"""A run that tunes a part of the encoder: the base stays as it was, and the folder gives the network back."""

import pytest
import torch

from medseg.segmenter import build
from medseg.studies.run import run_one
from medseg.training.run_folder import load_model


@pytest.mark.parametrize("method", ["head", "lora", "vpt_deep", "med_adapter"])
def test_the_base_stays_and_the_rest_is_kept(method, phantom_data, tiny_config, tmp_path):
    options = {"slices": 1} if method == "med_adapter" else {}
    config = tiny_config(model={"tuning": {"method": method, "options": options}})
    record = run_one(config, phantom_data, tmp_path / "run")
    assert record.outcome.status == "done" and record.config.model.tuning.method == method
    assert 0 < record.model.trainable < record.model.parameters
    trained, asked = load_model(tmp_path / "run")
    started, _ = build(asked.config.model, asked.config.train.seed)
    before = started.state_dict()
    frozen = [name for name, p in trained.named_parameters() if not p.requires_grad]
    assert frozen and all(name.startswith("parts.encoder.") for name in frozen)
    assert all(torch.equal(trained.state_dict()[name], before[name]) for name in frozen)
    assert sum(p.numel() for p in trained.parameters() if p.requires_grad) == record.model.trainable
    moved = [name for name, p in trained.named_parameters() if not torch.equal(p, before[name])]
    assert any(name.startswith("parts.decoder.") for name in moved)
    assert method == "head" or any(name.startswith("adapter.") for name in moved)
