"""Every figure once: its title, unit and digits, whether less of it is better, and what it means; and how rows show figures.

A row's key is a figure's name, for a distribution with `_p50`, `_p95`, `_p99` or `_max` at its end. Tables, plots, comparisons, bounds
and the definitions in result files take from here what they say of a figure.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from bench.results import OnSpeech, Provenance, Record, Row, StreamsRow
from bench.score import bootstrap, churn, normalise

CHECK = "functional check on the CPU: these figures are no result"
ARRIVALS = "frames arrive at the pace of speech, pace `fast` simulates their arrival on a virtual clock"
RANDOM = "null with random weights"


@dataclass(frozen=True)
class Figure:
    """What is said of a figure wherever it is shown."""

    title: str
    unit: str
    """Empty for a ratio or a count."""
    digits: int
    """Behind the point, where it is shown."""
    better: Literal["lower", "higher"] | None
    """None: neither."""
    definition: str


FIGURES = {
    "wer": Figure(
        "WER",
        "%",
        2,
        "lower",
        f"errors over reference words of all clips, normalised: {normalise.DEFINITION}; {RANDOM}",
    ),
    "cer": Figure("CER", "%", 2, "lower", f"the same over characters, spaces included; {RANDOM}"),
    "wer_clips": Figure("WER of clips alone", "%", 2, "lower", f"the same clips each in a stream of its own; {RANDOM}"),
    "wer_change": Figure(
        "Change from FP32", "points", 2, None, f"from FP32 of the same bundle: {bootstrap.DEFINITION}"
    ),
    "churn": Figure("Words taken back per word", "", 2, "lower", churn.DEFINITION),
    "rtf": Figure(
        "RTF",
        "",
        4,
        "lower",
        "seconds of computing per second of audio: in push and finish, over utterances; continuous: in push, over windows of 10 s; "
        "of steps: over the chunk",
    ),
    "step_ms": Figure(
        "Step", "ms", 2, "lower", "one call of the backend's step, input copy and result included, warm-up excluded"
    ),
    "decode_ms": Figure(
        "Decoding", "ms", 2, "lower", "of one CPU core; decoding the frames of one chunk, after its step"
    ),
    "first_partial_ms": Figure(
        "First partial from audio start",
        "ms",
        0,
        "lower",
        f"from the first sample's capture to the first text, {RANDOM}; {ARRIVALS}",
    ),
    "first_partial_onset_ms": Figure(
        "First partial from speech onset",
        "ms",
        0,
        "lower",
        f"from speech onset to the first text, {RANDOM}; {ARRIVALS}",
    ),
    "first_correct_onset_ms": Figure(
        "First correct word from speech onset",
        "ms",
        0,
        "lower",
        "from speech onset to the first text whose first word, normalised, is the reference's; clips without: none; "
        + RANDOM,
    ),
    "final_ms": Figure(
        "Final from last frame",
        "ms",
        1,
        "lower",
        f"from the arrival of the last frame, in an endpoint row of the frame that decided, to the final; {ARRIVALS}",
    ),
    "final_speech_end_ms": Figure("Final from speech end", "ms", 0, "lower", "from the end of speech to the final"),
    "end_decision_ms": Figure(
        "Speech end to decision",
        "ms",
        0,
        "lower",
        "from the end of speech to the arrival of the frame on whose samples the endpoint is decided",
    ),
    "chunk_ms": Figure(
        "Chunk",
        "ms",
        1,
        "lower",
        "from the arrival of the frame that completes a chunk to its events, over all streams, each fed on a thread of its own against "
        "absolute deadlines, starts spread over a chunk",
    ),
    "late_chunks": Figure("Late chunks", "", 0, "lower", "chunks whose events came later than slo_ms"),
    "slo_met": Figure(
        "Bound",
        "",
        0,
        None,
        "chunk_ms_p95 and final_ms_p95 are within slo_ms, no frame waited for a second (which ends the run: given_up), and no utterance "
        "differs",
    ),
    "differing": Figure(
        "Texts that differ",
        "",
        0,
        "lower",
        "utterances, of `clips`, whose partials and final are not those of the same audio alone in one stream",
    ),
    "cpu_cores": Figure(
        "CPU cores busy",
        "",
        2,
        "lower",
        "the process's CPU time over the wall clock, with all threads; waits for the GPU count, they spin",
    ),
    "backlog_ms": Figure("Backlog", "ms", 0, "lower", "longest time that an arrived frame waited to be pushed"),
    "catch_up_ms": Figure(
        "Catching up",
        "ms",
        0,
        "lower",
        "longest time from the arrival of a frame that still waited when the next one arrived until no other was waiting",
    ),
    "waterfall": Figure(
        "First text by stage",
        "ms",
        1,
        "lower",
        "mean, p50 and p95 over `waterfalls` clips whose first text came of a partial after the onset, stage by stage (bench/speech/"
        f"waterfall.py); total_ms: their sum, the first text from speech onset; system_ms: without evidence_ms; {RANDOM}",
    ),
    "floor_ms": Figure(
        "Floor",
        "ms",
        3,
        None,
        "the weights' bytes over the bandwidth of copies within the GPU's memory (read and written) in the same run",
    ),
    "launches_per_step": Figure(
        "Kernels a step",
        "",
        0,
        "lower",
        "kernels in the step, counted in the captured graph, or the same plan's; for PyTorch in its profiler",
    ),
    "further_turns_per_step": Figure(
        "Further RNN-T turns a step",
        "",
        2,
        "lower",
        "launches of two more RNN-T evaluations, each waited for, where those in the step were too few",
    ),
    "times_runtime": Figure(
        "Times the runtime's", "", 1, "lower", "the row's step p50 over that of the runtime in fp16 at the same pace"
    ),
    "first_result_s": Figure(
        "Start to first result",
        "s",
        1,
        "lower",
        "seconds from the process's start to its first step's result, with a built plan",
    ),
    "peak_gpu_memory_mb": Figure(
        "GPU memory",
        "MB",
        0,
        "lower",
        "10**6 bytes that the process holds on the GPU after the last clip, CUDA context included",
    ),
    "peak_host_memory_mb": Figure(
        "Host memory", "MB", 0, "lower", "10**6 bytes, largest resident memory of the process up to the end of the row"
    ),
    "plan_mb": Figure("Plan", "MB", 0, "lower", "10**6 bytes of the TensorRT engine (plan)"),
    "build_s": Figure(
        "Build", "s", 0, "lower", "seconds of the plan's build, with the timing cache that earlier builds left"
    ),
    "step_ms_percentiles": Figure("Steps", "ms", 2, "lower", "ms by percent of the steps that take at most so long"),
    "step_sm_clock_mhz": Figure("SM clock", "MHz", 0, None, "median SM clock while the steps ran"),
    "step_power_draw_w": Figure("Power drawn", "W", 0, "lower", "median power drawn while the steps ran"),
}

TERMS = {
    "lm": "the word n-gram's name; null: greedy",
    "functional_check": "true: measured without a GPU; error rates hold, times and memory are no result",
    "left_out": "of a row: clips whose reference has digits, or no letters, neither fed nor counted; of the file: what was not measured",
    "combination": "bundle, precision and, of INT8, the method of its thresholds; each figure from a fresh process",
    "kept": "matrix products that INT8 left in FP16",
    "rung": "how the step was run, in a fresh process of its own; `what`: what that step computes and copies",
    "engine_version": "what ran the steps, with its version",
}
"""Keys that are no figures."""


def definitions(rows: Iterable[Record]) -> dict[str, str]:
    """What the keys mean that these rows have a value for: key without percentile -> definition, its unit first."""
    held = [key for row in rows for key in type(row).model_fields if getattr(row, key) is not None]
    names = dict.fromkeys(name for key in held for name in (key, figure_name(key)))
    found = {
        name: f"{FIGURES[name].unit}; {FIGURES[name].definition}".removeprefix("; ")
        for name in names
        if name in FIGURES
    }
    return found | {name: TERMS[name] for name in names if name in TERMS}


def figure_name(key: str) -> str:
    """A row's key without its percentile, as FIGURES has it."""
    name, _, last = key.rpartition("_")
    return name if last in ("p50", "p95", "p99", "max") else key


