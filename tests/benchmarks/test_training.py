import json
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import training
from benchmarks.plain_loop import BOTH, IMAGE, LABEL, transforms
from benchmarks.training import Measured, Side, compare, matmul_rate, share_row
from medseg.config import RunConfig, resolve
from medseg.data.layouts import read_msd
from medseg.data.phantoms import write_phantoms
from medseg.data.transforms import HIGH, LOW

SHIFT = 0.1 * (HIGH - LOW)


@pytest.fixture
def config() -> RunConfig:
    small = {"weights": None, "image_px": 64, "decoder_channels": 16, "classes": 4}
    return resolve("colab", {"model": small, "train": {"steps": 5, "batch": 4}})


def test_share_counts_three_forward_passes_of_work() -> None:
    row = share_row("x", samples_per_s=10, forward_flops=2 * 10**12, card_rate=120e12, card="a card")
    assert row.ours == pytest.approx(60)
    assert row.ratio == pytest.approx(0.5)
    assert row.met


def test_matmul_rate_is_products_over_the_median_of_the_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    # Three untimed products of 100 s, then 1, 2 and 9 s.
    ends = np.cumsum([0, 100, 0, 100, 0, 100, 0, 1, 0, 2, 0, 9]).tolist()
    clock = iter(ends)
    monkeypatch.setattr(training, "now", lambda: next(clock))
    assert matmul_rate(torch.float32, "cpu", n=4, repeats=3) == 2 * 4**3 / 2


def test_sides_take_turns_and_medians_count(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    rates = {"a": [1.0, 9.0, 2.0], "b": [5.0, 4.0, 6.0]}

    def in_process(_: str, side: str, __: type[Measured]) -> Measured:
        calls.append(side)
        return Measured(samples_per_s=rates[side].pop(0), peak_bytes=7)

    monkeypatch.setattr(training, "in_process", in_process)
    found = compare({"a": "a", "b": "b"}, rounds=3)  # type: ignore[dict-item]
    assert calls == ["a", "b", "b", "a", "a", "b"]
    assert {name: one.samples_per_s for name, one in found.items()} == {"a": 2.0, "b": 5.0}


def test_a_process_gives_the_median_step_without_warm_up_and_last_step(
    config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "Phantom"
    write_phantoms(folder, 1, seed=1)
    card, cases = read_msd(folder)
    side = Side(config=config, card=card, cases=tuple(cases), threads=torch.get_num_threads(), warm=1)
    assert Side.model_validate(json.loads(side.model_dump_json())) == side
    monkeypatch.setattr(training, "device_kind", lambda: "cpu")
    clock = iter((10.0, 11.0, 13.0, 99.0))
    monkeypatch.setattr(training, "now", lambda: next(clock))
    monkeypatch.setattr(training, "_train", lambda _, on_step: [on_step(step) for step in (1, 2, 3, 4, 5)])
    assert training.measure(side).samples_per_s == config.train.batch / 2.0


def test_plain_windows_have_the_networks_size_and_our_range(config: RunConfig, tmp_path: Path) -> None:
    folder = tmp_path / "Phantom"
    write_phantoms(folder, 1, seed=1)
    _, cases = read_msd(folder)
    pipe = transforms(config).set_random_state(1)
    item = pipe({IMAGE: str(cases[0].image), LABEL: str(cases[0].labels)})
    assert set(BOTH) <= set(item)
    assert item[IMAGE].shape == (5, 64, 64) and item[IMAGE].dtype == torch.float32
    assert item[LABEL].shape == (1, 64, 64) and item[LABEL].dtype == torch.long
    assert LOW - SHIFT - 1e-5 <= item[IMAGE].min() < item[IMAGE].max() <= HIGH + SHIFT + 1e-5
