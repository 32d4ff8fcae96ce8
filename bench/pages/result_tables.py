"""The tables of a result file: what stands in which column."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from bench.figures import Column, column, data_label, memory_label, shown
from bench.pages.combinations import COSTS, DECIDING, NAME, TIMES, combinations
from bench.pages.tables import Table, table
from bench.results import ResultFile
from bench.rows import EndpointRow, HotwordsRow, Row, SpeechRow, StepRow, StreamsRow, WordsRow

PACE = Column("Pace", lambda row: {"fast": "back to back", "realtime": "real time", None: "-"}[row.pace])
DATA = Column("Data", data_label)
MEMORY = Column("Peak\nMB", memory_label)


def _standing(row: Any) -> str:  # noqa: ANN401 -- a row that has texts
    return "-" if row.first_stands is None else f"{row.first_stands} of {row.clips}"


def how_label(row: StreamsRow) -> str:
    """How streams ran, and what they had to do beside greedy decoding."""
    ways = ["steps together" if row.batched else "steps apart"]
    ways += [f"{row.processes} processes"] if row.processes not in {None, 1} else []
    ways += ["n-gram"] if row.lm else []
    ways += ["endpoints"] if row.endpoints else []
    ways += [f"early text {row.early_tokens}"] if row.early_tokens not in {None, "off"} else []
    return ", ".join(ways)


STEP = column("step_ms", "p50", "p95", "p99")
FIRST_PARTIAL = column("first_partial_onset_ms", "p50", "p95")
FINAL = column("final_ms", "p50", "p95", title="Final")
SPEECH_END = column("final_speech_end_ms", "p50", "p95")

SPEECH = (
    DATA,
    column("wer"),
    column("cer"),
    column("rtf", "p50", "p95"),
    STEP,
    column("decode_ms", "p50", "p95"),
    column("churn", title="Churn"),
    MEMORY,
)
EARLY = Column("Early text", lambda row: getattr(row, "early_tokens", None) or "off")
FIRST_CORRECT = column("first_correct_onset_ms", "p50", "p95", title="First correct word")
EARLY_TEXTS = (
    EARLY,
    FIRST_PARTIAL,
    FIRST_CORRECT,
    Column("First texts\nthat stand", _standing),
    column("churn", title="Churn"),
    column("early_step_ms", "p50", "p95"),
    column("early_steps_per_chunk"),
)
FIRST_TEXTS = (DATA, column("first_partial_ms", "p50", "p95"), *(each for each in EARLY_TEXTS if each.title != "Churn"))
FINALS = (DATA, column("final_ms", "p50", "p95"), SPEECH_END)
ENDPOINTS = (
    DATA,
    Column("Ends found /\nlate / early / missed", lambda row: shown([row.found, row.late, row.early, row.missed], 0)),
    column("wer"),
    column("wer_clips"),
    column("end_decision_ms", "p50", "p95"),
    column("final_ms", "p50", "p95", title="Decision to final"),
    SPEECH_END,
    FIRST_PARTIAL,
    FIRST_CORRECT,
)
STREAMS = (
    Column("Streams", lambda row: str(row.streams)),
    column("chunk_ms", "p50", "p95", "p99"),
    STEP,
    FINAL,
    Column(
        "Bound", lambda row: f"{row.slo_ms:g} ms {'met' if row.slo_met else 'given up' if row.given_up else 'missed'}"
    ),
    Column("Late chunks", lambda row: f"{row.late_chunks} of {row.chunks}"),
    column("backlog_ms", "max"),
    Column(
        "Texts that differ", lambda row: f"{row.differing} of {row.clips if row.compared is None else row.compared}"
    ),
    column("streams_in_run"),
    column("run_share"),
    column("cpu_cores"),
    MEMORY,
)
HOW = Column("Streams", how_label)
"""How the streams of a row ran."""
HOTWORDS = (
    Column(
        "Hotwords",
        lambda row: (
            "none"
            if row.distractors is None
            else f"rare words, {row.distractors:,} others"
            if row.distractors
            else "rare words"
        ),
    ),
    column("rare_recall"),
    column("false_hotwords"),
    column("other_wer"),
    column("wer"),
    column("decode_ms", "p50", "p95"),
    column("decode_times"),
)
STEPS = (
    PACE,
    STEP,
    *map(column, ("floor_ms", "launches_per_step", "further_turns_per_step", "times_runtime")),
    *map(column, ("peak_gpu_memory_mb", "plan_mb", "first_result_s")),
)
CONFIDENCE = (DATA, *map(column, ("words", "words_right", "confidence", "confidence_ece", "confidence_auc")))
WORD_TIMES = (
    DATA,
    *map(column, ("words_timed", "unaligned")),
    column("word_start_ms", "p50", "p95"),
    column("word_start_bias_ms"),
    column("word_end_ms", "p50", "p95"),
    column("word_end_bias_ms"),
)
WATERFALL = ("Stage", "Mean ms", "p50 ms", "p95 ms")


def result_tables(result: ResultFile) -> Iterator[Table]:
    """Yield a result file's tables: rows of one model and engine together, less the columns that none of them has."""
    if compared := combinations(result):
        yield table("Combinations", (NAME, *DECIDING), compared).measured()
        yield table("Latency and costs", (NAME, *TIMES, *COSTS), compared).measured()
        return
    kinds = (
        (SpeechRow, SPEECH),
        (EndpointRow, SPEECH),
        (StreamsRow, STREAMS),
        (HotwordsRow, HOTWORDS),
        (WordsRow, CONFIDENCE),
        (StepRow, STEPS),
    )
    for kind, columns in kinds:
        for title, group in groupby(result.rows_of(kind), key=_title):
            rows = list(group)
            yield table(title, columns, rows).measured()
            timed = [row for row in rows if isinstance(row, SpeechRow) and row.final_ms_p50 is not None]
            if timed:
                yield table("First text", FIRST_TEXTS, timed).measured()
                yield table("Final", FINALS, timed).measured()
    if ended := result.rows_of(EndpointRow):
        yield table("Endpoints", ENDPOINTS, ended).measured()
    if timed_words := [row for row in result.rows_of(WordsRow) if row.words_timed]:
        yield table("Times of words", WORD_TIMES, timed_words).measured()
    for row in ended:
        if row.waterfall:
            yield Table(f"{row.data}: ms from onset to first text", list(WATERFALL), waterfall_cells(row))


