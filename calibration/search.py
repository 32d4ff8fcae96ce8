"""The sensitivity search: what INT8 costs by method, kind of product and layer, and the list of products that stay in FP16."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import onnx
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from bench.results import UtteranceRecord
from bench.score.bootstrap import Difference, paired_difference
from bench.score.normalise import scorable
from calibration.compare import Heard, StepError
from calibration.record import Calibration, calibration_path, read_calibration
from calibration.sensitivity import CHANGED, Advance, Kept, Probe, fall_back, harm, kinds, layers, weights_by_product
from calibration.speech import Selection
from data import Utterance, load_audio
from runtime.bundle import read_bundle, step_file
from runtime.console import progress_console
from runtime.entries import Hash, Strict
from runtime.errors import InputError
from runtime.files import sha256, sources_hash

GROUP_MINUTES = 2.0  # of speech for each group: the error's root mean square needs no more
MINUTES = 15.0  # for each fall-back list: a hundredth of its frames is a hundred frames
SOURCES = (
    "calibration/compare.py",
    "calibration/exposed.py",
    "export/placement.py",
    "export/quantise.py",
    "calibration/search.py",
    "calibration/sensitivity.py",
)


class Sensitivity(Strict):
    """What a search found. Errors are those of the log-probabilities against FP32's."""

    schema_version: Literal[1] = 1
    searcher: Hash
    """Hash of the sources that made it."""
    calibration_sha256: Hash
    """Of the calibration file."""
    method: str
    """That the list is for."""
    bound: float
    """Share of frames whose best token may change."""
    group_minutes: float
    """Of calibration speech for methods and groups."""
    minutes: float
    """For lists and WER."""
    methods: dict[str, StepError]
    """Everything in INT8."""
    groups: dict[str, dict[str, StepError]]
    """By method, then group: that one alone in INT8. Kinds by every method, layers by the list's."""
    lists: list[Kept]
    """In the order in which they were measured; the last one is the result."""
    wer: Difference
    """FP32's (a) and the last list's (b) on the calibration speech."""

    @property
    def kept(self) -> tuple[str, ...]:
        """Products that stay in FP16."""
        return self.lists[-1].products


def search_path(bundle_folder: Path) -> Path:
    """Where a search's result lies in a bundle."""
    return bundle_folder / "sensitivity.json"


def current(folder: Path, method: str) -> Sensitivity | None:
    """The result of this search that is there of the bundle's calibration file and this method."""
    try:
        found = Sensitivity.read(search_path(folder), "a search's result", "`make calibrate KEEP=search`")
    except InputError:
        return None
    of = (found.searcher, found.calibration_sha256, found.method)
    return found if of == (_searcher_hash(), sha256(calibration_path(folder)), method) else None


def search(folder: Path, selection: Selection, lang: str, method: str) -> Sensitivity:
    """Measure methods, groups and fall-back lists on the first minutes of the calibration speech, and write what was found.

    Raises InputError for a bundle that is not whole, has random weights or no calibration file of its own.
    """
    bundle = read_bundle(folder)
    if bundle.checkpoint.weights == "random":
        raise InputError(
            f"expected trained weights for a sensitivity search, found random ones in {folder}: their tokens say nothing; leave --keep out"
        )
    calibration = read_calibration(calibration_path(folder), bundle)
    calibration.amax(method)
    step = onnx.load(step_file(folder, bundle, "fp32")[0])
    utterances, short = first_minutes(selection.utterances, MINUTES), first_minutes(selection.utterances, GROUP_MINUTES)
    clips = [load_audio(each.audio, bundle.sample_rate) for each in utterances]
    probe = Probe(folder, step, clips[: len(short)])
    groups = _measure_groups(probe, calibration, method)
    methods = {name: errors.pop("all") for name, errors in groups.items()}
    probe = Probe(folder, step, clips)
    heard = probe.fp32

    def measure(kept: Sequence[str]) -> StepError:
        nonlocal heard
        heard = probe.hear(calibration.amax(method), kept)
        return probe.error(heard)

    harms = harm(groups[method], probe.products)
    with _progress("fall-back lists") as advance:
        lists = []
        for each in fall_back(harms, weights_by_product(step), measure):
            lists.append(each)
            advance()
    result = Sensitivity(
        searcher=_searcher_hash(),
        calibration_sha256=sha256(calibration_path(folder)),
        method=method,
        bound=CHANGED,
        group_minutes=round(sum(each.duration for each in short) / 60, 3),
        minutes=round(sum(each.duration for each in utterances) / 60, 3),
        methods=methods,
        groups=groups,
        lists=lists,
        wer=paired_difference(_records(utterances, probe.fp32, lang), _records(utterances, heard, lang)),
    )
    result.write(search_path(folder))
    return result


def first_minutes(utterances: Sequence[Utterance], minutes: float) -> list[Utterance]:
    """The first clips, by their manifest's durations up to so many minutes; one in any case."""
    chosen: list[Utterance] = []
    total_s = 0.0
    for each in utterances:
        if total_s < 60 * minutes:
            chosen.append(each)
            total_s += each.duration
    return chosen


def _measure_groups(probe: Probe, calibration: Calibration, method: str) -> dict[str, dict[str, StepError]]:
    """By method: everything ("all") and each kind of product; by `method` each layer too."""
    usual = {"all": [*probe.products], **kinds(probe.products)}
    by_method = {each: usual | (layers(probe.products) if each == method else {}) for each in calibration.methods}
    with _progress("groups alone in INT8", sum(len(each) for each in by_method.values())) as advance:
        return {each: probe.alone(calibration.amax(each), by_method[each], advance) for each in calibration.methods}


def _records(utterances: Sequence[Utterance], heard: Heard, lang: str) -> list[UtteranceRecord]:
    return [
        UtteranceRecord(
            data=f"calibration_{lang}",
            mode="utterance",
            audio=each.audio.name,
            reference=each.text,
            hypothesis=text,
            audio_s=each.duration,
        )
        for each, text in zip(utterances, heard.texts, strict=True)
        if scorable(each.text, lang)
    ]


def _searcher_hash() -> str:
    return sources_hash(Path(__file__).parents[1] / name for name in SOURCES)


@contextmanager
def _progress(what: str, total: int | None = None) -> Iterator[Advance]:
    """A bar; yields what to call after each run."""
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=progress_console(), transient=True) as progress:
        task = progress.add_task(what, total=total)
        yield lambda: progress.advance(task)
