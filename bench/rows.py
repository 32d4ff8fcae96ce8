"""What result files hold: rows, each utterance's record, and where they were measured.

One row type for each `mode`; batches, barge-in and INT8's layers have reports of their own. A key that its kind does not have is
refused, and a figure that was not measured is None, never 0 or a guess.
"""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from typing_extensions import Self

from bench.partials import Partials, Words
from bench.score.confidence import Bin
from runtime.early import Early

SEVERAL = " + "
"""Stands between data sets in a row of all of them together."""

Rounded = Annotated[float, AfterValidator(lambda value: round(value, 5))]
"""A measured value; more digits are noise."""
Measured = Rounded | None
"""None: not measured."""
Language = Annotated[str, Field(default_factory=lambda known: known.get("data", "").rpartition("_")[2])]
"""Language code of texts. Files from before it was stored have it at the end of the data set's name."""


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
    compared: int | None = None
    """Utterances whose texts were compared: all but those that the end of the time cut."""
    cpu_cores: Measured = None
    batched: bool | None = None
    """Whether the steps of all streams ran together."""
    processes: int | None = None
    """That shared the streams and the GPU."""
    endpoints: bool | None = None
    """Whether utterances ended themselves too."""
    early_tokens: Early | None = None
    streams_in_run: Measured = None
    run_share: Measured = None


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
