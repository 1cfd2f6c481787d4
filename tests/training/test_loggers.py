"""TensorBoard gets the loss; a logger that is not installed is refused before the run starts."""

import builtins

import pytest

from medseg.errors import InputError
from medseg.training import loggers
from medseg.training.engine import Engine
from medseg.training.loop import fit


def test_none_is_asked_for():
    assert loggers.make((), None) == []


def test_tensorboard_gets_loss_and_dice(tiny_config, loaded_phantoms, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    config = tiny_config(train={"validate_every": 2})
    engine = Engine(loggers=("tensorboard",))
    fitted = fit(config, loaded_phantoms, tmp_path, validation=loaded_phantoms[:1], engine=engine)
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    seen = [(event.step, event.value) for event in events.Scalars("loss")]
    assert [step for step, _ in seen] == [1, 2, 3, 4]
    assert [value for _, value in seen] == pytest.approx(fitted.losses, rel=1e-6)
    scored = [(event.step, event.value) for event in events.Scalars("dice")]
    assert [step for step, _ in scored] == [2, 4]
    assert [dice for _, dice in scored] == pytest.approx([d for _, d in fitted.validations], rel=1e-6)


@pytest.mark.parametrize(("name", "package"), [("wandb", "wandb"), ("tensorboard", "tensorboard")])
def test_one_that_is_not_installed_is_refused(tmp_path, monkeypatch, name, package):
    real = builtins.__import__

    def absent(wanted, *arguments, **options):
        if wanted.split(".")[0] in (package, "tensorboardX"):
            raise ModuleNotFoundError(f"No module named {wanted!r}")
        return real(wanted, *arguments, **options)

    def maker(run_dir):
        __import__(package)
        pytest.fail("it was found")

    monkeypatch.setattr(builtins, "__import__", absent)
    if name == "tensorboard":
        # The logger asks what is installed, once for the whole process.
        monkeypatch.setitem(loggers.MAKERS, name, maker)
    with pytest.raises(InputError, match=f"'{name}' is not installed") as caught:
        loggers.make([name], tmp_path / "run")
    assert f"pip install {package}" in caught.value.do and "curve.csv" in caught.value.do
    assert not list(tmp_path.iterdir())
