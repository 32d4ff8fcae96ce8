"""The result file: one run's figures, their definitions and their provenance."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from bench import partials
from bench.partials import Partials
from bench.score import churn, normalise
from bench.speech import onset, talk
from bench.speech.waterfall import STAGES
from runtime.bundle import Bundle
from runtime.errors import InputError, what_is_wrong
from runtime.files import written_whole

LATENCY = "ms; frames arrive at the pace of speech, pace `fast` simulates their arrival on a virtual clock"

DEFINITIONS = {
    "wer": "percent; errors over reference words of all clips, after bench/score/normalise.py; null with random weights",
    "cer": "percent; the same over characters, spaces included",
    "rtf": "seconds in push and finish per second of audio, over utterances; continuous: in push, over windows of 10 s",
    "step_ms": "ms; one call of the backend's step, input copy and result included, warm-up excluded",
    "first_partial_ms": f"from the first sample's capture to the first text, null with random weights; {LATENCY}",
    "first_partial_onset_ms": "the same from speech onset",
    "final_ms": f"from the arrival of the last frame to the final; {LATENCY}",
    "final_speech_end_ms": "the same from the end of speech",
    "speech": onset.DEFINITION,
    "endpoint": f"{talk.DEFINITION}; early: an endpoint within the clip's speech; late: more than {talk.LATE_S} s after it, missed: none "
    "before the next onset; latencies of finals over found and late clips",
    "wer_clips": "percent; the same clips each in a stream of its own; null with random weights",
    "end_decision_ms": "from the end of speech to the arrival of the frame on whose samples the endpoint is decided; in an endpoint row "
    "final_ms counts from there to the final, final_speech_end_ms is their sum",
    "first_correct_onset_ms": "from speech onset to the first text whose first word, normalised, is the reference's; clips without: none; "
    "null with random weights",
    "waterfall": "ms, mean, p50 and p95 over `waterfalls` clips whose first text came of a partial after the onset; "
    + "; ".join(f"{stage}: {what}" for stage, what in STAGES.items())
    + "; total_ms: their sum, the first text from speech onset; system_ms: without evidence_ms; null with random weights",
    "backlog_ms": "longest time that an arrived frame waited to be pushed",
    "catch_up_ms": "longest time from the arrival of a frame that still waited when the next one arrived until no other was waiting",
    "peak_gpu_memory_mb": "10**6 bytes that the process holds on the GPU after the last clip, CUDA context included",
    "peak_host_memory_mb": "10**6 bytes, largest resident memory of the process up to the end of the row",
    "power_w": "the GPU's power limit; sm_clock_mhz is its SM clock right after the last clip",
    "lm": "the word n-gram's name; null: greedy",
    "decode_ms": "ms of one CPU core; decoding the frames of one chunk, after its step",
    "churn": churn.DEFINITION,
    "partials": partials.DEFINITION,
    "step_ms_percentiles": "ms by percent of the steps that take at most so long",
    "chunk_ms": "streams: from the arrival of the frame that completes a chunk to its events, over all streams, each fed on a thread of "
    "its own against absolute deadlines, starts spread over a chunk; final_ms as elsewhere, utterance by utterance",
    "late_chunks": "chunks whose events came later than slo_ms; slo_met: chunk_ms_p95 and final_ms_p95 are within slo_ms, no frame waited "
    "for a second (which ends the run: given_up), and no utterance differs",
    "differing": "utterances, of `clips`, whose partials and final are not those of the same audio alone in one stream",
    "cpu_cores": "the process's CPU time over the wall clock: cores busy, with all threads; waits for the GPU count, they spin",
    "floor_ms": "the weights' bytes over the bandwidth of copies within the GPU's memory (read and written) in the same run",
    "launches_per_step": "kernels in the step, counted in the captured graph",
    "further_turns_per_step": "launches of two more RNN-T evaluations, each waited for, where those in the step were too few",
    "first_result_s": "seconds from the process's start to its first step's result, with a built plan",
    "engine_version": "what ran the steps, with its version",
    "step_sm_clock_mhz": "median SM clock while the steps ran; step_power_draw_w: median power drawn",
    "functional_check": "true: measured without a GPU; error rates hold, times and memory are no result",
    "left_out": "clips of the data set whose reference has digits, or no letters; neither fed nor counted",
    "normaliser": normalise.DEFINITION,
}

SEVERAL = " + "  # between data sets in a row of all of them together

_Model = TypeVar("_Model", bound=BaseModel)

Figure = Annotated[float, AfterValidator(lambda value: round(value, 5))]  # more digits are noise


class _Record(BaseModel):
    """Keys beyond these are kept: other stages add their own."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False, frozen=True)


