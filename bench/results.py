"""The result file: one run's rows, their definitions, their provenance and each utterance's transcript.

One row type for each kind of bench, told apart by `mode`. A key that its kind does not have is refused, and a figure that was not measured
is None, never 0 or a guess. Files written before rows had kinds hold every kind's keys, null where they do not belong: those are read.
"""

import json
from collections.abc import Iterable, Sequence
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from typing_extensions import Self, TypeVar

from bench.partials import Partials, Words
from bench.score.confidence import Bin
from runtime.bundle import Bundle
from runtime.early import Early
from runtime.errors import InputError, what_is_wrong
from runtime.files import check_room, written_whole

ROOM = 4 << 20
"""Bytes that a result file may need; the largest published one has 1.2 MB."""
SEVERAL = " + "
"""Stands between data sets in a row of all of them together."""

Rounded = Annotated[float, AfterValidator(lambda value: round(value, 5))]
"""A measured value; more digits are noise."""
Measured = Rounded | None
"""None: not measured."""
Language = Annotated[str, Field(default_factory=lambda known: known.get("data", "").rpartition("_")[2])]
"""Language code of texts. Files from before it was stored have it at the end of the data set's name."""

_Model = TypeVar("_Model", bound="Record")


class Record(BaseModel):
    """What result files are made of: unknown keys, NaN and infinity are refused."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True, validate_by_name=True)

    def with_(self, **changes: object) -> Self:
        """Return a copy with these keys changed, checked as a new one is. Raises ValidationError for an unknown key."""
        return type(self).model_validate({name: getattr(self, name) for name in type(self).model_fields} | changes)


class DataProvenance(Record):
    """A data set and how much of it was measured on."""

    name: str
    sha256: str
    """Of the manifest and all its audio."""
    clips: int
    """Clips that were fed."""
    minutes: Rounded
    """Minutes of audio that were fed."""


class Provenance(Record):
    """What the figures were measured on. None: not there, or not known."""

    date: str
    """UTC, ISO 8601."""
    commit: str | None = None
    command: str
    gpu: str | None = None
    driver: str | None = None
    sm_clock_mhz: Measured = None
    """The GPU's SM clock right after the last clip."""
    power_w: Measured = None
    """The GPU's power limit."""
    tensorrt: str | None = None
    cuda: str | None = None
    onnxruntime: str | None = None
    python: str
    cpu: str
    data: list[DataProvenance]


class Row(Record):
    """What was run, and the figures that every kind of bench may have. Units are in the names: ms, mb (10**6 bytes), s."""

    model: str
    weights: Literal["trained", "random"]
    decoder: Literal["ctc", "rnnt"]
    precision: Literal["fp32", "fp16", "int8"]
    calibration: str | None = None
    """Method of INT8's thresholds."""
    backend: str
    cuda_graph: bool | None = None
    lookahead_ms: int
    functional_check: bool = False
    """Whether it was measured without a GPU."""
    mode: str
    data: str
    pace: Literal["realtime", "fast"] | None = None
    steps: int | None = None
    step_ms_p50: Measured = None
    step_ms_p95: Measured = None
    step_ms_p99: Measured = None
    peak_gpu_memory_mb: Measured = None
    plan_mb: Measured = None
    build_s: Measured = None
    combination: str | None = None
    """Of an ablation: bundle, precision and calibration."""
    kept: int | None = None
    """Of an ablation: matrix products that INT8 left in FP16."""


class OnSpeech(Row):
    """What rows of recognised speech share."""

    lang: Language
    lm: str | None = None
    """The word n-gram's name; None: none."""
    frame_ms: int | None = None
    limit: int | None = None
    """Only the first clips of the data set, at most so many; None: all of it."""
    clips: int | None = None
    left_out: int | None = None
    audio_minutes: Measured = None
    decode_ms_p50: Measured = None
    decode_ms_p95: Measured = None
    final_ms_p50: Measured = None
    final_ms_p95: Measured = None
    backlog_ms_max: Measured = None
    peak_host_memory_mb: Measured = None


class _Transcribed(OnSpeech):
    """What rows share whose texts are compared with references."""

    wer: Measured = None
    cer: Measured = None
    first_partial_ms_p50: Measured = None
    first_partial_ms_p95: Measured = None
    first_partial_onset_ms_p50: Measured = None
    first_partial_onset_ms_p95: Measured = None
    final_speech_end_ms_p50: Measured = None
    final_speech_end_ms_p95: Measured = None
    first_correct_onset_ms_p50: Measured = None
    first_correct_onset_ms_p95: Measured = None
    first_correct: int | None = None
    """Clips whose first word was right at some time."""
    early_tokens: Early | None = None
    """Which tokens were shown before their look-ahead had arrived; None where that was not known yet."""
    early_step_ms_p50: Measured = None
    early_step_ms_p95: Measured = None
    early_steps_per_chunk: Measured = None


