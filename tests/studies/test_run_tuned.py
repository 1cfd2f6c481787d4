"""A run that tunes a part of the encoder: the base stays as it was, and the folder gives the network back."""

import pytest
import torch

from medseg.data.cases import load_case
from medseg.inference.slice_windows import predict
from medseg.records import provenance
from medseg.records.schema import Outcome
from medseg.segmenter import build, measure_size
from medseg.studies.report import Facts, failed
from medseg.studies.run import run_one
from medseg.training.run_folder import MODEL_FILE, TUNED_FILE, load_model
from medseg.tuning import load_tuned


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
    # Beside the base, the file of what was tuned is the whole network.
    tuned = tmp_path / "run" / TUNED_FILE
    assert record.model.tuned_bytes == tuned.stat().st_size < (tmp_path / "run" / MODEL_FILE).stat().st_size
    load_tuned(started, tuned)
    assert started.state_dict().keys() == trained.state_dict().keys()
    assert all(torch.equal(value, trained.state_dict()[name]) for name, value in started.state_dict().items())
    case = phantom_data.cases[phantom_data.split.test[0]]
    image = load_case(case, phantom_data.card).image
    masks = [predict(network.eval(), image, asked.config.model) for network in (started, trained)]
    assert (masks[0] == masks[1]).all()


def test_what_went_from_the_encoder_to_the_decoder_is_recorded(phantom_data, tiny_config):
    swin = {"encoder": "swin_unet_tiny", "taps": (0, 1, 2, 3), "mixing": "slices", "target": "all"}
    model = swin | {"decoder": "swin_unet", "slices": 2, "image_px": 64, "tuning": {"method": "head"}}
    config = tiny_config(model=model)
    network, report = build(config.model, config.train.seed)
    size = measure_size(config.model)
    facts = Facts("s", "c", config, phantom_data.card, phantom_data.split, report, size, provenance.now())
    record = failed(facts, Outcome(status="failed", reason="not run"), "fp32")
    # 12 tensors of each of six blocks, and their tables, which were resized for the encoder.
    copied, resized = 6 * 12, 6
    left = len(network.parts["decoder"].state_dict()) - copied - resized
    facts = record.weights.decoder_keys
    assert (facts["mapped"], facts["resized"], facts["drawn"]) == (copied, resized, left)
    assert record.weights.keys["resized"] == 8 and facts["skipped"] > 0
