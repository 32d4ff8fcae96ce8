"""`python -m bench run`: a bundle on the evaluation speech, every data set clip by clip and as one stream."""

from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from functools import partial
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Literal, get_args

import numpy as np
import tyro
from rich.console import Console

from bench.figures import CHECK
from bench.partials import LINE_DEFINITIONS
from bench.progress import Bar
from bench.results import ResultFile, read_result, records_of
from bench.rows import SpeechRow, UtteranceRecord
from bench.score.rates import churn, first_right
from bench.session import PacedOptions, Written
from bench.speech.arrivals import Listened, clock_of, listen
from bench.speech.clips import Clip, DataSet, joined
from bench.speech.slo import HELP, missed_lines, read_bounds
from bench.speech.speech_session import SpeechData, SpeechSession, opened
from bench.summary import RunningWer, error_keys, first_text_keys, latency_keys, rtf_keys, spread, stands
from runtime.errors import InputError

RTF_WINDOW_S = 10.0
"""Length of the windows of one stream that its real-time factor is over."""

Mode = Literal["utterance", "continuous"]


@dataclass(frozen=True, kw_only=True)
class Options(PacedOptions):
    """What to measure and how."""

    mode: Literal["both"] | Mode = "both"
    """Clip by clip, as one stream, or both."""
    sets_at_once: bool = False
    """Measure all data sets at the same time, each in a process of its own that shares the GPU."""
    slo: Annotated[str | None, tyro.conf.arg(metavar="KEY=LIMIT,...", help=HELP)] = None


def run(options: Options, argv: Sequence[str], console: Console) -> Written:
    """Measure and write the result file.

    Raises:
        InputError: bad options, data or bundle; nothing is written then.
    """
    bounds = read_bounds(options.slo)
    modes: tuple[Mode, ...] = get_args(Mode) if options.mode == "both" else (options.mode,)
    with opened(options, argv, console) as session:
        path, apart = session.path(), options.sets_at_once and len(session.data.sets) > 1
        fed = () if apart else session.clips()
        measured = [measure(session, options, *clips, mode) for clips in fed for mode in modes]
    if apart:
        measured = _each_apart(options, session.data)
    written = session.data.write(path, measured, LINE_DEFINITIONS)
    rows = [row for row, _ in measured]
    missed = missed_lines(bounds, rows)
    check = f"; {CHECK}" if rows[0].functional_check else ""
    return replace(written, notes=[f"kept {options.slo}{check}"] if bounds and not missed else [], missed=missed)


def _each_apart(options: Options, data: SpeechData) -> list[tuple[SpeechRow, list[UtteranceRecord]]]:
    """Measure the data sets at the same time; return their rows, each with the records that it sums up. Raises InputError as `run` does."""
    with TemporaryDirectory() as folder, ProcessPoolExecutor(len(data.sets), get_context("spawn")) as processes:
        apart = replace(options, sets_at_once=False, slo=None, name="apart")
        each = [
            replace(apart, eval=data_set.manifest.parent, out=Path(folder, data_set.name)) for data_set in data.sets
        ]
        try:
            results = [*processes.map(_quietly, each, repeat(data.argv))]
        except BrokenProcessPool:
            raise InputError(
                "--sets-at-once: expected a process of each data set to tell what it measured, found that one ended, as where memory "
                "runs out; leave it out"
            ) from None
    return [(row, records_of(result.utterances, row)) for result in results for row in result.rows_of(SpeechRow)]


def _quietly(options: Options, argv: Sequence[str]) -> ResultFile:
    """A process: measure."""
    return read_result(run(options, argv, Console(quiet=True)).path)