class DataProvenance(_Record):
    """A data set and how much of it was measured on."""

    name: str
    sha256: str  # of the manifest and all its audio
    clips: int  # fed
    minutes: Figure  # fed


class Provenance(_Record):
    """What the figures were measured on. None: not there, or not known."""

    date: str  # UTC, ISO 8601
    commit: str | None
    command: str
    gpu: str | None
    driver: str | None
    sm_clock_mhz: Figure | None
    power_w: Figure | None
    tensorrt: str | None
    cuda: str | None
    onnxruntime: str | None = None
    python: str
    cpu: str
    data: list[DataProvenance]


class Row(_Record):
    """One model on one data set. A figure that was not measured is None, never 0 or a guess."""

    model: str
    weights: Literal["trained", "random"]
    decoder: Literal["ctc", "rnnt"]
    precision: Literal["fp32", "fp16", "int8"]
    calibration: str | None
    backend: str
    cuda_graph: bool | None
    lookahead_ms: int
    frame_ms: int | None
    pace: Literal["realtime", "fast"] | None
    data: str
    wer: Figure | None
    cer: Figure | None
    rtf_p50: Figure | None
    rtf_p95: Figure | None
    step_ms_p50: Figure | None
    step_ms_p95: Figure | None
    step_ms_p99: Figure | None
    launches_per_step: Figure | None
    floor_ms: Figure | None
    first_partial_ms_p50: Figure | None
    first_partial_ms_p95: Figure | None
    first_partial_onset_ms_p50: Figure | None
    first_partial_onset_ms_p95: Figure | None
    final_ms_p50: Figure | None
    final_ms_p95: Figure | None
    final_speech_end_ms_p50: Figure | None
    final_speech_end_ms_p95: Figure | None
    peak_gpu_memory_mb: Figure | None
    plan_mb: Figure | None
    build_s: Figure | None
    # Ours
    mode: Literal["utterance", "continuous", "offline", "steps", "endpoint", "streams"] = "utterance"
    functional_check: bool = False  # measured without a GPU
    lm: str | None = None  # the word n-gram; None: none
    decode_ms_p50: Figure | None = None
    decode_ms_p95: Figure | None = None
    churn: Figure | None = None
    clips: int | None = None
    left_out: int | None = None  # clips without a reference that can be scored
    limit: int | None = None  # only the first clips of the data set, at most so many; None: all of it
    audio_minutes: Figure | None = None
    backlog_ms_max: Figure | None = None
    catch_up_ms_max: Figure | None = None
    steps: int | None = None
    peak_host_memory_mb: Figure | None = None
    copy_gb_s: Figure | None = None
    further_turns_per_step: Figure | None = None
    first_result_s: Figure | None = None
    step_ms_percentiles: dict[str, Figure] | None = None  # of steps: percent -> ms, for the distribution's plot
    step_sm_clock_mhz: Figure | None = None
    step_power_draw_w: Figure | None = None
    engine_version: str | None = None
    # Of endpoints
    found: int | None = None  # clips by what became of their end
    late: int | None = None
    early: int | None = None
    missed: int | None = None
    wer_clips: Figure | None = None
    end_decision_ms_p50: Figure | None = None
    end_decision_ms_p95: Figure | None = None
    first_correct_onset_ms_p50: Figure | None = None
    first_correct_onset_ms_p95: Figure | None = None
    first_correct: int | None = None  # clips whose first word was right at some time
    waterfall: dict[str, dict[str, Figure]] | None = None  # stage -> mean, p50, p95
    waterfalls: int | None = None  # clips in it
    rules: dict[str, int] | None = None  # runtime.EndpointRules
    seed: int | None = None  # of the silences
    # Of streams
    streams: int | None = None  # at once
    slo_ms: Figure | None = None
    slo_met: bool | None = None
    chunk_ms_p50: Figure | None = None
    chunk_ms_p95: Figure | None = None
    chunk_ms_p99: Figure | None = None
    chunks: int | None = None
    late_chunks: int | None = None
    differing: int | None = None  # utterances
    cpu_cores: Figure | None = None
    given_up: bool | None = None
    # Of the ladder
    rung: str | None = None  # how the step was run
    what: str | None = None  # that step computes and copies
    times_runtime: Figure | None = None  # step p50 over the runtime's at the same pace
    # Of the ablation
    combination: str | None = None  # bundle, precision and calibration
    kept: int | None = None  # products that INT8 left in FP16
    wer_change: Figure | None = None  # from FP32 of the same bundle, with its 95 % interval
    wer_change_low: Figure | None = None
    wer_change_high: Figure | None = None
    words: int | None = None  # in the references