class SpeechRow(_Transcribed):
    """`bench run` and `bench offline`: a data set clip by clip, as one stream, or each clip as a whole."""

    mode: Literal["utterance", "continuous", "offline"]
    rtf_p50: Measured = None
    rtf_p95: Measured = None
    churn: Measured = None
    first_stands: int | None = None
    """Clips whose first text stands in the final."""
    catch_up_ms_max: Measured = None
    wer_change: Measured = None
    """Of an ablation: from FP32 of the same bundle, with its 95 % interval."""
    wer_change_low: Measured = None
    wer_change_high: Measured = None
    words: int | None = None
    """Words of the references that the change is of."""


class EndpointRow(_Transcribed):
    """`bench endpoint`: utterances that end themselves in one stream."""

    mode: Literal["endpoint"]
    found: int | None = None
    late: int | None = None
    early: int | None = None
    missed: int | None = None
    wer_clips: Measured = None
    end_decision_ms_p50: Measured = None
    end_decision_ms_p95: Measured = None
    waterfall: dict[str, dict[str, Rounded]] | None = None
    """Stage -> mean, p50, p95 in ms."""
    waterfalls: int | None = None
    """Clips in it."""
    rules: dict[str, int] | None = None
    """runtime.EndpointRules"""
    seed: int | None = None
    """Of the silences between clips."""


class StreamsRow(OnSpeech):
    """`bench streams`: many streams at once."""

    mode: Literal["streams"]
    streams: int
    slo_ms: Measured = None
    slo_met: bool | None = None
    given_up: bool | None = None
    chunk_ms_p50: Measured = None
    chunk_ms_p95: Measured = None
    chunk_ms_p99: Measured = None
    chunks: int | None = None
    late_chunks: int | None = None
    differing: int | None = None
    cpu_cores: Measured = None


class HotwordsRow(OnSpeech):
    """`bench hotwords`: all data sets, with one choice of hotwords."""

    mode: Literal["hotwords"]
    hotwords: int
    """Hotwords that were given."""
    distractors: int | None = None
    """Of them, those that nobody says; None: no hotwords."""
    seed: int | None = None
    """Of the distractors."""
    rare_words: int | None = None
    rare_recall: Measured = None
    false_hotwords: Measured = None
    other_wer: Measured = None
    wer: Measured = None
    decode_times: Measured = None


class WordsRow(OnSpeech):
    """`bench words`: where the words of finals are, and how sure."""

    mode: Literal["words"]
    words: int | None = None
    words_right: Measured = None
    words_timed: int | None = None
    unaligned: int | None = None
    word_start_ms_p50: Measured = None
    word_start_ms_p95: Measured = None
    word_start_bias_ms: Measured = None
    word_end_ms_p50: Measured = None
    word_end_ms_p95: Measured = None
    word_end_bias_ms: Measured = None
    confidence: Measured = None
    confidence_ece: Measured = None
    confidence_auc: Measured = None
    reliability: list[Bin] | None = None
    """By rising confidence, those that hold a word."""


class StepRow(Row):
    """`bench steps`, a rung of `bench ladder`, or the steps of an ablation: the step alone."""

    mode: Literal["steps"]
    rtf_p50: Measured = None
    rtf_p95: Measured = None
    launches_per_step: Measured = None
    further_turns_per_step: Measured = None
    floor_ms: Measured = None
    copy_gb_s: Measured = None
    first_result_s: Measured = None
    step_ms_percentiles: dict[str, Rounded] | None = None
    """Percent -> ms."""
    step_sm_clock_mhz: Measured = None
    step_power_draw_w: Measured = None
    engine_version: str | None = None
    rung: str | None = None
    """Of a ladder: how the step was run."""
    what: str | None = None
    """Of a ladder: what that step computes and copies."""
    times_runtime: Measured = None


AnyRow = Annotated[SpeechRow | EndpointRow | StreamsRow | HotwordsRow | WordsRow | StepRow, Field(discriminator="mode")]


class UtteranceRecord(Record):
    """One fed clip: transcripts as they were before normalisation, times, marks. Marks are in seconds of what was fed."""

    data: str
    lang: Language
    mode: Literal["utterance", "continuous", "offline", "endpoint", "words"]
    audio: str
    reference: str
    hypothesis: str
    audio_s: Rounded
    busy_s: Measured = None
    first_partial_ms: Measured = None
    first_partial_onset_ms: Measured = None
    final_ms: Measured = None
    final_speech_end_ms: Measured = None
    backlog_ms: Measured = None
    catch_up_ms: Measured = None
    onset_s: Measured = None
    speech_end_s: Measured = None
    start_s: Measured = None
    """Of endpoints: where the clip starts in the stream."""
    verdict: str | None = None
    end_decision_ms: Measured = None
    first_correct_onset_ms: Measured = None
    waterfall: dict[str, Rounded] | None = None
    combination: str | None = None
    """Of an ablation, as its row has it."""
    partials: Partials | None = None
    """Of a clip fed on its own; their form in JSON, and that of words: bench/partials.py."""
    words: Words | None = None
    """Of the clip's finals, in seconds of what was fed; not of clips end to end, whose words are their clips' once more."""


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
