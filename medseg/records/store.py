"""Records on disk: canonical JSON, written whole or not at all, one file a run, at most 60 KB."""

import json
from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from medseg.errors import InputError
from medseg.files import write_atomic
from medseg.records.schema import Record

# A fold of BraTS 2020, with 110 scored cases of three regions and 369 case ids, takes 43 KB.
LIMIT_BYTES = 60_000


def to_json(record: Record) -> str:
    """Canonical text of a record: sorted keys, one row of a list a line, no NaN."""
    # A record keeps the fields it was written with: one that is added to the schema later changes no file.
    tree = record.model_dump(mode="json", exclude_unset=True)
    blocks = []
    for key in sorted(tree):
        blocks.append(f" {json.dumps(key)}: {_block(tree[key])}")
    return "{\n" + ",\n".join(blocks) + "\n}\n"


def _block(value: object) -> str:
    """JSON text of one top-level value: lists of rows get a line a row, the rest one line."""
    if isinstance(value, dict) and any(_is_rows(inner) for inner in value.values()):
        parts = [f"  {json.dumps(key)}: {_block(inner)}" for key, inner in sorted(value.items())]
        return "{\n" + ",\n".join(parts) + "\n }"
    if _is_rows(value):
        assert isinstance(value, list)
        return "[\n" + ",\n".join("   " + _compact(row) for row in value) + "\n  ]"
    return _compact(value)


def _is_rows(value: object) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], list)


def _compact(value: object) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def file_name(record: Record) -> str:
    """`<cell>-<profile>-s<seed>-<first digits of run_id>.json`."""
    identity = record.identity
    return f"{identity.cell}-{record.config.profile}-s{identity.seed}-{identity.run_id[:8]}.json"


def write(record: Record, path: Path) -> None:
    """Write one record.

    Raises:
        ValueError: it is larger than 60 KB.
    """
    # Everything that holds by default is stated in a new record.
    text = to_json(Record.model_validate(record.model_dump()))
    if len(text.encode()) > LIMIT_BYTES:
        raise ValueError(f"record of {len(text.encode())} bytes, the limit is {LIMIT_BYTES}")
    write_atomic(path, text)


def read(path: Path) -> Record:
    """Read and validate one record.

    Raises:
        InputError: not a record of this schema.
    """
    try:
        return Record.model_validate_json(Path(path).read_text())
    except (OSError, ValidationError) as error:
        raise InputError(
            f"{path} is not a record",
            expected="a record of schema 1",
            got=str(error).splitlines()[0],
            do="run the cell again: medseg study run NAME",
        ) from error


def read_study(results: Path, study: str) -> list[Record]:
    """All records of a study, in the order of their file names; none where the folder is missing."""
    return [read(path) for path in sorted((Path(results) / study).glob("*.json"))]


def of_profile(records: Iterable[Record], profile: str) -> list[Record]:
    """The records of one budget: tables never mix profiles."""
    return [record for record in records if record.config.profile == profile]
