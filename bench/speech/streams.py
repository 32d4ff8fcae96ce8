"""`python -m bench streams`: latency against the number of streams of one process, up to the first number that misses the bound."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from bench.machine import collect, plan_figures
from bench.pages.streams_table import STREAMS, sentence
from bench.pages.terminal import CHECK
from bench.process import gpu_memory_mb, peak_host_memory_mb
from bench.results import (
    DEFINITIONS,
    SEVERAL,
    ResultFile,
    Row,
    row,
    write_result,
)
from bench.score.rates import percentiles
from bench.session import SpeechOptions
from bench.speech import clips
from bench.speech.feed import Clip, Clock, RealClock, check_frame_ms
from bench.speech.measure import on_gpu, what_runs
from bench.speech.parallel import Parallel, Piece, pieces, play
from bench.speech.recognise import WARM_UP_STEPS
from bench.stopwatch import TimedRecognizer
from runtime import Event, Stream
from runtime.collector import loaded_spared
from runtime.errors import CudaError, InputError

MOST_STREAMS = 1024
SECONDS = (1.0, 3600.0)


@dataclass(frozen=True)
class StreamsOptions(SpeechOptions):
    """What to measure and how."""

    streams: str = "1,2,4,8,16,32,64,128,256"  # numbers of streams at once, ascending
    seconds: float = 12.0  # of audio in each stream
    slo_ms: float = 150.0  # bound on the 95th percentile of chunks and of finals


def run_streams(options: StreamsOptions, argv: Sequence[str], console: Console) -> Path:
    """Measure, print the table, write the result file and return its path.

    Where the GPU has no room for a number of streams, the run ends with the number before.

    Args:
        options: what to measure.
        argv: the command line, for the provenance.
        console: where figures go.

    Raises:
        InputError: bad options, data or bundle; CudaError: the GPU fails, or has no room for the first number. Nothing is written then.
    """
    numbers = checked(options)
    folder = clips.eval_folder(options.eval, console.print)
    data_sets = clips.data_sets(folder, options.lang, options.limit)
    described = [clips.provenance(data_set) for data_set in data_sets]
    backend, precision = options.chosen_backend, options.chosen_precision
    rows: list[Row] = []
    with options.opened() as recognizer, loaded_spared():
        bundle = recognizer.bundle
        path = options.result_path(recognizer, folder, "streams")
        spoken = [
            clips.load(data_set, utterance, bundle.sample_rate, mark_speech=False)
            for data_set in data_sets
            for utterance in data_set.utterances
        ]
        constant = {
            **what_runs(recognizer, precision),
            "frame_ms": options.frame_ms,
            "pace": "realtime",
            "data": SEVERAL.join(each.name for each in data_sets),
            "mode": "streams",
            "left_out": sum(each.left_out for each in data_sets),
            "limit": options.limit,
            **plan_figures(options.bundle, precision, backend),
        }
        bench = StreamsBench(recognizer, options, spoken)
        for number in numbers:
            try:
                streams = [recognizer.stream() for _ in range(number)]
            except CudaError as error:
                if not rows:
                    raise
                console.print(f"no room for {number} streams: {error}", style="bold yellow", highlight=False)
                break
            rows.append(row(**constant, **bench.measure(streams, RealClock())))
            console.print(line(rows[-1]), highlight=False)
            if not rows[-1].slo_met:
                break
        provenance = collect(argv, described)
    write_result(path, ResultFile(provenance=provenance, rows=rows, definitions=DEFINITIONS))
    print_streams(rows, console)
    console.print(f"wrote {path}", highlight=False, soft_wrap=True)
    return path


def checked(options: StreamsOptions) -> list[int]:
    """The numbers of streams asked for. Raises InputError for options out of range."""
    check_frame_ms(options.frame_ms)
    words = options.streams.split(",")
    numbers = [int(word) for word in words if word.isascii() and word.isdigit() and len(word) < 9]
    ascending = numbers == sorted(set(numbers)) and len(numbers) == len(words)
    if not ascending or not 1 <= numbers[0] <= numbers[-1] <= MOST_STREAMS:
        raise InputError(
            f"--streams: expected ascending numbers from 1 to {MOST_STREAMS} with commas between, as 1,2,4, found {options.streams!r}"
        )
    low, high = SECONDS
    if not low <= options.seconds <= high:
        raise InputError(f"--seconds: expected {low:g} to {high:g} s of audio a stream, found {options.seconds:g}")
    if not 0 < options.slo_ms < np.inf:
        raise InputError(f"--slo-ms: expected a bound above 0 ms, found {options.slo_ms:g}; 150 is the project's")
    return numbers


class StreamsBench:
    """An open recogniser, the clips, and what the same audio gives alone."""

    def __init__(self, recognizer: TimedRecognizer, options: StreamsOptions, spoken: Sequence[Clip]) -> None:
        self._recognizer, self._options, self._spoken = recognizer, options, spoken
        self._alone: dict[Piece, list[Event]] = {}

    def measure(self, streams: Sequence[Stream], clock: Clock) -> dict[str, object]:
        """Keys of a row: new streams of the recogniser at once, which are closed then. Raises CudaError where the GPU fails."""
        recognizer, options, timed = self._recognizer, self._options, self._recognizer.timed
        bundle = recognizer.bundle
        lengths = [len(each.samples) for each in self._spoken]
        shares = pieces(lengths, len(streams), round(options.seconds * bundle.sample_rate))
        audio = [[self._spoken[each.clip].samples[: each.samples] for each in share] for share in shares]
        try:
            for each in streams:  # warm-up, not in the figures
                each.push(np.zeros(WARM_UP_STEPS * bundle.chunk_samples, np.float32))
                each.reset()
            timed.step_s.clear()
            recognizer.decode_s.clear()
            played = play(bundle, streams, audio, options.frame_ms, clock)
            stepped = step_figures(timed.step_s, recognizer.decode_s)
            memory = {
                "peak_gpu_memory_mb": gpu_memory_mb() if on_gpu(timed.name) else None,
                "peak_host_memory_mb": peak_host_memory_mb(),
            }
        finally:
            for each in streams:
                each.close()
        differing = sum(
            events != self._events_alone(piece)
            for share, told in zip(shares, played.told, strict=True)
            for piece, events in zip(share, told.events, strict=False)  # a run that was given up ended fewer
        )
        return {**stepped, **memory, **figures(played, options.slo_ms, differing)}

    def _events_alone(self, piece: Piece) -> list[Event]:
        if piece not in self._alone:
            stream = self._recognizer.stream()
            partials = stream.push(self._spoken[piece.clip].samples[: piece.samples])
            self._alone[piece] = [*partials, stream.end_utterance()]
            stream.close()
        return self._alone[piece]


def step_figures(step_s: Sequence[float], decode_s: Sequence[float]) -> dict[str, object]:
    """Keys of a row: seconds of the steps, and of the decoding behind them, over all streams."""
    step, decode = percentiles(1e3 * each for each in step_s), percentiles(1e3 * each for each in decode_s)
    return {
        "steps": len(step_s),
        "step_ms_p50": step.p50,
        "step_ms_p95": step.p95,
        "step_ms_p99": step.p99,
        "decode_ms_p50": decode.p50,
        "decode_ms_p95": decode.p95,
    }


def figures(played: Parallel, slo_ms: float, differing: int) -> dict[str, object]:
    """Keys of a row: what the streams were told, against a bound in ms; `differing`: utterances that differ from a single run's."""
    told = played.told
    chunk_ms = [1e3 * seconds for each in told for seconds in each.chunk_s]
    chunk, final = percentiles(chunk_ms), percentiles(1e3 * seconds for each in told for seconds in each.final_s)
    within = all(each is None or each <= slo_ms for each in (chunk.p95, final.p95))
    return {
        "streams": len(told),
        "slo_ms": slo_ms,
        "slo_met": within and not played.given_up and not differing,
        "given_up": played.given_up,
        "chunks": len(chunk_ms),
        "chunk_ms_p50": chunk.p50,
        "chunk_ms_p95": chunk.p95,
        "chunk_ms_p99": chunk.p99,
        "late_chunks": sum(each > slo_ms for each in chunk_ms),
        "final_ms_p50": final.p50,
        "final_ms_p95": final.p95,
        "backlog_ms_max": max(1e3 * each.backlog_s for each in told),
        "clips": sum(len(each.events) for each in told),
        "differing": differing,
        "cpu_cores": played.cpu_s / played.wall_s,
        "audio_minutes": sum(each.audio_s for each in told) / 60,
    }


def line(row: Row) -> str:
    """A row on the terminal, as soon as it is there."""
    told = [f"{name} {STREAMS[name](row)}" for name in ("Chunk ms p50 / p95 / p99", "Texts that differ", "Bound")]
    return f"{row.streams} streams: {', '.join(told)}"


def print_streams(rows: Sequence[Row], console: Console) -> None:
    """Print a run's rows, and what they say of the bound."""
    first = rows[0]
    table = Table(
        title=f"{first.model}, look-ahead {first.lookahead_ms} ms, {first.decoder}, {first.precision} on {first.backend}"
    )
    for name in STREAMS:
        table.add_column(name, justify="right")
    for each in rows:
        table.add_row(*(cell(each) for cell in STREAMS.values()))
    console.print(table)
    console.print(f"Streams: {sentence(rows)}", highlight=False)
    if first.functional_check:
        console.print(CHECK, style="bold yellow")
