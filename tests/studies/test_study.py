"""Studies as files: they load, and a cell differs from its profile only where it says so."""

import pytest

from medseg.config import PROFILES, merged, resolve
from medseg.errors import InputError
from medseg.models import config_of
from medseg.segmenter import measure_size
from medseg.studies.study import ROOT, Cell, group, load, names, project_root

STUDIES = names(ROOT)
CELLS = [(name, cell.cell) for name in STUDIES for cell in load(name, ROOT).cells]


def leaves(tree, path=()):
    if not isinstance(tree, dict):
        return {path: tree}
    return {p: v for key, value in tree.items() for p, v in leaves(value, (*path, key)).items()}


def test_there_is_a_study():
    assert "transseg_main" in STUDIES


@pytest.mark.parametrize("name", STUDIES)
def test_a_study_is_whole(name):
    study = load(name, ROOT)
    assert study.name == name, "the file is named by its study"
    assert len({cell.cell for cell in study.cells}) == len(study.cells)
    assert len(set(study.seeds)) == len(study.seeds) >= 3
    assert study.question.endswith("?")


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize(("name", "cell"), CELLS)
def test_a_cell_differs_where_it_says_so(name, cell, profile):
    study = load(name, ROOT)
    (chosen,) = study.choose([cell])
    plain, own = (leaves(c.model_dump()) for c in (resolve(profile), study.config(chosen, 5678, profile)))
    differing = {path for path in plain if plain[path] != own[path]}
    said = leaves(merged(study.changes, chosen.changes))
    if profile == "smoke" and said.get(("model", "weights")):
        said["model", "weights"] = "stand_in"
    assert plain.keys() == {path for path in own if "options" not in path}
    budget = leaves(load(name, ROOT).budgets.get(profile, {}))
    shared = set() if chosen.steps_share == 1 else {("train", "steps")}
    assert differing <= {*said, *budget, *shared, ("data", "name"), ("train", "seed")}
    assert all(own[path] == (tuple(v) if isinstance(v, list) else v) for path, v in said.items())
    assert own["data", "name"] == study.dataset and own["train", "seed"] == 5678


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("name", STUDIES)
def test_all_cells_have_one_budget_and_one_data_order(name, profile):
    study = load(name, ROOT)
    configs = [study.config(cell, 1234, profile) for cell in study.cells]
    whole = [study.config(c.model_copy(update={"steps_share": 1.0}), 1234, profile) for c in study.cells]
    budgets = {(c.train.steps, c.train.batch, c.train.seed, c.data.split_seed) for c in whole}
    assert len(budgets) == 1
    steps = [round(c.steps_share * whole[0].train.steps) for c in study.cells]
    assert [config.train.steps for config in configs] == steps
    # At smoke all weights are stand-ins: two sources of one architecture are one run.
    assert profile == "smoke" or len({config.digest() for config in configs}) == len(configs)


def test_factors_of_the_main_study_are_its_changes():
    study = load("transseg_main", ROOT)
    crossed = [cell for cell in study.cells if cell.factors]
    assert {tuple(sorted(cell.factors.items())) for cell in crossed} == {
        (("depth", depth), ("transfer", transfer)) for depth in (True, False) for transfer in (True, False)
    }
    for cell in crossed:
        model = study.config(cell, 1234, "full").model
        assert cell.factors == {"transfer": model.weights is not None, "depth": model.slices > 1}
    assert [cell.cell for cell in study.cells if not cell.factors] == ["unet3d"]


def test_numbers_of_the_paper():
    study = load("transseg_main", ROOT)
    printed = {cell.cell: cell.paper_dice for cell in study.cells if cell.paper_dice is not None}
    assert printed == {"transfer_depth": 86.83, "transfer": 86.24}
    assert [reference.paper_dice for reference in study.references] == [88.91]


@pytest.mark.parametrize("cell", ["swin", "video_swin", "mobile_sam", "beit"])
def test_stages_fit_the_pixels_of_the_full_recipe(cell):
    study = load("transseg_ablations", ROOT)
    (chosen,) = study.choose([cell])
    config = study.config(chosen, 1234, "full")
    # A network that the pixels do not fit is refused.
    assert measure_size(config.model).input_shape[-1] == config.model.image_px >= 240


OF_THE_PAPER = [n for n in STUDIES if n.startswith("transseg_") and "ablations" not in n]


@pytest.mark.parametrize("name", OF_THE_PAPER)
def test_the_main_studies_take_the_network_of_the_paper_at_full(name):
    study, asked = load(name, ROOT), config_of("transseg-beit-base-5")
    model = study.config(study.choose(["transfer_depth"])[0], 1234, "full").model
    for field in ("encoder", "decoder", "taps", "slices", "decoder_channels", "inflation"):
        assert getattr(model, field) == getattr(asked, field), field
    assert model.weights == "beit_base"


def test_unknown_study():
    with pytest.raises(InputError, match="unknown study") as caught:
        load("nobody", ROOT)
    assert "transseg_main" in caught.value.expected


def test_unknown_cell():
    study = load("transseg_main", ROOT)
    with pytest.raises(InputError, match="no cell") as caught:
        study.choose(["transfer", "nobody"])
    assert caught.value.got == "nobody" and "unet3d" in caught.value.expected


