"""`python -m bench bargein`: how soon and how surely a user who interrupts the agent is heard, and whether anything of before remains."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

import jiwer
import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field
from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench import bargein_scenes, clips
from bench.bargein_scenes import Kind, Scene, scenes
from bench.feed import FRAME_MS, VirtualClock
from bench.measure import on_gpu
from bench.metrics import percentiles
from bench.normalise import normalise
from bench.provenance import collect
from bench.results import Figure, Provenance, read_record, result_path
from bench.table import CHECK, figures
from runtime import BargeIn, BargeInRules, Conversation, Event, Recognizer, Stream
from runtime.backends import default_backend, default_precision
from runtime.errors import InputError
from runtime.files import written_whole

DEFINITIONS = {
    "scenes": bargein_scenes.DEFINITION,
    "detect_ms": "ms from the user's speech onset (Silero VAD on the clean clip) to BargeIn, on the clock of the audio with the time of "
    "computing added; the audio's part is that of any machine",
    "missed": "interruptions without a BargeIn from 200 ms before the onset on",
    "false_alarms_per_hour": "BargeIns without a user, per hour that the agent spoke so: scenes without a user, others up to the onset",
    "words_lost": "words of the clean clip's transcript (same model) that the interruption's has not, as deletions, of `words`",
    "first_words_lost": "interruptions, of those detected, where the first of them is lost",
    "stale": "partials while the agent speaks; after BargeIn, those that are not a fresh stream's",
    "leaks": "interruptions whose events differ from those of a fresh stream that gets the same audio, bit for bit",
}
EARLY_S = 0.2  # the onset's mark may be late by as much


@dataclass(frozen=True)
class BargeInOptions:
    """What to measure."""

    bundle: Path
    eval: Path | None = None  # folder of data sets: the first speaks as users, the last as agent
    lang: str = "en"
    backend: str = "auto"  # auto: this machine's best
    each: int = 10  # scenes of a kind
    seed: int = 0
    confirming_token: bool = False
    name: str | None = None  # of the result file
    out: Path = Path("bench/results")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True, validate_by_name=True)


class Outcome(_Strict):
    """One scene, with or without the reference."""

    reference: bool
    kind: Kind
    attenuation_db: int
    level_dbfs: int
    user: str | None
    alone_s: Figure  # that the agent spoke with no user
    false_alarms: int
    detect_ms: Figure | None = None
    words: int = 0
    words_lost: int = 0
    first_word_lost: bool = False
    stale: int = 0
    leak: bool = False
    hypothesis: str | None = None
    clean_hypothesis: str | None = None


class BargeInRow(_Strict):
    """The scenes with or without the reference, at one attenuation and, of users, all levels or one."""

    reference: bool
    attenuation_db: int
    level_dbfs: int | None
    interruptions: int
    detect_ms_p50: Figure | None
    detect_ms_p95: Figure | None
    missed: int
    false_alarms: int
    false_alarms_per_hour: Figure | None
    words: int
    words_lost: int
    first_words_lost: int
    stale: int
    leaks: int


class BargeInFile(_Strict):
    """bench/results/bargein/NAME.json."""

    schema_: Literal[1] = Field(default=1, alias="schema")
    provenance: Provenance
    model: str
    lookahead_ms: int
    precision: str
    backend: str
    functional_check: bool
    rules: dict[str, bool | int | float]
    seed: int
    rows: list[BargeInRow] = Field(min_length=1)
    definitions: dict[str, str]
    scenes: list[Outcome]


class _Recorded(Stream):
    """A stream that keeps what it was given of the utterance."""

    def __init__(self, recognizer: Recognizer) -> None:
        self.pieces: list[npt.NDArray[np.float32]] = []
        super().__init__(recognizer)

    def push(self, samples: npt.NDArray[np.float32] | npt.NDArray[np.int16]) -> list[Event]:
        self.pieces.append(samples.astype(np.float32))
        return super().push(samples)

    def reset(self) -> None:
        self.pieces.clear()
        super().reset()


def run_bargein(options: BargeInOptions, argv: Sequence[str], console: Console) -> Path:
    """Measure, print the table, write the result file and return its path. Raises InputError for bad options, data or bundle."""
    if options.each < 1:
        raise InputError(f"--each: expected at least 1 scene, found {options.each}")
    folder = clips.eval_folder(options.eval, console.print)
    data_sets = clips.data_sets(folder, options.lang, None)
    backend = default_backend() if options.backend == "auto" else options.backend
    precision = default_precision(backend)
    with Recognizer(options.bundle, precision, backend, lm=None) as recognizer:
        bundle = recognizer.bundle
        confirmed = "-token" if options.confirming_token else ""
        name = options.name or f"bargein-{bundle.checkpoint.name}-{bundle.lookahead_ms}ms-{backend}{confirmed}"
        path = result_path(options.out / "bargein", name)
        users, agents = (
            [clips.load(of, each, bundle.sample_rate, mark_speech=True) for each in of.utterances]
            for of in (data_sets[0], data_sets[-1])
        )
        users = [each for each in users if each.speech is not None]
        rules = BargeInRules(confirming_token=options.confirming_token)
        work = [
            (scene, reference)
            for scene in scenes(agents, users, options.each, options.seed)
            for reference in (True, False)
        ]
        outcomes = [
            play(recognizer, scene, dataclasses.replace(rules, echo_reference=reference), options.lang)
            for scene, reference in track(work, "scenes", console=console)
        ]
        result = BargeInFile(
            provenance=collect(argv, [clips.provenance(each) for each in dict.fromkeys((data_sets[0], data_sets[-1]))]),
            model=bundle.checkpoint.name,
            lookahead_ms=bundle.lookahead_ms,
            precision=precision,
            backend=recognizer.backend.name,
            functional_check=not on_gpu(backend),
            rules=dataclasses.asdict(rules),
            seed=options.seed,
            rows=rows(outcomes),
            definitions=DEFINITIONS,
            scenes=outcomes,
        )
    with written_whole(path) as temporary:
        temporary.write_text(result.model_dump_json(by_alias=True, indent=1) + "\n", encoding="utf-8")
    table = Table(*COLUMNS, title="Barge-in")
    for cells in cells_of(result):
        table.add_row(*cells)
    console.print(table)
    if result.functional_check:
        console.print(CHECK, style="bold yellow")
    console.print(f"wrote {path}", highlight=False, soft_wrap=True)
    return path


def play(recognizer: Recognizer, scene: Scene, rules: BargeInRules, lang: str) -> Outcome:
    """One scene through a conversation of its own. A false alarm does not stop the agent: it goes on where it was."""
    rate = recognizer.bundle.sample_rate
    onset = None
    if scene.user is not None and scene.user.speech is not None:
        onset = scene.user_start + int(scene.user.speech.onset_s * rate)
    stream = _Recorded(recognizer)
    conversation = Conversation(stream, rules)
    reference = (lambda start: scene.played[start:]) if rules.echo_reference else (lambda _: None)
    conversation.agent_speaks(reference(0))
    microphone, clock, step = scene.microphone(), VirtualClock(), rate * FRAME_MS // 1000
    false_alarms = stale = 0
    detect_ms: float | None = None
    after: list[Event] = []
    clock.start()
    for begin in range(0, len(microphone), step):
        end = min(begin + step, len(microphone))
        clock.wait_until(end / rate)
        events, _ = clock.timed(partial(conversation.push, microphone[begin:end]))
        cut = any(isinstance(each, BargeIn) for each in events)
        recognised = [each for each in events if not isinstance(each, BargeIn)]
        if detect_ms is not None:
            after += recognised
        elif not cut:
            stale += len(recognised)
        elif onset is None or end < onset - EARLY_S * rate:
            false_alarms += 1
            conversation.agent_speaks(reference(end))
        else:
            detect_ms = 1e3 * (clock.now() - onset / rate)
            microphone = scene.microphone(stopped=end)
            after += recognised
    alone_s = (len(microphone) if onset is None else onset) / rate
    outcome = Outcome(
        reference=rules.echo_reference,
        kind=scene.kind,
        attenuation_db=scene.attenuation_db,
        level_dbfs=scene.level_dbfs,
        user=None if scene.user is None else scene.user.name,
        alone_s=alone_s,
        false_alarms=false_alarms,
        detect_ms=detect_ms,
        stale=stale,
    )
    if detect_ms is None or scene.user is None:
        return outcome
    after.append(conversation.end_utterance())
    fresh = _events(recognizer.stream(), stream.pieces)
    known = {each.text for each in fresh}
    clean = _events(recognizer.stream(), [scene.user.samples])[-1].text
    words, lost, first = _lost(normalise(clean, lang), normalise(after[-1].text, lang))
    return outcome.model_copy(
        update={
            "words": words,
            "words_lost": lost,
            "first_word_lost": first,
            "stale": stale + sum(each.text not in known for each in after),
            "leak": after != fresh,
            "hypothesis": after[-1].text,
            "clean_hypothesis": clean,
        }
    )


def rows(outcomes: Sequence[Outcome]) -> list[BargeInRow]:
    """By reference and attenuation: all levels, then each."""
    found = []
    for reference in (True, False):
        for attenuation_db in bargein_scenes.ATTENUATIONS_DB:
            same = [each for each in outcomes if (each.reference, each.attenuation_db) == (reference, attenuation_db)]
            levels: dict[int | None, list[Outcome]] = {None: same}
            for level in bargein_scenes.LEVELS_DBFS:
                levels[level] = [each for each in same if each.kind == "user" and each.level_dbfs == level]
            found += [_row(each, reference, attenuation_db, level) for level, each in levels.items()]
    return found


def _row(same: Sequence[Outcome], reference: bool, attenuation_db: int, level_dbfs: int | None) -> BargeInRow:
    users = [each for each in same if each.kind == "user"]
    detect = percentiles(each.detect_ms for each in users)
    false_alarms, alone_s = sum(each.false_alarms for each in same), sum(each.alone_s for each in same)
    return BargeInRow(
        reference=reference,
        attenuation_db=attenuation_db,
        level_dbfs=level_dbfs,
        interruptions=len(users),
        detect_ms_p50=detect.p50,
        detect_ms_p95=detect.p95,
        missed=sum(each.detect_ms is None for each in users),
        false_alarms=false_alarms,
        false_alarms_per_hour=3600 * false_alarms / alone_s if alone_s else None,
        words=sum(each.words for each in users),
        words_lost=sum(each.words_lost for each in users),
        first_words_lost=sum(each.first_word_lost for each in users),
        stale=sum(each.stale for each in same),
        leaks=sum(each.leak for each in same),
    )


def _events(stream: Stream, pieces: Sequence[npt.NDArray[np.float32]]) -> list[Event]:
    events: list[Event] = [event for piece in pieces for event in stream.push(piece)]
    return [*events, stream.end_utterance()]


def _lost(expected: str, found: str) -> tuple[int, int, bool]:
    """Words, how many of them are deleted, and whether the first one is."""
    if not expected:
        return 0, 0, False
    aligned = jiwer.process_words(expected, found)
    deleted = [chunk for chunk in aligned.alignments[0] if chunk.type == "delete"]
    return len(expected.split()), aligned.deletions, any(chunk.ref_start_idx == 0 for chunk in deleted)


COLUMNS = (
    "Reference",
    "Echo dB",
    "Detect ms p50 / p95",
    "Missed",
    "False alarms / h",
    "Words lost",
    "First words lost",
    "Stale",
    "Leaks",
)


def cells_of(result: BargeInFile) -> list[tuple[str, ...]]:
    """The rows of all levels together, as text."""
    return [
        (
            "yes" if row.reference else "no",
            f"-{row.attenuation_db}",
            figures([row.detect_ms_p50, row.detect_ms_p95], 0),
            f"{row.missed} of {row.interruptions}",
            figures([row.false_alarms_per_hour], 0),
            f"{row.words_lost} of {row.words}",
            str(row.first_words_lost),
            str(row.stale),
            str(row.leaks),
        )
        for row in result.rows
        if row.level_dbfs is None
    ]


def read_bargein(folder: Path) -> dict[str, BargeInFile]:
    """Name -> result among the result files of `folder`, sorted; raises InputError for a broken one."""
    paths = sorted((folder / "bargein").glob("*.json"))
    return {path.stem: read_record(BargeInFile, path, "barge-in", "measure again") for path in paths}
