"""A bundle on the evaluation speech: warm-up, then every data set clip by clip and as one stream."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console

from bench.machine import collect, plan_figures
from bench.pages.terminal import CHECK, report
from bench.results import DEFINITIONS, ResultFile, Row, UtteranceRecord
from bench.session import PacedOptions
from bench.speech import clips
from bench.speech.feed import Clip, VirtualClock, check_frame_ms, feed
from bench.speech.measure import Bench, Mode, Setting, on_gpu
from bench.speech.slo import missed, read_bounds
from bench.stopwatch import TimedRecognizer
from runtime.collector import loaded_spared

WARM_UP_STEPS = 10
MODES: dict[str, tuple[Mode, ...]] = {
    "both": ("utterance", "continuous"),
    "utterance": ("utterance",),
    "continuous": ("continuous",),
}


@dataclass(frozen=True)
class RunOptions(PacedOptions):
    """What to measure and how."""

    mode: Literal["both", "utterance", "continuous"] = "both"
    slo: str | None = None  # bounds to keep, as bench.speech.slo.read_bounds has them


def run_bench(options: RunOptions, argv: Sequence[str], console: Console) -> Path:
    """Measure, print the table, write the result file and return its path.

    Args:
        options: what to measure.
        argv: the command line, for the provenance.
        console: where progress and table go.

    Raises:
        InputError: bad options, data or bundle; nothing is written then.
        SystemExit: code 1 with a line for each missed bound of `slo`; the result file is there.
    """
    check_frame_ms(options.frame_ms)
    bounds = [] if options.slo is None else read_bounds(options.slo)
    folder = clips.eval_folder(options.eval, console.print)
    data_sets = clips.data_sets(folder, options.lang, options.limit)
    described = [clips.provenance(data_set) for data_set in data_sets]
    backend, precision = options.chosen_backend, options.chosen_precision
    with options.opened() as recognizer, loaded_spared():
        path = options.result_path(recognizer, folder)
        setting = Setting(options.lang, options.frame_ms, options.chosen_pace, precision, options.limit)
        bench = Bench(recognizer, setting, console)
        plan = plan_figures(options.bundle, precision, backend)
        rows: list[Row] = []
        records: list[UtteranceRecord] = []
        for data_set in data_sets:
            loaded = load_clips(data_set, recognizer.bundle.sample_rate, console)
            if not rows:
                warm_up(recognizer, loaded[0], options.frame_ms, console)
            for mode in MODES[options.mode]:
                measured = bench.measure(data_set, loaded, mode)
                rows.append(measured.row.model_copy(update=plan))
                records.extend(measured.records)
        provenance = collect(argv, described)
    report(path, ResultFile(provenance=provenance, rows=rows, definitions=DEFINITIONS, utterances=records), console)
    if lines := missed(bounds, rows):
        raise SystemExit("\n".join(lines))  # they go to stderr, with code 1
    if bounds:
        where = "" if on_gpu(backend) else f"; {CHECK}"
        console.print(f"kept {options.slo}{where}", highlight=False, markup=False, soft_wrap=True)
    return path


def load_clips(data_set: clips.DataSet, sample_rate: int, console: Console) -> list[Clip]:
    """The data set's clips at a rate in Hz, their speech marked. Raises InputError for broken audio."""
    with console.status(f"{data_set.name}: reading {len(data_set.utterances)} clips, marking onset and end of speech"):
        return [clips.load(data_set, utterance, sample_rate, mark_speech=True) for utterance in data_set.utterances]


def warm_up(recognizer: TimedRecognizer, clip: Clip, frame_ms: int, console: Console) -> None:
    """Run steps that are in no figure, and say so."""
    begin, timed = time.perf_counter(), recognizer.timed
    while len(timed.step_s) < WARM_UP_STEPS:
        feed(recognizer.stream(), clip, frame_ms, VirtualClock())
    seconds = time.perf_counter() - begin
    console.print(f"warm-up: {len(timed.step_s)} steps in {seconds:.2f} s, not in the figures", highlight=False)