def row(**measured: object) -> Row:
    """A row with these keys; the other figures, not measured, are None."""
    unmeasured = {name: None for name, field in Row.model_fields.items() if field.is_required()}
    return Row.model_validate(unmeasured | measured)


class UtteranceRecord(_Record):
    """One fed clip: transcripts as they were before normalisation, times, marks."""

    data: str
    mode: Literal["utterance", "continuous", "offline", "endpoint"]
    audio: str
    reference: str
    hypothesis: str
    audio_s: Figure
    busy_s: Figure | None = None
    first_partial_ms: Figure | None = None
    first_partial_onset_ms: Figure | None = None
    final_ms: Figure | None = None
    final_speech_end_ms: Figure | None = None
    backlog_ms: Figure | None = None
    catch_up_ms: Figure | None = None
    onset_s: Figure | None = None
    speech_end_s: Figure | None = None
    start_s: Figure | None = None  # of endpoints: the clip's start in the stream; marks are in the stream as well
    verdict: str | None = None
    end_decision_ms: Figure | None = None
    first_correct_onset_ms: Figure | None = None
    waterfall: dict[str, Figure] | None = None
    combination: str | None = None  # of the ablation, as its row has it
    partials: Partials | None = None  # of a clip fed on its own; as text: bench/partials.py


class ResultFile(_Record):
    """bench/results/NAME.json."""

    model_config = ConfigDict(validate_by_name=True)

    schema_: Literal[1] = Field(default=1, alias="schema")
    provenance: Provenance
    rows: list[Row] = Field(min_length=1)
    definitions: dict[str, str] = Field(default_factory=dict)
    utterances: list[UtteranceRecord] = Field(default_factory=list)
    left_out: dict[str, str] = Field(default_factory=dict)  # of a ladder or an ablation: what was not measured, and why


def records_of(records: Iterable[UtteranceRecord], row: Row) -> list[UtteranceRecord]:
    """The clips among these that a row sums up."""
    names, kind = row.data.split(SEVERAL), (row.mode, row.combination)
    return [each for each in records if each.data in names and (each.mode, each.combination) == kind]


def calibration_of(bundle: Bundle, precision: str) -> str | None:
    """Method that the thresholds of a bundle's INT8 step were found by; None for another precision."""
    return bundle.quantisation.method if precision == "int8" and bundle.quantisation else None


def write_result(path: Path, result: ResultFile) -> None:
    """Write a result file whole or not at all."""
    with written_whole(path) as temporary:
        temporary.write_text(result.model_dump_json(by_alias=True, indent=1) + "\n", encoding="utf-8")


def result_path(folder: Path, name: str) -> Path:
    """Path of a run's result file, whose name has no `.json`. Raises InputError for a name that is a path."""
    if not name or name.startswith(".") or Path(name).name != name:
        raise InputError(f"--name: expected a file name without a folder, found {name!r}; the folder is --out")
    return folder / f"{name}.json"


def default_name(parts: list[str], *, data: Path, lang: str, limit: int | None) -> str:
    """A name made of what is measured, so that no run replaces another kind's: `parts`, the data's folder, language and limit."""
    return "-".join([*parts, data.resolve().name, lang, *([] if limit is None else [f"first{limit}"])])


def read_result(path: Path) -> ResultFile:
    """Read a result file. Raises InputError where it is missing or is none."""
    return read_record(ResultFile, path, "result file", "measure again")


def read_record(kind: type[_Model], path: Path, name: str, advice: str) -> _Model:
    """A file of schema 1 that holds such a record, called `name`; raises InputError, with the advice, where it is missing or is none."""
    try:
        return kind.model_validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot read the {name}: {error.strerror}") from error
    except ValidationError as error:
        raise InputError(f"{path}: no {name} of schema 1: {what_is_wrong(error)}; {advice}") from error


def read_results(folder: Path) -> dict[str, ResultFile]:
    """Name -> result file, of all in a folder, sorted. Raises InputError for a missing folder or a broken file."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder of result files; `python -m bench` writes them")
    return {path.stem: read_result(path) for path in sorted(folder.glob("*.json"))}
