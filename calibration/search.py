"""The sensitivity search: what INT8 costs by method, kind of product and layer, and the list of products that stay in FP16."""

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Literal, NamedTuple

import onnx
from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench.score.bootstrap import Difference, label, paired_difference
from bench.score.normalise import scorable
from calibration.compare import StepError
from calibration.record import Calibration, calibration_path, read_calibration
from calibration.sensitivity import CHANGED, Kept, Probe, fall_back, harm, kinds, layers, weights_by_product
from calibration.speech import Selection
from data.manifest import Utterance
from data.speech import load_speech
from runtime.bundle import read_bundle, step_file
from runtime.console import progress_console
from runtime.entries import Hash, Strict
from runtime.errors import InputError
from runtime.files import sha256, sources_hash

GROUP_MINUTES = 2.0
"""Minutes of speech for each group: the error's root mean square needs no more."""
MINUTES = 15.0
"""Minutes of speech for each fall-back list: a hundredth of its frames is a hundred frames."""
SOURCES = (
    "calibration/compare.py",
    "calibration/exposed.py",
    "export/placement.py",
    "export/quantise.py",
    "calibration/search.py",
    "calibration/sensitivity.py",
)


class Transcript(NamedTuple):
    """What was said in a clip, and what a step made of it."""

    reference: str
    hypothesis: str
    lang: str
    """Language code of the texts."""


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
        """Matrix products that stay in FP16."""
        return self.lists[-1].products


def search_path(bundle_folder: Path) -> Path:
    """Return where a search's result lies in a bundle."""
    return bundle_folder / "sensitivity.json"


def current(folder: Path, method: str) -> Sensitivity | None:
    """Return the result of this search where it is there, of the bundle's calibration file and this method."""
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
    clips = list(load_speech(utterances, bundle.sample_rate))
    probe = Probe(folder, step, clips[: len(short)], lang)
    groups = _measure_groups(probe, calibration, method)
    methods = {name: errors.pop("all") for name, errors in groups.items()}
    probe = Probe(folder, step, clips, lang)
    heard = probe.fp32

    def measure(kept: Sequence[str]) -> StepError:
        nonlocal heard
        heard = probe.hear(calibration.amax(method), kept)
        return probe.error(heard)

    lists = fall_back(harm(groups[method], probe.products), weights_by_product(step), measure)
    measured = list(track(lists, "fall-back lists", console=progress_console(), transient=True))
    said = zip((clip.text for clip in utterances), probe.fp32.texts, heard.texts, strict=True)
    pairs = [(Transcript(text, a, lang), Transcript(text, b, lang)) for text, a, b in said if scorable(text, lang)]
    result = Sensitivity(
        searcher=_searcher_hash(),
        calibration_sha256=sha256(calibration_path(folder)),
        method=method,
        bound=CHANGED,
        group_minutes=round(sum(clip.duration for clip in short) / 60, 3),
        minutes=round(sum(clip.duration for clip in utterances) / 60, 3),
        methods=methods,
        groups=groups,
        lists=measured,
        wer=paired_difference(pairs),
    )
    result.write(search_path(folder))
    return result


def print_search(found: Sensitivity, console: Console) -> None:
    """Print the methods, the groups, the lists, and WER, in 120 columns."""
    title = f"INT8 alone: log-probabilities, rms error / frames changed, over {found.group_minutes:.1f} minutes"
    table = Table("in INT8", title=title)
    for method in found.methods:
        table.add_column(method.replace("_9", "\n9"), justify="right")
    for group in found.groups[found.method]:
        table.add_row(group, *(_shown(errors.get(group)) for errors in found.groups.values()))
    table.add_row("everything", *map(_shown, found.methods.values()))
    console.print(table)
    title = f"log-probabilities over {found.minutes:.1f} minutes, at most {found.bound:.1%} of the frames changed"
    table = Table("products in FP16", title=f"Fall-back, {found.method}:\n{title}")
    for header in ("of the weights", "rms / changed"):
        table.add_column(header, justify="right")
    for kept in found.lists:
        table.add_row(str(len(kept.products)), f"{kept.weights:.1%}", _shown(kept.error))
    console.print(table)
    wer = found.wer
    console.print(
        f"WER of the calibration speech, {wer.words} words: FP32 {wer.wer_a:.2f} %, INT8 with the last list {wer.wer_b:.2f} %, "
        f"points between them {label(wer.points, wer.low, wer.high)}",
        highlight=False,
        soft_wrap=True,
    )
    if found.kept:
        console.print(f"in FP16: {', '.join(found.kept)}", highlight=False, soft_wrap=True)


def first_minutes(utterances: Sequence[Utterance], minutes: float) -> list[Utterance]:
    """Return the first clips, by their manifest's durations up to so many minutes; one in any case."""
    starts_s = accumulate((clip.duration for clip in utterances), initial=0.0)
    return [clip for clip, start_s in zip(utterances, starts_s, strict=False) if start_s < 60 * minutes]


def _measure_groups(probe: Probe, calibration: Calibration, method: str) -> dict[str, dict[str, StepError]]:
    """Return the errors by method: of everything ("all") and each kind of product; by `method` of each layer too."""
    usual = {"all": [*probe.products], **kinds(probe.products)}
    groups = {name: usual | (layers(probe.products) if name == method else {}) for name in calibration.methods}
    runs = ((name, error) for name in groups for error in probe.alone(calibration.amax(name), groups[name]))
    total = sum(map(len, groups.values()))
    errors: dict[str, dict[str, StepError]] = {name: {} for name in groups}
    for name, (group, error) in track(runs, "groups alone in INT8", total, console=progress_console(), transient=True):
        errors[name][group] = error
    return errors


def _shown(error: StepError | None) -> str:
    return "-" if error is None else f"{error.rms:.3f} / {error.changed:.2%}"


def _searcher_hash() -> str:
    return sources_hash(Path(__file__).parents[1] / name for name in SOURCES)
