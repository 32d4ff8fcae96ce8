"""Which data sets are there, as a table."""

from dataclasses import dataclass
from pathlib import Path

from rich.table import Table

from data.manifest import read_manifest

PLACES = {"asr_eval": "evaluation", "asr_calib": "calibration", "sample": "sample"}


@dataclass(frozen=True)
class DataSet:
    """One manifest in figures."""

    use: str  # "evaluation", "calibration" or "sample"
    name: str  # the folder's
    langs: str  # languages, separated by commas
    clips: int
    minutes: float  # speech, by the manifest's durations
    speakers: int


def data_sets(root: Path) -> list[DataSet]:
    """The data sets in `asr_eval/`, `asr_calib/` and `sample/` of `root`. Raises InputError for a broken manifest."""
    found = []
    for place, use in PLACES.items():
        for manifest in sorted([*(root / place).glob("manifest_*.jsonl"), *(root / place).glob("*/manifest_*.jsonl")]):
            utterances = read_manifest(manifest)
            found.append(
                DataSet(
                    use,
                    manifest.parent.resolve().name,
                    ",".join(sorted({utterance.lang for utterance in utterances})),
                    len(utterances),
                    sum(utterance.duration for utterance in utterances) / 60,
                    len({utterance.speaker for utterance in utterances}),
                )
            )
    return found


def table(sets: list[DataSet]) -> Table:
    """The data sets for the terminal."""
    grid = Table("use", "name", "language", title="Data sets")
    for column in ("clips", "minutes", "speakers"):
        grid.add_column(column, justify="right")
    for one in sets:
        grid.add_row(one.use, one.name, one.langs, str(one.clips), f"{one.minutes:.1f}", str(one.speakers))
    return grid
