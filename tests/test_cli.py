import json
import sys

import pytest

from medseg import cli
from medseg.cli.console import console
from medseg.errors import Interrupted, OutOfMemory
from medseg.studies import run


def call(monkeypatch, capsys, *arguments):
    """Exit code, standard output and error of one call of the command line, in this process."""
    monkeypatch.setattr(sys, "argv", ["medseg", *map(str, arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    out, err = capsys.readouterr()
    return ended.value.code or 0, out, err


@pytest.fixture
def medseg(monkeypatch, capsys):
    monkeypatch.setattr(console, "width", 200, raising=False)
    return lambda *arguments: call(monkeypatch, capsys, *arguments)


COMMANDS = [
    ("data", "phantom"),
    ("data", "download"),
    ("train",),
    ("predict",),
    ("evaluate",),
    ("curve",),
    ("inflate",),
    ("model", "list"),
    ("model", "show"),
    ("study", "list"),
    ("study", "status"),
    ("study", "run"),
    ("book", "build"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example(medseg, command):
    code, out, _ = medseg(*command, "--help")
    assert code == 0
    assert f"Example: medseg {' '.join(command)}" in " ".join(out.split())


@pytest.mark.slow
def test_from_phantom_to_scores(medseg, tmp_path):
    data, run, predicted = tmp_path / "data", tmp_path / "run", tmp_path / "predicted"
    assert medseg("data", "phantom", data, "--cases", 4, "--seed", 3)[0] == 0
    train = ("train", data, "-o", run, "--profile", "smoke", "--steps", 2)
    assert medseg(*train)[0] == 0
    before = (run / "record.json").read_bytes()
    code, _, err = medseg(*train)
    assert code == 2 and "--resume" in err and "--overwrite" in err
    assert (run / "record.json").read_bytes() == before
    images = sorted((data / "imagesTr").glob("*.nii.gz"))
    assert medseg("predict", run, *images, "-o", predicted)[0] == 0
    assert [path.name for path in sorted(predicted.iterdir())] == [path.name for path in images]
    assert medseg("evaluate", predicted, data / "labelsTr", "-o", tmp_path / "metrics.csv")[0] == 0
    assert len((tmp_path / "metrics.csv").read_text().splitlines()) == 1 + 4 * 3
    before = images[0].read_bytes()
    code, _, err = medseg("predict", run, *images, "-o", data / "imagesTr")
    assert code == 2 and "would replace the images" in err and images[0].read_bytes() == before
    code, _, err = medseg("predict", run, *images, "-o", tmp_path / "metrics.csv")
    assert code == 2 and "cannot be made" in err


def test_model_show_json_states_parts_and_input(medseg):
    code, out, _ = medseg("model", "show", "hippocampus-vit-tiny-5", "--json")
    size = json.loads(out)
    assert code == 0
    assert size["parameters"] == sum(size["parameters_per_part"].values())
    assert size["flops"] == sum(size["flops_per_part"].values())
    assert size["input_shape"] == [1, 1, 5, 160, 160]


def test_model_show_json_states_the_cost_of_the_papers_encoder(medseg):
    code, out, _ = medseg("model", "show", "transseg-beit-base-5", "--json")
    size = json.loads(out)
    assert code == 0
    assert size["parameters_per_part"] == {"encoder": 86_620_224, "decoder": 74_940_686}
    assert size["flops_with_layer_norms_per_part"]["encoder"] == 214_954_014_720


@pytest.mark.parametrize(
    ("name", "adapter", "trainable"),
    [
        ("medtuning-vit-base-upernet", "med_adapter", 17_853_188),
        ("medtuning-vit-base-upernet", "scratch", 100_849_156),
        ("medtuning-vit-base-upernet", "head", 15_007_492),
        ("medtuning-swin-unet", "med_adapter", 7_489_098),
        ("medtuning-swin-unet", "full", 27_154_116),
        ("medtuning-swin-unet", "head", 6_751_530),
    ],
)
def test_model_show_json_states_what_the_paper_tunes(medseg, name, adapter, trainable):
    code, out, _ = medseg("model", "show", name, "--adapter", adapter, "--json")
    assert (code, json.loads(out)["trainable"]) == (0, trainable)


TINY_STUDY = """
name: {name}
title: Two steps
question: Does it run?
dataset: {dataset}
seeds: [1]
paper_table: none
budgets:
  colab:
    model: {{encoder: test_vit, taps: [1, 2, 3, 5], slices: 3, image_px: 32, decoder_channels: 8,
            weights: null}}
    train: {{steps: 2, batch: 2, warmup_steps: 1}}
cells:
  - {{cell: only, title: only}}
"""


def test_study_run_of_a_group_leaves_out_what_has_no_data(medseg, phantoms, tmp_path, monkeypatch):
    for folder in ("studies", "results"):
        (tmp_path / folder).mkdir()
    for name, dataset in (("pair_a", "Phantom"), ("pair_b", "BraTS2019")):
        text = TINY_STUDY.format(name=name, dataset=dataset)
        (tmp_path / "studies" / f"{name}.yaml").write_text(text)
    monkeypatch.setenv("MEDSEG_ROOT", str(tmp_path))
    monkeypatch.setenv("MEDSEG_DATA", str(phantoms.parent))
    code, out, err = medseg("study", "run", "pair", "--runs", tmp_path / "runs")
    assert code == 0, err
    assert "pair_b: data not at hand: BraTS2019" in out
    assert [path.name for path in (tmp_path / "results").iterdir()] == ["pair_a"]


def test_study_status_names_what_is_printed_and_no_cell(medseg):
    code, out, _ = medseg("study", "status", "transseg_ablations")
    assert code == 0
    lines = [line.strip() for line in out.splitlines()]
    start = lines.index("Printed in the paper, no cell of the study:")
    assert lines[start + 1 : start + 3] == ["BEiT-Random: 74.70", "CT-DINO, RSNA-CT, SSL: 82.56"]


def test_study_status_json_lists_every_cell_with_the_papers_number(medseg):
    code, out, _ = medseg("study", "status", "transseg_main", "--json")
    cells = {cell["cell"]: cell for cell in json.loads(out)["cells"]}
    assert code == 0
    assert set(cells) == {"transfer_depth", "transfer", "depth", "neither", "unet3d"}
    assert cells["transfer_depth"]["paper_dice"] == 86.83
    assert cells["depth"]["paper_dice"] is None
    assert all(cell["status"] in ("done", "partial", "missing", "failed") for cell in cells.values())


BAD = {
    "unknown study": (("study", "status", "nothing"), "unknown study"),
    "unknown arm": (("study", "run", "transseg_main", "--cell", "nothing"), "no cell"),
    "unknown model": (("model", "show", "nothing"), "unknown model"),
    "no data": (("train", "DIR/nowhere", "-o", "DIR/run"), "expected"),
    "no run": (("predict", "DIR/nowhere", "DIR/a.nii.gz", "-o", "DIR/out"), "holds no run"),
    "no predictions": (("evaluate", "DIR/nowhere", "DIR", "-o", "DIR/m.csv"), "expected"),
    "unknown data set": (("evaluate", "DIR", "DIR", "-o", "DIR/m.csv", "--dataset", "Nobody"), "BraTS2020"),
    "not of BraTS": (("evaluate", "DIR", "DIR", "-o", "DIR/m.csv", "--server-2020"), "rules of BraTS"),
    "unknown page": (("book", "build", "--page", "nothing"), "no notebook"),
    "both options": (("train", "DIR", "-o", "DIR/run", "--resume", "--overwrite"), "exclude"),
    "three parts": (("train", "DATA", "-o", "DIR/run", "--profile", "smoke", "--accumulate", 3), "not valid"),
    "best of none": (("train", "DATA", "-o", "DIR/run", "--selection", "best"), "not valid"),
    "unknown logger": (("train", "DATA", "-o", "DIR/run", "--logger", "nothing"), "machine"),
    "no curve": (("curve", "DIR/nowhere", "-o", "DIR/curve.png"), "holds no learning curve"),
    "phantoms below a file": (("data", "phantom", "/dev/null/x", "--cases", 3), "cannot be made"),
    "a folder in the way": (("inflate", "resnet18", "-o", "DIR/dir.safetensors"), "cannot be written"),
    "unknown weights": (("train", "DATA", "-o", "DIR/run", "--weights", "nothing"), "unknown weights"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_ends_with_2_says_what_to_do_and_writes_nothing(medseg, tmp_path, phantoms, name):
    arguments, text = BAD[name]
    (tmp_path / "dir.safetensors").mkdir()
    code, _, err = medseg(
        *(str(a).replace("DIR", str(tmp_path)).replace("DATA", str(phantoms)) for a in arguments)
    )
    assert code == 2
    assert text in err
    for word in ("expected:", "got:", "what to do:"):
        assert word in err
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_a_launcher_with_more_processes_than_the_run_is_refused(medseg, tmp_path, phantoms, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    code, _, err = medseg("train", phantoms, "-o", tmp_path / "run", "--profile", "smoke")
    assert code == 2 and "--devices" in err and not (tmp_path / "run").exists()


ENDS = {
    Interrupted("saved after step 3 of 9; go on with --resume"): (75, 0),
    OutOfMemory("out of memory with 4 windows in a forward pass"): (1, 1),
    FloatingPointError("loss is nan at step 3"): (1, 1),
}


@pytest.mark.parametrize(("error", "codes"), ENDS.items(), ids=[type(e).__name__ for e in ENDS])
def test_each_way_to_end_has_its_code(medseg, monkeypatch, tmp_path, phantoms, error, codes):
    def ends(*arguments, **options):
        raise error

    monkeypatch.setattr(run, "run_one", ends)
    train = ("train", phantoms, "-o", tmp_path / "run", "--profile", "smoke")
    code, _, err = medseg(*train)
    assert code == codes[0] and str(error) in err
    # A further process says nothing, and one that was asked to end gives no cause to kill the others.
    monkeypatch.setenv("LOCAL_RANK", "1")
    code, _, err = medseg(*train)
    assert (code, err) == (codes[1], "")


@pytest.mark.parametrize(
    ("environment", "first"),
    [
        ({}, True),
        ({"LOCAL_RANK": "1"}, False),
        ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, False),
        ({"RANK": "0", "LOCAL_RANK": "0"}, True),
        ({"RANK": "2", "LOCAL_RANK": "0"}, False),
        ({"SLURM_PROCID": "0"}, True),
        ({"SLURM_PROCID": "3"}, False),
    ],
)
def test_one_process_speaks(monkeypatch, environment, first):
    from medseg.cli.console import is_first_process

    for name in ("RANK", "LOCAL_RANK", "NODE_RANK", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert is_first_process() is first
