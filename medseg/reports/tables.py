"""Tables for pages, computed from records alone: measured beside the paper's number."""

import math
from collections.abc import Sequence

import pandas as pd

from medseg.records import store
from medseg.records.schema import Record
from medseg.studies.status import CellState, Measured, states
from medseg.studies.study import Study

NOT_RUN = "not run"
NO_SPACING = "no spacing"
COST_COLUMNS = ["model", "HD95 mm", "undefined", "NSD", "train min", "s per case", "peak GB", "M parameters"]


def cut(value: float | None, digits: int = 2) -> str:
    """A number as text, cut after `digits` decimals: nothing is rounded up.

    >>> cut(86.999), cut(None)
    ('86.99', '')
    """
    if value is None or math.isnan(value):
        return ""
    scale = 10**digits
    # The tiny term undoes binary fractions such as 0.29 * 100 = 28.999...
    return f"{math.floor(value * scale + 1e-9) / scale:.{digits}f}"


def signed(value: float | None) -> str:
    """A difference as text with its sign, cut towards zero.

    >>> signed(0.449), signed(-0.449)
    ('+0.44', '-0.44')
    """
    return "" if value is None else f"{'-' if value < 0 else '+'}{cut(abs(value))}"


def dice_table(study: Study, records: Sequence[Record], profile: str) -> pd.DataFrame:
    """One row a cell: Dice in percent, per case and pooled apart, beside the paper's number."""
    found = states(study, records, profile)
    rows = [_start(state) | (_dice(state.measured) if state.measured else {}) for state in found]
    rows += [{"model": r.title, "paper Dice": cut(r.paper_dice)} for r in study.references]
    return pd.DataFrame(rows).fillna("").set_index("model")


def distance_and_cost_table(study: Study, records: Sequence[Record], profile: str) -> pd.DataFrame:
    """One row a cell that was run: distances, and what it took in time and memory."""
    found = [(state.title, m) for state in states(study, records, profile) if (m := state.measured)]
    return pd.DataFrame([{"model": title} | _cost(m) for title, m in found], columns=COST_COLUMNS).set_index(
        "model"
    )


def _start(state: CellState) -> dict[str, str]:
    row = {"model": state.title, "paper Dice": cut(state.paper_dice)}
    row["seeds"] = f"{len(state.seeds_done)} of {len(state.seeds_wanted)}"
    if state.measured is None:
        row["Dice per case"] = NOT_RUN if state.status == "missing" else state.status
    return row


def _dice(found: Measured) -> dict[str, str]:
    return {
        "Dice per case": cut(100 * found.dice),
        "95 % interval": f"{cut(_percent(found.dice_low))} to {cut(_percent(found.dice_high))}",
        "validation": cut(100 * found.dice_validation),
        "test": cut(100 * found.dice_test),
        "Dice pooled": cut(100 * found.dice_pooled),
    }


def _cost(found: Measured) -> dict[str, str]:
    # NSD has a value wherever one map holds a label: without one, the files have no voxel spacing.
    in_mm = found.nsd is not None
    return {
        "HD95 mm": cut(found.hd95_mm) if in_mm else NO_SPACING,
        "undefined": f"{found.hd95_undefined:g}" if in_mm else "",
        "NSD": cut(_percent(found.nsd)) if in_mm else NO_SPACING,
        "train min": cut(found.train_s / 60, 1),
        "s per case": cut(found.infer_s_per_case),
        "peak GB": cut(found.peak_bytes / 1e9, 1),
        "M parameters": cut(found.parameters / 1e6),
    }


def provenance_line(records: Sequence[Record], profile: str) -> str:
    """Three lines: budget, hardware, commits and dates of the records of a profile."""
    kept = store.of_profile(records, profile)
    if not kept:
        return f"No record at profile {profile} yet."
    hardware = sorted({f"{r.environment.hardware}, {r.environment.threads} threads" for r in kept})
    budget = sorted(
        {f"{r.protocol.steps} steps of batch {r.protocol.batch}, {r.protocol.precision}" for r in kept}
    )
    commits = sorted({(r.code.commit or "no commit")[:10] for r in kept})
    days = sorted({r.finished[:10] for r in kept})
    return "\n".join(
        [
            f"{len(kept)} records, profile {profile}: {'; '.join(budget)}",
            "; ".join(hardware),
            f"commit {', '.join(commits)}; {days[0]} to {days[-1]}",
        ]
    )


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value
