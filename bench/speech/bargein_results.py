"""What barge-in's benchmark found: a record per scene, rows over them, the file of both and its table."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from bench.pages.terminal import figures
from bench.results import Figure, Provenance, read_record
from bench.score.rates import percentiles
from bench.speech import scenes as bargein_scenes
from bench.speech.scenes import Kind

DEFINITIONS = {
    "scenes": bargein_scenes.DEFINITION,
    "detect_ms": "ms from the user's speech onset (Silero VAD on the clean clip) to BargeIn, on the clock of the audio with the time of "
    "computing added; the audio's part is that of any machine",
    "missed": "interruptions without a BargeIn from 200 ms before the onset on",
    "false_alarms_per_hour": "BargeIns without a user, per hour that the agent spoke so: scenes without a user, others up to the onset",
    "words_lost": "words of the clean clip's transcript (same model) that the interruption's has not, as deletions, of `words`",
    "first_words_lost": "interruptions, of those detected, where the first of them is lost",
    "stale": "partials while the agent speaks; after BargeIn, those that are not a fresh stream's",
    "leaks": "interruptions whose events differ from those of a fresh stream that gets the same audio, bit for bit",
}


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True, validate_by_name=True)


class Outcome(_Strict):
    """One scene, with or without the reference."""

    reference: bool
    kind: Kind
    attenuation_db: int
    level_dbfs: int
    user: str | None
    alone_s: Figure  # that the agent spoke with no user
    false_alarms: int
    detect_ms: Figure | None = None
    words: int = 0
    words_lost: int = 0
    first_word_lost: bool = False
    stale: int = 0
    leak: bool = False
    hypothesis: str | None = None
    clean_hypothesis: str | None = None


class BargeInRow(_Strict):
    """The scenes with or without the reference, at one attenuation and, of users, one level; None: at all."""

    reference: bool
    attenuation_db: int | None
    level_dbfs: int | None
    interruptions: int
    detect_ms_p50: Figure | None
    detect_ms_p95: Figure | None
    missed: int
    false_alarms: int
    false_alarms_per_hour: Figure | None
    words: int
    words_lost: int
    first_words_lost: int
    stale: int
    leaks: int


class BargeInFile(_Strict):
    """bench/results/bargein/NAME.json."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    provenance: Provenance
    model: str
    lookahead_ms: int
    precision: str
    backend: str
    functional_check: bool
    rules: dict[str, bool | int | float]
    seed: int
    rows: list[BargeInRow] = Field(min_length=1)
    definitions: dict[str, str]
    scenes: list[Outcome]


def rows(outcomes: Sequence[Outcome]) -> list[BargeInRow]:
    """By reference and attenuation: all levels, then each."""
    found = []
    for reference in (True, False):
        for attenuation_db in bargein_scenes.ATTENUATIONS_DB:
            same = [each for each in outcomes if (each.reference, each.attenuation_db) == (reference, attenuation_db)]
            levels: dict[int | None, list[Outcome]] = {None: same}
            for level in bargein_scenes.LEVELS_DBFS:
                levels[level] = [each for each in same if each.kind == "user" and each.level_dbfs == level]
            found += [_row(each, reference, attenuation_db, level) for level, each in levels.items()]
    return found


def _row(same: Sequence[Outcome], reference: bool, attenuation_db: int | None, level_dbfs: int | None) -> BargeInRow:
    users = [each for each in same if each.kind == "user"]
    detect = percentiles(each.detect_ms for each in users)
    false_alarms, alone_s = sum(each.false_alarms for each in same), sum(each.alone_s for each in same)
    return BargeInRow(
        reference=reference,
        attenuation_db=attenuation_db,
        level_dbfs=level_dbfs,
        interruptions=len(users),
        detect_ms_p50=detect.p50,
        detect_ms_p95=detect.p95,
        missed=sum(each.detect_ms is None for each in users),
        false_alarms=false_alarms,
        false_alarms_per_hour=3600 * false_alarms / alone_s if alone_s else None,
        words=sum(each.words for each in users),
        words_lost=sum(each.words_lost for each in users),
        first_words_lost=sum(each.first_word_lost for each in users),
        stale=sum(each.stale for each in same),
        leaks=sum(each.leak for each in same),
    )


COLUMNS: dict[str, Callable[[BargeInRow], str]] = {
    "Reference": lambda row: "yes" if row.reference else "no",
    "Echo dB": lambda row: f"-{row.attenuation_db}",
    "Detect ms p50 / p95": lambda row: figures([row.detect_ms_p50, row.detect_ms_p95], 0),
    "Missed": lambda row: f"{row.missed} of {row.interruptions}",
    "False alarms / h": lambda row: figures([row.false_alarms_per_hour], 0),
    "Words lost": lambda row: f"{row.words_lost} of {row.words}",
    "First words lost": lambda row: str(row.first_words_lost),
    "Stale": lambda row: str(row.stale),
    "Leaks": lambda row: str(row.leaks),
}
BY_LEVEL: dict[str, Callable[[BargeInRow], str]] = {
    "User dBFS": lambda row: str(row.level_dbfs),
    **{name: COLUMNS[name] for name in ("Detect ms p50 / p95", "Missed", "Words lost", "First words lost")},
}


def cells_of(result: BargeInFile) -> list[list[str]]:
    """The rows of all levels together, as text."""
    return [[cell(row) for cell in COLUMNS.values()] for row in result.rows if row.level_dbfs is None]


def cells_by_level(result: BargeInFile) -> list[list[str]]:
    """The interruptions with the reference, at all attenuations together, by the level of the user's speech, as text."""
    levels: dict[int, list[Outcome]] = {}
    for each in result.scenes:
        if each.reference and each.kind == "user":
            levels.setdefault(each.level_dbfs, []).append(each)
    rows = [_row(levels[level], reference=True, attenuation_db=None, level_dbfs=level) for level in sorted(levels)]
    return [[cell(row) for cell in BY_LEVEL.values()] for row in rows]


def read_bargein(folder: Path) -> dict[str, BargeInFile]:
    """Name -> result among the result files of `folder`, sorted; raises InputError for a broken one."""
    paths = sorted((folder / "bargein").glob("*.json"))
    return {path.stem: read_record(BargeInFile, path, "barge-in", "measure again") for path in paths}