def waterfall_cells(row: EndpointRow) -> list[list[str]]:
    """Return a row of text for each stage: its name, then mean, p50 and p95 in ms."""
    return [
        [stage.removesuffix("_ms"), *(f"{values[key]:.1f}" for key in ("mean", "p50", "p95"))]
        for stage, values in (row.waterfall or {}).items()
    ]


def streams_sentence(rows: Sequence[StreamsRow]) -> str:
    """Return what the rows of one run say of the bound; they end with the first number of streams that misses it."""
    most = max((row.streams for row in rows if row.slo_met), default=None)
    bound = f"{rows[0].slo_ms:g} ms at p95"
    if most is None:
        return f"Not even {rows[0].streams} met {bound}."
    if rows[-1].slo_met:
        return f"{most} met {bound}: the most that were tried."
    return f"{most} met {bound}, {rows[-1].streams} did not."


def _title(row: Row) -> str:
    model = f"{row.model} ({row.weights}), look-ahead {row.lookahead_ms} ms"
    lm = getattr(row, "lm", None)
    frames = getattr(row, "frame_ms", None)
    what = f"{row.decoder}{f' with {lm}' if lm else ''}, {row.precision} on {row.backend}"
    rung = getattr(row, "rung", None)
    return f"{model}\n{what}{f', {frames} ms frames, pace {row.pace}' if frames else ''}{f', {rung}' if rung else ''}"