def shown(values: Sequence[float | None], digits: int) -> str:
    """Values side by side, `12.3 / 14.5`; a dash for what was not measured."""
    if all(value is None for value in values):
        return "-"
    return " / ".join("-" if value is None else f"{value:.{digits}f}" for value in values)


@dataclass(frozen=True)
class Column:
    """A table's column: what stands above it, and a row's cell as text. A line break in the title is one where there is room for it."""

    title: str
    cell: Callable[[Record], str]


def column(name: str, *percentiles: str, title: str | None = None) -> Column:
    """The column of a figure: `column("step_ms", "p50", "p95")`; without percentiles of its one value. A row without it has a dash."""
    figure = FIGURES[name]
    keys = [f"{name}_{each}" for each in percentiles] or [name]
    above = f"{title or figure.title} {figure.unit}".strip()
    above += f"\n{' / '.join(percentiles)}" if percentiles else ""
    return Column(above, lambda row: shown([getattr(row, key, None) for key in keys], figure.digits))


def change_label(row: Record) -> str:
    """A row's change of WER with its interval; a dash where it has none."""
    ends = ("wer_change", "wer_change_low", "wer_change_high")
    return bootstrap.label(*(getattr(row, key, None) for key in ends))


def data_label(row: Row) -> str:
    """Data set, how it was fed, and how much of it if not all."""
    how = {
        "utterance": "utterances",
        "continuous": "one stream",
        "offline": "whole clips",
        "steps": f"steps, {row.pace}",
        "endpoint": "endpoints",
        "streams": f"{row.streams} streams" if isinstance(row, StreamsRow) else "",
    }[row.mode]
    limit = row.limit if isinstance(row, OnSpeech) else None
    return f"{row.data}, {how}" if limit is None else f"{row.data}, {how}, first {limit}"


def memory_label(row: Row) -> str:
    """Peak memory in MB: the GPU's where there is one, else the host's."""
    if row.peak_gpu_memory_mb is not None:
        return f"{row.peak_gpu_memory_mb:.0f} GPU"
    host = getattr(row, "peak_host_memory_mb", None)
    return "-" if host is None else f"{host:.0f} host"


def model_label(row: Row) -> str:
    """Model, look-ahead, what decodes it if not greedy CTC, and whether its weights are random."""
    decoder = "" if row.decoder == "ctc" else ", RNN-T"
    weights = "" if row.weights == "trained" else ", random weights"
    return f"{row.model}, {row.lookahead_ms} ms{decoder}{weights}"


def precision_label(row: Row) -> str:
    """Precision, and the method of INT8's thresholds."""
    return row.precision if row.calibration is None else f"{row.precision} {row.calibration}"


def graph_label(row: Row) -> str:
    """Whether steps ran in a CUDA graph; empty where there is no such thing."""
    return {True: ", CUDA graph", False: ", no graph", None: ""}[row.cuda_graph]


def on_cpu(row: Row, provenance: Provenance) -> bool:
    """Whether the row was measured without a GPU: its error rate holds, its times and memory are no result."""
    return row.functional_check or provenance.gpu is None