def test_cells_come_in_the_order_asked_for_or_of_the_study():
    study = load("transseg_main", ROOT)
    assert [cell.cell for cell in study.choose(["neither", "depth"])] == ["neither", "depth"]
    assert study.choose(None) == list(study.cells)


@pytest.mark.parametrize("text", ["{", "just text", "name: a\n", "name: [1, 2"])
def test_a_damaged_study(tmp_path, text):
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "own.yaml").write_text(text)
    assert names(tmp_path) == ["own"]
    with pytest.raises(InputError, match="does not describe a study"):
        load("own", tmp_path)


def test_root_is_the_variable_then_the_folder_then_the_checkout(tmp_path, monkeypatch):
    monkeypatch.delenv("MEDSEG_ROOT", raising=False)
    monkeypatch.chdir(tmp_path)
    assert project_root() == ROOT
    (tmp_path / "studies").mkdir()
    (tmp_path / "results").mkdir()
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert project_root() == tmp_path
    monkeypatch.setenv("MEDSEG_ROOT", str(tmp_path / "elsewhere"))
    assert project_root() == tmp_path / "elsewhere"


def test_a_study_on_a_base_has_its_cells():
    base, own = (load(name, ROOT) for name in ("transseg_ablations", "transseg_ablations_acdc"))
    assert own.cells == base.cells and own.tables == base.tables and own.dataset == "ACDC" != base.dataset


def test_folds_are_asked_one_by_one():
    study = load("medtuning_brats19_folds", ROOT)
    one = load("medtuning_brats19", ROOT)
    assert study.splits == (0, 1, 2, 3, 4) and one.splits == (None,) and not one.tables
    assert {row.cell for table in study.tables for row in table.rows} == {c.cell for c in study.cells}
    (cell,) = study.choose(["med_adapter"])
    plain, fold = study.config(cell, 1234, "full"), study.config(cell, 1234, "full", 3)
    assert plain.data.fold is None and fold.data.fold == 3
    assert fold.model_copy(update={"data": plain.data}) == plain


def test_a_base_may_have_a_base():
    base, own = (load(name, ROOT) for name in ("medtuning_methods", "medtuning_methods_time_acdc"))
    assert own.dataset == "ACDC" and own.budgets == base.budgets and own.changes == base.changes
    assert own.cells == load("medtuning_methods_time", ROOT).cells


def test_a_base_of_itself_is_refused(tmp_path):
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies" / "own.yaml").write_text("base: own\n")
    with pytest.raises(InputError, match="does not describe a study"):
        load("own", tmp_path)


@pytest.mark.parametrize("profile", ["smoke", "colab", "full"])
def test_a_share_of_the_steps_changes_nothing_else(profile):
    study = load("medtuning_inflation_time", ROOT)
    (whole,) = load("medtuning_inflation", ROOT).choose(["center"])
    asked = study.config(whole, 1, profile)
    for cell in study.cells:
        config = study.config(cell, 1, profile)
        assert config.train.steps == round(cell.steps_share * asked.train.steps) != asked.train.steps
        same = config.train.model_copy(update={"steps": asked.train.steps})
        assert config.model_copy(update={"train": same}) == asked
    with pytest.raises(ValueError, match="steps_share"):
        Cell(cell="none", title="none", steps_share=0)


def test_rows_are_cells_of_the_base_with_numbers_of_their_own():
    base, own = (load(name, ROOT) for name in ("transseg_main", "transseg_liver"))
    assert {cell.cell: cell.paper_dice for cell in own.cells} == {"transfer_depth": 87.67, "transfer": 87.24}
    for cell in own.cells:
        (of_base,) = base.choose([cell.cell])
        assert cell.model_copy(update={"paper_dice": of_base.paper_dice}) == of_base


def test_rows_that_the_base_does_not_have_are_refused(tmp_path):
    (tmp_path / "studies").mkdir()
    for name in ("transseg_main", "transseg_liver"):
        text = (ROOT / "studies" / f"{name}.yaml").read_text()
        (tmp_path / "studies" / f"{name}.yaml").write_text(text.replace("{cell: transfer,", "{cell: nobody,"))
    with pytest.raises(InputError, match="does not describe a study"):
        load("transseg_liver", tmp_path)


def test_a_table_is_a_study_of_its_rows():
    study = load("transseg_ablations", ROOT)
    for table in study.tables:
        part = study.part(table.table)
        assert [cell.cell for cell in part.cells] == [row.cell for row in table.rows]
        assert [cell.paper_dice for cell in part.cells] == [row.paper_dice for row in table.rows]
        assert part.name == study.name and part.title == table.title
    assert {row.cell for table in study.tables for row in table.rows} == {cell.cell for cell in study.cells}
    with pytest.raises(InputError, match="no table"):
        study.part("9z")


def test_a_group_is_all_studies_of_a_name():
    assert group("transseg_main", ROOT) == ["transseg_main"]
    found = group("transseg", ROOT)
    assert {"transseg_main", "transseg_ablations_acdc"} <= set(found)
    assert group("nothing", ROOT) == []
