"""The record of one run, schema 1: enough to recompute every number a page shows, and nothing private.

Only raw per-case counts and distances are kept; means, intervals and ranks are computed when a page is
built. Undefined values are null. There is no host name, user or path in a record.
"""

from collections.abc import Collection
from typing import Any, Literal

from medseg.config import Frozen, RunConfig, digest_of
from medseg.data.catalog import Region
from medseg.metrics.case import CaseScore

SCHEMA = 1
RUN_ID_LENGTH = 16

# Column order of the per-case rows: short rows keep a record small enough to read and to diff.
COLUMNS = ("case", "label", "dice", "hd95_mm", "nsd", "volume_ml", "reference_ml", "tp", "fp", "fn")
Part = Literal["validation", "test"]
# case and label; five scores, of which all but dice are null where the voxel spacing is not known; counts.
Row = tuple[str, int, float | None, float | None, float | None, float | None, float | None, int, int, int]


class Identity(Frozen):
    """Which question a run answers; `run_id` is the digest of configuration, split and weights."""

    study: str
    cell: str
    fold: int
    seed: int
    run_id: str


class Outcome(Frozen):
    """How the run ended; a failure is a result."""

    status: Literal["done", "failed", "out_of_memory", "interrupted", "timed_out"]
    reason: str | None = None


class DataFacts(Frozen):
    """The data set and the cases of each part; `split_sha256` covers all ids in order.

    `regions` says what the label of a row stands for; where it is empty, a row's label is one of the map.
    """

    name: str
    title: str
    licence: str
    md5: str | None
    split_sha256: str
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]
    regions: dict[int, Region] = {}


class WeightsFacts(Frozen):
    """What the encoder was filled with: null source for a run from scratch.

    `decoder_keys` counts what was copied on from the encoder to the decoder (Swin-Unet), and what was not.
    """

    source: str | None
    sha256: str | None
    rule: str | None
    keys: dict[str, int]
    coverage: float | None
    drawn: float | None
    decoder_keys: dict[str, int] = {}


class ModelFacts(Frozen):
    """Size of the network; GMAC is half of the GFLOP of one window at the stated shape (B C D H W).

    `tuned_bytes` is the size of the file of what was tuned, null where all was or the run did not end.
    """

    parameters: int
    trainable: int
    gmac: float
    input_shape: tuple[int, ...]
    tuned_bytes: int | None = None


class Protocol(Frozen):
    """What was done in training and how the scored weights were chosen."""

    steps: int
    batch: int
    precision: str
    selection: str
    test_used: str
    # Steps that the gradient scaler left out, and the options of `medseg.training.engine.Engine`.
    skipped_steps: int = 0
    engine: dict[str, Any] = {}


class Cost(Frozen):
    """Time in wall seconds; peak memory is of the process on a CPU, of the allocator on a GPU."""

    train_s: float
    infer_s_per_case: float | None
    peak_bytes: int
    samples_per_s: float


class Environment(Frozen):
    """Hardware and library versions."""

    hardware: str
    threads: int
    python: str
    libraries: dict[str, str]


class Code(Frozen):
    """The version that ran: commit is null outside a git checkout."""

    version: str
    commit: str | None
    dirty: bool | None


class Record(Frozen):
    """One run."""

    schema_number: Literal[1] = 1
    identity: Identity
    outcome: Outcome
    config: RunConfig
    data: DataFacts
    weights: WeightsFacts
    model: ModelFacts
    protocol: Protocol
    curve: tuple[tuple[int, float], ...]
    columns: tuple[str, ...] = COLUMNS
    per_case: dict[Part, tuple[Row, ...]]
    cost: Cost
    environment: Environment
    code: Code
    started: str
    finished: str

    def scores(self, *parts: Part) -> list[CaseScore]:
        """Per-case scores of the named parts (all parts when none is named)."""
        rows = [row for part in (parts or tuple(self.per_case)) for row in self.per_case.get(part, ())]
        return [CaseScore.model_validate(dict(zip(self.columns, row, strict=True))) for row in rows]

    def of_labels(self, labels: Collection[int]) -> "Record":
        """The record with the scores of some of the labels."""
        place = self.columns.index("label")
        per_case = {
            part: tuple(r for r in rows if r[place] in labels) for part, rows in self.per_case.items()
        }
        return self.model_copy(update={"per_case": per_case})

    def substance(self) -> dict[str, Any]:
        """What two runs of the same thing on one machine must agree in: all but time, cost and code state."""
        return self.model_dump(mode="json", exclude={"cost", "started", "finished", "code", "environment"})


def run_id(config: RunConfig, split_sha256: str, weights_sha256: str | None) -> str:
    """The name of a run: digest of the resolved configuration, the split and the weights."""
    return digest_of([config.digest(), split_sha256, weights_sha256])[:RUN_ID_LENGTH]


def row_of(score: CaseScore) -> Row:
    """A score as a row in COLUMNS order, floats rounded to 6 decimals (counts stay exact)."""
    values = [getattr(score, name) for name in COLUMNS]
    return tuple(round(v, 6) if isinstance(v, float) else v for v in values)  # type: ignore[return-value]


def thinned(losses: list[float], points: int = 50) -> tuple[tuple[int, float], ...]:
    """At most `points` (last step, mean loss) pairs over equal stretches of the run.

    >>> thinned([4.0, 2.0, 1.0, 1.0], points=2)
    ((2, 3.0), (4, 1.0))
    """
    stretch = max(1, -(-len(losses) // points))
    parts = (losses[first : first + stretch] for first in range(0, len(losses), stretch))
    ends = (min(first + stretch, len(losses)) for first in range(0, len(losses), stretch))
    return tuple((end, round(sum(part) / len(part), 6)) for end, part in zip(ends, parts, strict=True))