def measure(
    session: SpeechSession, options: Options, data_set: DataSet, clips: Sequence[Clip], mode: Mode
) -> tuple[SpeechRow, list[UtteranceRecord]]:
    """Feed all clips, each to its final or all as one stream; return the row and what it sums up."""
    one_stream = mode == "continuous"
    fed = [joined(data_set.name, clips)] if one_stream else clips
    bar = Bar(session.console, f"{data_set.name} {mode}", len(clips), sum(clip.audio_s for clip in clips))
    clock, stream = clock_of(options.chosen_pace), session.recognizer.stream(early=options.early)
    listened: list[Listened] = []
    records: list[UtteranceRecord] = []
    done_s, wer = 0.0, RunningWer()
    session.recognizer.forget_times()
    with bar:
        for clip in fed:
            on_frame = partial(bar.audio, done_s)
            heard = listen(stream, clip, options.frame_ms, clock, on_frame=on_frame, keep_partials=not one_stream)
            listened.append(heard)
            records.append(record_of(clip, heard, data_set, mode))
            done_s += clip.audio_s
            bar.done(bar.clips if one_stream else len(records), done_s, wer.of(records if session.trained else []))
    windows = rtf_per_window(listened[0].push_s, fed[0].audio_s, options.frame_ms) if one_stream else []
    row = SpeechRow(
        **session.row_keys(data_set),
        **session.early_keys(options.early),
        **(first_text_keys(records) if session.trained and not one_stream else {}),
        first_stands=sum(map(stands, records)) if session.trained and not one_stream else None,
        mode=mode,
        pace=options.chosen_pace,
        clips=len(clips),
        audio_minutes=done_s / 60,
        churn=churn(sum(heard.taken_back for heard in listened), (heard.final.event.text for heard in listened)),
        **error_keys(records if session.trained else []),
        **(spread("rtf", windows) if one_stream else rtf_keys(records)),
        # One stream has one first partial and one final: no distribution.
        **latency_keys(SpeechRow, [] if one_stream else records, trained=session.trained),
        backlog_ms_max=1e3 * max(heard.backlog_s for heard in listened),
        catch_up_ms_max=1e3 * max(heard.catch_up_s for heard in listened),
    )
    return row, records


def record_of(clip: Clip, listened: Listened, data_set: DataSet, mode: Mode) -> UtteranceRecord:
    """Return what came of one clip, with times from the capture of its first sample, from speech onset and from speech end."""
    final, first_s, speech = listened.final, listened.first_text_s, clip.speech
    marks: dict[str, Any] = {}
    if speech is not None:
        marks |= {"onset_s": speech.onset_s, "speech_end_s": speech.end_s}
        marks["final_speech_end_ms"] = 1e3 * (final.end_s - speech.end_s)
    if first_s is not None:
        marks["first_partial_ms"] = 1e3 * first_s
        if speech is not None:
            marks["first_partial_onset_ms"] = 1e3 * (first_s - speech.onset_s)
    if mode == "utterance":  # a stream's are its clips' once more
        texts = [*((shown.seconds, shown.text) for shown in listened.partials), (final.end_s, final.event.text)]
        right = first_right((text for _, text in texts), clip.reference, data_set.lang)
        if right is not None and speech is not None:
            marks["first_correct_onset_ms"] = 1e3 * (texts[right][0] - speech.onset_s)
        marks |= {"partials": listened.partials, "words": final.event.at(0.0).words}
    return data_set.record(
        clip,
        mode=mode,
        hypothesis=final.event.text,
        **marks,
        busy_s=sum(listened.push_s) + final.end_s - final.begin_s,
        final_ms=1e3 * (final.end_s - final.arrival_s),
        backlog_ms=1e3 * listened.backlog_s,
        catch_up_ms=1e3 * listened.catch_up_s,
    )


def rtf_per_window(push_s: Sequence[float], audio_s: float, frame_ms: int) -> list[float]:
    """Return busy seconds (push) per second of audio in each whole 10 s of one stream; of all of it where it is shorter.

    A frame belongs to the window that its first sample lies in. The flush has no audio of its own and is in no window.
    """
    windows = int(audio_s // RTF_WINDOW_S)
    if windows == 0:
        return [sum(push_s) / audio_s]
    window = (np.arange(len(push_s)) * frame_ms / 1000 // RTF_WINDOW_S).astype(int)
    return list(np.bincount(window, push_s, windows)[:windows] / RTF_WINDOW_S)
