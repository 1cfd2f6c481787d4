"""One thread, checked shapes, and what the tests share: phantoms, a tiny run, the gates of marked tests."""

import os
from pathlib import Path
from types import SimpleNamespace

# Tests run side by side; sums in another order would give other bits.
os.environ["OMP_NUM_THREADS"] = "1"

import pytest
from hypothesis import settings
from jaxtyping import install_import_hook

# From here on every function of medseg checks types and shapes when it is called.
install_import_hook("medseg", "beartype.beartype")

# No test is timed, and an example that fails here fails everywhere.
settings.register_profile("medseg", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("medseg")

# A marked test needs the folder that a variable names.
GATES = {"real_data": "MEDSEG_DATA", "real_weights": "MEDSEG_WEIGHTS"}


def pytest_collection_modifyitems(items):
    for item in items:
        for marker, variable in GATES.items():
            if item.get_closest_marker(marker) and not os.environ.get(variable):
                item.add_marker(pytest.mark.skip(reason=f"{variable} names no folder"))


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory) -> Path:
    """A folder in the Decathlon layout with six phantoms: four to train on, one each to validate and test."""
    from medseg.data.phantoms import write_phantoms

    folder = tmp_path_factory.mktemp("data") / "Phantom"
    write_phantoms(folder, cases=6, seed=7)
    return folder


@pytest.fixture(scope="session")
def phantom_data(phantoms):
    """The phantoms with their card and split."""
    from medseg.studies.run import open_data

    return open_data(phantoms, split_seed=1234)


@pytest.fixture(scope="session")
def loaded_phantoms(phantom_data):
    """The first two training cases in memory."""
    from medseg.data.cases import load_case

    names = phantom_data.split.train[:2]
    return [load_case(phantom_data.cases[name], phantom_data.card) for name in names]


@pytest.fixture(scope="session")
def tiny_config():
    """Builder of run configurations that take a second: six blocks of width 64, 32 px, four steps of two."""
    from medseg.config import resolve

    encoder = {"encoder": "test_vit", "taps": (1, 2, 3, 5)}
    model = encoder | {"image_px": 32, "slices": 3, "decoder_channels": 8, "classes": 4}
    train = {"steps": 4, "batch": 2, "checkpoint_every": 2, "warmup_steps": 1}

    def config(**changes):
        return resolve("smoke", {"model": model, "train": train}, changes)

    return config


@pytest.fixture(scope="session")
def tiny_run(phantom_data, tiny_config, tmp_path_factory):
    """A finished run: its record, folder and configuration. Read it, do not write to it."""
    from medseg.studies.run import run_one

    folder, config = tmp_path_factory.mktemp("runs") / "whole", tiny_config()
    return SimpleNamespace(record=run_one(config, phantom_data, folder), folder=folder, config=config)
