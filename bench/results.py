"""The result file: one run's rows, their definitions, their provenance and each utterance's transcript; and packs of them.

Files written before rows had kinds hold every kind's keys, null where they do not belong: those are read.
"""

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from operator import attrgetter
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import Field, ValidationError
from typing_extensions import TypeVar

from bench.rows import SEVERAL, AnyRow, Provenance, Record, Row, UtteranceRecord
from runtime.bundle import Bundle
from runtime.errors import InputError, what_is_wrong
from runtime.files import check_room, written_whole

ROOM = 4 << 20
"""Bytes that a result file may need; the largest published one has 1.1 MB."""
SAME = ("gpu", "driver", "tensorrt", "commit", "data")
"""Keys of the provenance that all results of a pack share."""

_Model = TypeVar("_Model", bound=Record)


class Report(Record):
    """A file of schema 1 with its provenance."""

    what: ClassVar[str]
    """The kind of file, for messages."""
    advice: ClassVar[str] = "measure again"
    """What to do where one is broken."""
    folder: ClassVar[str] = ""
    """Where files of this kind lie within a folder of results."""

    schema_: Literal[1] = Field(default=1, alias="schema")


class ResultFile(Report):
    """NAME.json."""

    what = "result file"

    provenance: Provenance
    rows: list[AnyRow] = Field(min_length=1)
    definitions: dict[str, str] = Field(default_factory=dict)
    utterances: list[UtteranceRecord] = Field(default_factory=list)
    left_out: dict[str, str] = Field(default_factory=dict)
    """Of a ladder or an ablation: what was not measured, and why."""

    @property
    def functional_check(self) -> bool:
        """Whether a row was measured without a GPU."""
        return any(row.functional_check for row in self.rows)

    def rows_of(self, kind: type[_Model]) -> list[_Model]:
        """The rows of one kind."""
        return [row for row in self.rows if isinstance(row, kind)]


class Pack(Report):
    """packs/NAME.json."""

    what = "pack of results"
    folder = "packs"

    provenance: Provenance
    """Of the last result."""
    bundle_sha256: str
    """Of the manifest of the bundle that was measured."""
    results: dict[str, ResultFile] = Field(min_length=1)
    """By the name that each is published under."""
    left_out: dict[str, str] = Field(default_factory=dict)
    """Stage -> why it has no result, or a part of one."""

    def difference(self, provenance: Provenance, bundle_sha256: str) -> str | None:
        """Return what keeps a result measured now, with this provenance, from joining the pack; None: nothing does."""
        for key in SAME:
            if getattr(self.provenance, key) != getattr(provenance, key):
                return f"another {key}"
        return None if self.bundle_sha256 == bundle_sha256 else "another bundle, or the bundle made anew"


_Report = TypeVar("_Report", bound=Report, default=ResultFile)


def records_of(records: Iterable[UtteranceRecord], row: Row) -> list[UtteranceRecord]:
    """The clips among these that a row sums up."""
    names, kind = row.data.split(SEVERAL), (row.mode, row.combination)
    return [record for record in records if record.data in names and (record.mode, record.combination) == kind]


def pairs_of(
    a: Sequence[UtteranceRecord], b: Sequence[UtteranceRecord]
) -> list[tuple[UtteranceRecord, UtteranceRecord]]:
    """Both sides' records of each utterance. Raises InputError where the two are not of the same clips with the same references."""
    name = attrgetter("data", "audio", "reference")
    left, right = sorted(a, key=name), sorted(b, key=name)
    first, second = [name(each) for each in left], [name(each) for each in right]
    if first != second or not first:
        raise InputError(
            f"expected the same clips with the same references on both sides, found {len(first)} and {len(second)}, of them "
            f"{len(set(first) & set(second))} on both; measure both on the same data, all of it or with the same --limit"
        )
    return list(zip(left, right, strict=True))


def calibration_of(bundle: Bundle, precision: str) -> str | None:
    """Method that the thresholds of a bundle's INT8 step were found by; None for another precision."""
    return bundle.quantisation.method if precision == "int8" and bundle.quantisation else None


def result_path(folder: Path, name: str, kind: type[Report] = ResultFile) -> Path:
    """Path of a run's result file, whose name has no `.json`; asked for before anything is measured.

    Raises InputError for a name that is a path, and where it could not be written.
    """
    if not name or name.startswith(".") or Path(name).name != name:
        raise InputError(f"--name: expected a file name without a folder, found {name!r}; the folder is --out")
    path = folder / kind.folder / f"{name}.json"
    check_room(path, ROOM)
    return path


def default_name(parts: list[str], *, data: Path, lang: str, limit: int | None) -> str:
    """A name made of what is measured, so that no run replaces another kind's: `parts`, the data's folder, language and limit."""
    return "-".join([*parts, data.resolve().name, lang, *([] if limit is None else [f"first{limit}"])])


def write_result(path: Path, result: Report) -> None:
    """Write a result file whole or not at all. Raises InputError where it cannot be written."""
    with written_whole(path) as temporary:
        temporary.write_text(result.model_dump_json(by_alias=True, indent=1) + "\n", encoding="utf-8")


def read_result(path: Path, kind: type[_Report] = ResultFile) -> _Report:  # type: ignore[assignment]  # mypy issue 3737
    """Read a result file. Raises InputError where it is missing or is none of that kind."""
    try:
        return kind.model_validate(_without_nulls(json.loads(path.read_bytes())))
    except OSError as error:
        raise InputError(f"{path}: cannot read the {kind.what}: {error.strerror}") from error
    except ValidationError as error:
        raise InputError(f"{path}: no {kind.what} of schema 1: {what_is_wrong(error)}; {kind.advice}") from error
    except (ValueError, RecursionError) as error:  # no JSON, or not in UTF-8
        raise InputError(f"{path}: no {kind.what} of schema 1: {error}; {kind.advice}") from error


def read_report(path: Path, kinds: Iterable[type[Report]]) -> Report:
    """Read a file, of whichever of these kinds it is. Raises InputError, as of a result file, for one that is of none."""
    for kind in kinds:
        with suppress(InputError):
            return read_result(path, kind)
    return read_result(path)


def read_results(folder: Path, kind: type[_Report] = ResultFile) -> dict[str, _Report]:  # type: ignore[assignment]
    """Name -> file, of all of that kind in a folder of results, sorted. Raises InputError for a missing folder or a broken file."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of result files; `make bench` writes them to build/results")
    return {path.stem: read_result(path, kind) for path in sorted((folder / kind.folder).glob("*.json"))}


def _without_nulls(found: Any) -> Any:  # noqa: ANN401 -- JSON
    """JSON without the keys that say nothing was measured: every such key has None by default, and other kinds' keys are not known."""
    if isinstance(found, dict):
        return {key: _without_nulls(value) for key, value in found.items() if value is not None}
    return [_without_nulls(value) for value in found] if isinstance(found, list) else found
