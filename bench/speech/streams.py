"""`python -m bench streams`: latency against the number of streams of one process, up to the first number that misses the bound.

All streams are fed from one event loop, at the pace of speech, as a server does.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from rich.console import Console

from bench.figures import shown
from bench.rows import StreamsRow
from bench.session import SpeechOptions, Written
from bench.speech.answers import Answers
from bench.speech.arrivals import Clock
from bench.speech.share import Share, Streams, feed_in_processes
from bench.speech.speech_session import opened
from bench.summary import Keys, spread
from runtime.early import Early
from runtime.errors import CudaError, FullError, InputError

MOST_STREAMS = 4096
SECONDS = (1.0, 3600.0)


@dataclass(frozen=True, kw_only=True)
class Options(SpeechOptions):
    """What to measure and how."""

    streams: str = "1,2,4,8,16,32,64,128,256"
    """Numbers of streams at once, ascending; the run ends with the first that misses the bound."""
    batched: bool = False
    """Run the steps of all streams together, by the plan of `make engines BATCH=1`."""
    endpoints: bool = False
    """Let utterances end themselves too, as in a conversation."""
    early: Early = "off"
    """Tokens shown before their look-ahead has arrived: off, steady or eager."""
    seconds: float = 12.0
    """Seconds of audio in each stream, which is how long a number of them takes."""
    slo_ms: float = 150.0
    """Bound on the 95th percentile of chunks and of finals, in ms."""
    seed: int = 0
    """Of the streams' starts."""
    processes: int = 1
    """Processes that share the streams and the GPU, each with a recogniser of its own."""

    def numbers(self) -> list[int]:
        """Return the numbers of streams. Raises InputError for options out of range."""
        words = self.streams.split(",")
        numbers = [int(word) for word in words if word.isascii() and word.isdigit() and len(word) < 9]
        ascending = numbers == sorted(set(numbers)) and len(numbers) == len(words)
        if not ascending or not 1 <= numbers[0] <= numbers[-1] <= MOST_STREAMS:
            raise InputError(
                f"--streams: expected ascending numbers from 1 to {MOST_STREAMS} with commas between, as 1,2,4, found {self.streams!r}"
            )
        low, high = SECONDS
        if not low <= self.seconds <= high:
            raise InputError(f"--seconds: expected {low:g} to {high:g} s of audio a stream, found {self.seconds:g}")
        if not 1 <= self.processes <= numbers[0]:
            raise InputError(
                f"--processes: expected at least 1 and at most the fewest streams, {numbers[0]}, found {self.processes}"
            )
        if not 0 < self.slo_ms < math.inf:
            raise InputError(f"--slo-ms: expected a bound above 0 ms, found {self.slo_ms:g}; 150 is the project's")
        return numbers

    @property
    def max_streams(self) -> int | None:
        """Streams that the recogniser is opened for."""
        return -(-self.numbers()[-1] // self.processes) if self.batched else None


def run(options: Options, argv: Sequence[str], console: Console) -> Written:
    """Measure and write the result file, anew with each number. Where the GPU has no room for a number, the run ends with the one before.

    Raises:
        InputError: bad options, data or bundle; CudaError: the GPU fails, or has no room for the first number. Nothing is written then.
    """
    rows: list[StreamsRow] = []
    with opened(options, argv, console) as session:
        path = session.path("batched-streams" if options.batched else "streams")
        streams = Streams(session, options)
        for number in options.numbers():
            try:
                if options.processes == 1:
                    shares = [streams.feed(number, clock=Clock())]
                else:
                    shares = feed_in_processes(options, argv, number, streams.expect(number))
                row = row_of(options, shares)
            except (CudaError, FullError) as error:
                if not rows:
                    raise
                console.print(f"no room for {number} streams: {error}", style="bold yellow", highlight=False)
                break
            rows.append(row)
            written = session.data.write(path, [(row, ()) for row in rows])
            bound = "met" if row.slo_met else "given up" if row.given_up else "missed"
            console.print(
                f"{row.streams} streams: chunk ms p50 / p95 / p99 {shown([row.chunk_ms_p50, row.chunk_ms_p95, row.chunk_ms_p99], 1)}, "
                f"texts that differ {row.differing} of {row.compared}, bound {row.slo_ms:g} ms {bound}",
                highlight=False,
            )
            if not row.slo_met:
                break
        return written


def row_of(options: Options, shares: Sequence[Share]) -> StreamsRow:
    """Return the row of all processes' shares; steps' times are those of the first."""
    first, takes = shares[0].keys, [share.took for share in shares]
    in_run = [take["streams_in_run"] for take in takes if take["streams_in_run"] is not None]
    took = {
        "given_up": any(take["given_up"] for take in takes),
        "cpu_cores": sum(take["cpu_cores"] for take in takes),
        "streams_in_run": median(in_run) if in_run else None,
        "run_share": max(take["run_share"] for take in takes),
    }
    summed = {}
    for key in ("steps", "peak_gpu_memory_mb", "peak_host_memory_mb"):
        values = [share.keys[key] for share in shares]
        summed[key] = None if None in values else sum(values)
    answers = [answer for share in shares for answer in share.answers]
    return StreamsRow(
        **first | summed,
        mode="streams",
        pace="realtime",
        batched=options.batched,
        processes=options.processes,
        endpoints=options.endpoints,
        early_tokens=options.early,
        compared=sum(share.compared for share in shares),
        **figures(answers, took, options.slo_ms, sum(share.differing for share in shares)),
    )


def figures(answers: Sequence[Answers], took: Keys, slo_ms: float, differing: int) -> Keys:
    """Return keys of a row: what the streams said, against a bound in ms; `differing`: utterances that differ from a single run's."""
    chunk_ms = [1e3 * seconds for answer in answers for seconds in answer.chunk_s]
    chunk = spread("chunk_ms", chunk_ms, p99=True)
    final = spread("final_ms", (1e3 * seconds for answer in answers for seconds in answer.final_s))
    within = all(p95 is None or p95 <= slo_ms for p95 in (chunk["chunk_ms_p95"], final["final_ms_p95"]))
    return {
        **chunk,
        **final,
        **took,
        "streams": len(answers),
        "slo_ms": slo_ms,
        "slo_met": within and not took["given_up"] and not differing,
        "chunks": len(chunk_ms),
        "late_chunks": sum(ms > slo_ms for ms in chunk_ms),
        "backlog_ms_max": max(1e3 * answer.backlog_s for answer in answers),
        "clips": sum(len(answer.said) for answer in answers),
        "differing": differing,
        "audio_minutes": sum(answer.audio_s for answer in answers) / 60,
    }
