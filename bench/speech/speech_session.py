"""What every bench on speech does first and last: open data and recogniser, warm up, sum up what all rows hold, write."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from bench.figures import definitions
from bench.machine import collect, plan_figures
from bench.process import gpu_memory_mb, peak_host_memory_mb
from bench.results import SEVERAL, DataProvenance, ResultFile, Row, UtteranceRecord, calibration_of, write_result
from bench.session import DataOptions, SpeechOptions, on_gpu
from bench.speech.arrivals import VirtualClock, check_frame_ms, listen
from bench.speech.clips import SPEECH_DEFINITION, Clip, DataSet, data_sets, eval_folder
from bench.stopwatch import TimedRecognizer
from bench.summary import spread
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
        rows: Sequence[Row],
        records: Sequence[UtteranceRecord] = (),
        more: Mapping[str, str] | None = None,
    ) -> ResultFile:
        """Write the result of what was measured just now: its rows and records, and `more` definitions than those of its figures."""
        defined = {**definitions(rows), "speech": SPEECH_DEFINITION, **(more or {})}
        provenance = collect(self.argv, self.described)
        result = ResultFile.model_validate(
            {"provenance": provenance, "rows": rows, "definitions": defined, "utterances": records}
        )
        write_result(path, result)
        return result


def read_data(options: DataOptions, argv: Sequence[str], console: Console) -> SpeechData:
    """Return the data sets that options name. Raises InputError where they are missing or broken."""
    folder = eval_folder(options.eval, console.print)
    sets = data_sets(folder, options.lang, options.limit)
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
        """Return the result file's path; `kind` ends its default name. Raises InputError for a name that is none."""
        return self.options.result_path(self.recognizer, self.data.folder, kind)

    def clips(self) -> Iterator[tuple[DataSet, list[Clip]]]:
        """Yield each data set with its clips, their speech marked. The recogniser is warm from the first on."""
        for number, data_set in enumerate(self.data.sets):
            with self.console.status(
                f"{data_set.name}: reading {len(data_set.utterances)} clips, marking onset and end of speech"
            ):
                clips = data_set.load(self.recognizer.bundle.sample_rate, mark_speech=True)
            if number == 0:
                self._warm_up(clips[0])
            yield data_set, clips

    def _warm_up(self, clip: Clip) -> None:
        """Run steps that are in no figure, and say so."""
        begin, step_s = time.perf_counter(), self.recognizer.timed.step_s
        while len(step_s) < WARM_UP_STEPS:
            listen(self.recognizer.stream(), clip, self.options.frame_ms, VirtualClock())
        seconds = time.perf_counter() - begin
        self.console.print(f"warm-up: {len(step_s)} steps in {seconds:.2f} s, not in the figures", highlight=False)

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
            **plan_figures(options.bundle, precision, options.chosen_backend),
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
