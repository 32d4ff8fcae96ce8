"""What every bench on speech does first and last: open data and recogniser, warm up, sum up what all rows hold, write."""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.machine import plan_figures
from bench.process import gpu_memory_mb, peak_host_memory_mb
from bench.results import calibration_of, default_name, result_path
from bench.rows import SEVERAL, DataProvenance, Row, UtteranceRecord
from bench.session import DataOptions, SpeechOptions, Written, on_gpu, write_rows
from bench.speech.arrivals import VirtualClock, check_frame_ms, listen
from bench.speech.clips import Clip, DataSet, data_sets, eval_folder
from bench.stopwatch import TimedRecognizer
from bench.summary import spread
from data.manifest import allowed
from data.voiced import SPEECH_DEFINITION
from runtime.early import Early
from runtime.live import loaded_spared

WARM_UP_STEPS = 10


@dataclass(frozen=True)
class SpeechData:
    """The data sets of a run, and what is said of them in its result."""

    folder: Path
    sets: Sequence[DataSet]
    described: list[DataProvenance]
    argv: Sequence[str]
    """The command line, for the provenance."""

    def write(
        self,
        path: Path,
        measured: Iterable[tuple[Row, Sequence[UtteranceRecord]]],
        more: Mapping[str, str] | None = None,
    ) -> Written:
        """Write what was measured just now: rows, each with the records that it sums up; `more`: definitions beside its figures'."""
        pairs = list(measured)
        records = [record for _, summed_up in pairs for record in summed_up]
        defined = {"speech": SPEECH_DEFINITION, **(more or {})}
        return write_rows(path, self.argv, [row for row, _ in pairs], self.described, defined, utterances=records)


def read_data(options: DataOptions, argv: Sequence[str], console: Console) -> SpeechData:
    """Return the data sets that options name. Raises InputError where they are missing or broken."""
    folder = eval_folder(options.eval, console.print)
    sets = data_sets(folder, options.lang, options.limit, allowed(options.allow))
    return SpeechData(folder, sets, [data_set.provenance() for data_set in sets], argv)


@dataclass(frozen=True)
class SpeechSession:
    """An open recogniser and the data sets to measure it on."""

    options: SpeechOptions
    data: SpeechData
    recognizer: TimedRecognizer
    console: Console
    """Where progress goes."""

    @property
    def trained(self) -> bool:
        """Whether its texts are an answer to the speech: if not, rows have neither error rates nor figures of first texts."""
        return self.recognizer.bundle.checkpoint.weights == "trained"

    def path(self, kind: str = "") -> Path:
        """Return the result file's path: named as asked, else after what is measured. Raises InputError for a name that is none."""
        options, bundle = self.options, self.recognizer.bundle
        parts = [bundle.checkpoint.name, f"{bundle.lookahead_ms}ms", options.chosen_precision, options.chosen_backend]
        parts += ["rnnt"] if self.recognizer.decoder == "rnnt" else []
        parts += [] if self.recognizer.ngram is None else ["lm"]
        parts += [kind] if kind else []
        usual = default_name(parts, data=self.data.folder, lang=options.lang, limit=options.limit)
        return result_path(options.out, options.name or usual)

    def clips(self) -> Iterator[tuple[DataSet, list[Clip]]]:
        """Yield each data set with its clips, their speech marked. The recogniser is warm from the first on."""
        for number, data_set in enumerate(self.data.sets):
            with self.console.status(
                f"{data_set.name}: reading {len(data_set.utterances)} clips, marking onset and end of speech"
            ):
                clips = data_set.load(self.recognizer.bundle.sample_rate, mark_speech=True)
            if number == 0:
                begin, step_s = time.perf_counter(), self.recognizer.timed.step_s
                while len(step_s) < WARM_UP_STEPS:
                    listen(self.recognizer.stream(early="off"), clips[0], self.options.frame_ms, VirtualClock())
                warm_up = f"warm-up: {len(step_s)} steps in {time.perf_counter() - begin:.2f} s, not in the figures"
                self.console.print(warm_up, highlight=False)
            yield data_set, clips

    def row_keys(self, *data_sets: DataSet) -> dict[str, Any]:
        """Return what every row holds: what ran, on what, and since times were forgotten its steps, decoding and memory."""
        options, recognizer = self.options, self.recognizer
        bundle, timed, precision = recognizer.bundle, recognizer.timed, options.chosen_precision
        return {
            "model": bundle.checkpoint.name,
            "weights": bundle.checkpoint.weights,
            "decoder": recognizer.decoder,
            "lm": None if recognizer.ngram is None else recognizer.ngram.name,
            "precision": precision,
            "calibration": calibration_of(bundle, precision),
            "backend": timed.name,
            "cuda_graph": timed.launches.cuda_graph,
            "lookahead_ms": bundle.lookahead_ms,
            "functional_check": not on_gpu(timed.name),
            "frame_ms": options.frame_ms,
            "data": SEVERAL.join(data_set.name for data_set in data_sets),
            "lang": options.lang,
            "limit": options.limit,
            "left_out": sum(data_set.left_out for data_set in data_sets),
            "steps": len(timed.step_s),
            **spread("step_ms", (1e3 * seconds for seconds in timed.step_s), p99=True),
            **spread("decode_ms", (1e3 * seconds for seconds in recognizer.decode_s)),
            "peak_gpu_memory_mb": gpu_memory_mb() if on_gpu(timed.name) else None,
            "peak_host_memory_mb": peak_host_memory_mb(),
            **plan_figures(
                options.bundle, precision, options.chosen_backend, "batched" if options.max_streams else "step"
            ),
        }

    def early_keys(self, early: Early) -> dict[str, Any]:
        """Return what a row that shows early tokens holds of them, since times were forgotten."""
        timed = self.recognizer.timed
        peek_ms = [1e3 * seconds for seconds in timed.peek_s]
        return {
            "early_tokens": early,
            **spread("early_step_ms", peek_ms),
            "early_steps_per_chunk": len(peek_ms) / len(timed.step_s) if timed.step_s else None,
        }


@contextmanager
def opened(options: SpeechOptions, argv: Sequence[str], console: Console) -> Iterator[SpeechSession]:
    """Open what the options name; within the block the garbage collector leaves alone what was loaded.

    Raises:
        InputError: bad options, data or bundle.
    """
    check_frame_ms(options.frame_ms)
    data = read_data(options, argv, console)
    with options.opened() as recognizer, loaded_spared():
        yield SpeechSession(options, data, recognizer, console)
