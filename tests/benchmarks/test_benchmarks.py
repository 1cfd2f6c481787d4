import json
import math
from pathlib import Path

import pytest

from benchmarks import training, transseg
from benchmarks.__main__ import NAMES, report, run, table
from benchmarks.inference import products_row
from benchmarks.measure import Aim, Options, Row, median_seconds
from benchmarks.training import STRIDES


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_runs_and_returns_finite_ratios(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MEDSEG_DATA", raising=False)
    rows = list(run(name, Options(quick=True)))
    assert rows and {row.benchmark for row in rows} == {name}
    assert all(math.isfinite(row.ratio) and row.ratio >= 0 for row in rows)
    assert table(rows).row_count == len(rows)
    assert len(json.loads(json.dumps(report(rows, quick=True)))["rows"]) == len(rows)


def test_every_file_is_a_benchmark_or_shared() -> None:
    files = {path.stem for path in Path("benchmarks").glob("*.py")}
    assert files == {
        *NAMES,
        "__init__",
        "__main__",
        "measure",
        "official_pipeline",
        "plain_loop",
        "process",
        "subject",
    }


@pytest.mark.parametrize(
    ("aim", "met"),
    [
        (None, None),
        (Aim("ratio", ">=", 2), True),
        (Aim("ratio", "<=", 1), False),
        (Aim("ours", "<=", 4), True),
        (Aim("ours", "<", 4), False),
    ],
)
def test_aim_is_on_the_ratio_or_on_our_figure(aim: Aim | None, met: bool | None) -> None:
    row = Row("x", "y", "s", baseline=2, ours=4, aim=aim)
    assert row.ratio == 2
    assert row.met is met


def test_ways_take_turns_after_one_untimed_call_each() -> None:
    calls: list[tuple[str, int]] = []
    medians = median_seconds(
        {"a": lambda turn: calls.append(("a", turn)), "b": lambda turn: calls.append(("b", turn))}, repeats=2
    )
    assert calls == [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("b", 2), ("a", 2)]
    assert set(medians) == {"a", "b"}


def test_a_volume_is_held_against_its_flops_at_the_rate_of_products() -> None:
    row = products_row(seconds=3.0, flops=8 * 10**12, rate=4e12, card="a card")
    assert (row.baseline, row.ratio, row.met) == (2.0, 1.5, True)


@pytest.mark.parametrize("device", STRIDES)
@pytest.mark.parametrize("quick", [True, False])
def test_every_training_leaves_steps_to_time(
    quick: bool, device: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, int]] = []

    def compare(sides: dict[object, training.Side], rounds: int) -> dict[object, training.Measured]:
        asked.extend((side.warm, side.config.train.steps) for side in sides.values())
        return dict.fromkeys(sides, training.Measured(samples_per_s=1.0, peak_bytes=1))

    monkeypatch.delenv("MEDSEG_DATA", raising=False)
    for module in (training, transseg):
        monkeypatch.setattr(module, "compare", compare)
        monkeypatch.setattr(module, "device_kind", lambda: device)
    monkeypatch.setattr(training, "_large", lambda *arguments: [])
    training.run(Options(quick=quick))
    transseg.run(Options(quick=quick))
    stride = STRIDES[device]
    for warm, steps in asked:
        assert warm % stride == 0 and len([step for step in range(warm, steps) if step % stride == 0]) >= 2
