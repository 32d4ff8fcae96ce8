"""`python -m bench bargein`: how soon and how surely a user who interrupts the agent is heard, and whether anything of before remains."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import product
from pathlib import Path

import jiwer
import numpy as np
import numpy.typing as npt
from pydantic import Field
from rich.console import Console
from rich.progress import track

from bench.machine import collect
from bench.results import Measured, Provenance, Record, Report, Rounded, result_path, write_result
from bench.score.normalise import normalise
from bench.session import FRAME_MS, FileOptions, SpeechOptions, Written, on_gpu
from bench.speech import scenes as drawn
from bench.speech.arrivals import VirtualClock, arrivals, events_of
from bench.speech.clips import Audio, with_speech
from bench.speech.scenes import Kind, Scene, scenes
from bench.speech.speech_session import opened
from bench.summary import spread
from runtime import BargeIn, BargeInRules, Conversation, Event, Recognizer, Stream
from runtime.errors import InputError

EARLY_S = 0.2
"""The onset's mark may be late by as much."""
DEFINITIONS = {
    "scenes": drawn.DEFINITION,
    "detect_ms": "ms from the user's speech onset (Silero VAD on the clean clip) to BargeIn, on the clock of the audio with the time of "
    "computing added; the audio's part is that of any machine",
    "missed": "interruptions without a BargeIn from 200 ms before the onset on",
    "false_alarms_per_hour": "BargeIns without a user, per hour that the agent spoke so: scenes without a user, others up to the onset",
    "words_lost": "words of the clean clip's transcript (same model) that the interruption's has not, as deletions, of `words`",
    "first_words_lost": "interruptions, of those detected, where the first of them is lost",
    "stale": "partials while the agent speaks; after BargeIn, those that are not a fresh stream's",
    "leaks": "interruptions whose events differ from those of a fresh stream that gets the same audio, bit for bit",
}


@dataclass(frozen=True, kw_only=True)
class Options(FileOptions):
    """What to measure."""

    bundle: Path
    """Folder made by `make export`."""
    eval: Path | None = None
    """Folder of data sets: the first one's clips are users, the last one's the agent (default as for `bench run`)."""
    lang: str = "en"
    """Language code of the manifests."""
    backend: str = "auto"
    """auto (this machine's best), tensorrt, onnxruntime-cpu or onnxruntime-cuda."""
    each: int = 10
    """Scenes of a kind."""
    seed: int = 0
    """Of the scenes."""
    confirming_token: bool = False
    """Whether recognition must have found a token, too."""


class Outcome(Record):
    """One scene, with or without the reference."""

    reference: bool
    kind: Kind
    attenuation_db: int
    level_dbfs: int
    user: str | None = None
    alone_s: Rounded
    """Seconds that the agent spoke with no user."""
    false_alarms: int
    detect_ms: Measured = None
    words: int = 0
    words_lost: int = 0
    first_word_lost: bool = False
    stale: int = 0
    leak: bool = False
    hypothesis: str | None = None
    clean_hypothesis: str | None = None


class BargeInRow(Record):
    """The scenes with or without the reference, at one attenuation and, of users, one level; None: at all."""

    reference: bool
    attenuation_db: int | None = None
    level_dbfs: int | None = None
    interruptions: int
    detect_ms_p50: Measured = None
    detect_ms_p95: Measured = None
    missed: int
    false_alarms: int
    false_alarms_per_hour: Measured = None
    words: int
    words_lost: int
    first_words_lost: int
    stale: int
    leaks: int


class BargeInFile(Report):
    """bargein/NAME.json."""

    what = "barge-in"
    folder = "bargein"

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


def run(options: Options, argv: Sequence[str], console: Console) -> Written:
    """Measure and write the result file. Raises InputError for bad options, data or bundle; nothing is written then."""
    if options.each < 1:
        raise InputError(f"--each: expected at least 1 scene, found {options.each}")
    greedy = SpeechOptions(
        bundle=options.bundle, backend=options.backend, lm="none", eval=options.eval, lang=options.lang
    )
    with opened(greedy, argv, console) as session:
        recognizer, bundle = session.recognizer, session.recognizer.bundle
        confirmed = "-token" if options.confirming_token else ""
        name = f"bargein-{bundle.checkpoint.name}-{bundle.lookahead_ms}ms-{session.options.chosen_backend}{confirmed}"
        path = result_path(options.out, options.name or name, BargeInFile)
        first, last = session.data.sets[0], session.data.sets[-1]
        users = [clip for clip, _ in with_speech(first.name, first.load(bundle.sample_rate, mark_speech=True))]
        agents = last.load(bundle.sample_rate, mark_speech=False)
        rules = BargeInRules(confirming_token=options.confirming_token)
        work = [
            (scene, replace(rules, echo_reference=reference))
            for scene in scenes(agents, users, options.each, options.seed)
            for reference in (True, False)
        ]
        outcomes = [play(recognizer, *of, options.lang) for of in track(work, "scenes", console=console)]
        spoken = [described for described in session.data.described if described.name in (first.name, last.name)]
        result = BargeInFile(
            provenance=collect(argv, spoken),
            model=bundle.checkpoint.name,
            lookahead_ms=bundle.lookahead_ms,
            precision=session.options.chosen_precision,
            backend=recognizer.timed.name,
            functional_check=not on_gpu(recognizer.timed.name),
            rules=asdict(rules),
            seed=options.seed,
            rows=rows(outcomes),
            definitions=DEFINITIONS,
            scenes=outcomes,
        )
    write_result(path, result)
    return Written(path, result)


class _Recorded(Stream):
    """A stream that keeps what it was given of the utterance."""

    def __init__(self, recognizer: Recognizer) -> None:
        self.pieces: list[Audio] = []
        super().__init__(recognizer)

    def push(self, samples: Audio | npt.NDArray[np.int16]) -> list[Event]:
        self.pieces.append(samples.astype(np.float32))
        return super().push(samples)

    def reset(self) -> None:
        self.pieces.clear()
        super().reset()


def play(recognizer: Recognizer, scene: Scene, rules: BargeInRules, lang: str) -> Outcome:
    """Play one scene through a conversation of its own. A false alarm does not stop the agent: it goes on where it was."""
    rate, user = recognizer.bundle.sample_rate, scene.user
    onset = None if user is None or user.speech is None else scene.user_start + int(user.speech.onset_s * rate)
    stream = _Recorded(recognizer)
    conversation = Conversation(stream, rules)

    def agent_speaks(start: int) -> None:
        conversation.agent_speaks(scene.played[start:] if rules.echo_reference else None)

    agent_speaks(0)
    microphone, clock = scene.microphone(), VirtualClock()
    false_alarms = stale = 0
    detect_ms: float | None = None
    after: list[Event] = []
    clock.start()
    for frame in arrivals(microphone, rate, FRAME_MS, clock):
        events = clock.spend(partial(conversation.push, frame.samples))
        recognised = [event for event in events if not isinstance(event, BargeIn)]
        if detect_ms is not None:
            after += recognised
        elif len(recognised) == len(events):
            stale += len(recognised)
        elif onset is None or frame.end < onset - EARLY_S * rate:
            false_alarms += 1
            agent_speaks(frame.end)
        else:
            detect_ms = 1e3 * (clock.now() - onset / rate)
            microphone[frame.end :] = scene.microphone(stopped=frame.end)[frame.end :]
            after += recognised
    outcome = Outcome(
        reference=rules.echo_reference,
        kind=scene.kind,
        attenuation_db=scene.attenuation_db,
        level_dbfs=scene.level_dbfs,
        user=None if user is None else user.name,
        alone_s=(len(microphone) if onset is None else onset) / rate,
        false_alarms=false_alarms,
        detect_ms=detect_ms,
        stale=stale,
    )
    if detect_ms is None or user is None:
        return outcome
    after.append(conversation.end_utterance())
    fresh = events_of(recognizer.stream(), *stream.pieces)
    known = {event.text for event in fresh}
    clean = events_of(recognizer.stream(), user.samples)[-1].text
    words, lost, first = _lost(normalise(clean, lang), normalise(after[-1].text, lang))
    return outcome.with_(
        words=words,
        words_lost=lost,
        first_word_lost=first,
        stale=stale + sum(event.text not in known for event in after),
        leak=after != fresh,
        hypothesis=after[-1].text,
        clean_hypothesis=clean,
    )


def _lost(expected: str, found: str) -> tuple[int, int, bool]:
    """Return the words, how many of them are deleted, and whether the first one is."""
    if not expected:
        return 0, 0, False
    aligned = jiwer.process_words(expected, found)
    deleted = [chunk for chunk in aligned.alignments[0] if chunk.type == "delete"]
    return len(expected.split()), aligned.deletions, any(chunk.ref_start_idx == 0 for chunk in deleted)


def rows(outcomes: Sequence[Outcome]) -> list[BargeInRow]:
    """Return rows by reference and attenuation: of all levels, then of each."""
    found = []
    for reference, attenuation_db, level_dbfs in product(
        (True, False), drawn.ATTENUATIONS_DB, (None, *drawn.LEVELS_DBFS)
    ):
        of = [scene for scene in outcomes if (scene.reference, scene.attenuation_db) == (reference, attenuation_db)]
        if level_dbfs is not None:
            of = [scene for scene in of if (scene.kind, scene.level_dbfs) == ("user", level_dbfs)]
        found.append(row_of(of, reference, attenuation_db, level_dbfs))
    return found


def row_of(
    outcomes: Sequence[Outcome], reference: bool, attenuation_db: int | None, level_dbfs: int | None
) -> BargeInRow:
    """Return the row of scenes that have these in common; None: not in common."""
    users = [scene for scene in outcomes if scene.kind == "user"]
    false_alarms, alone_s = sum(scene.false_alarms for scene in outcomes), sum(scene.alone_s for scene in outcomes)
    return BargeInRow(
        reference=reference,
        attenuation_db=attenuation_db,
        level_dbfs=level_dbfs,
        interruptions=len(users),
        **spread("detect_ms", (scene.detect_ms for scene in users)),
        missed=sum(scene.detect_ms is None for scene in users),
        false_alarms=false_alarms,
        false_alarms_per_hour=3600 * false_alarms / alone_s if alone_s else None,
        words=sum(scene.words for scene in users),
        words_lost=sum(scene.words_lost for scene in users),
        first_words_lost=sum(scene.first_word_lost for scene in users),
        stale=sum(scene.stale for scene in outcomes),
        leaks=sum(scene.leak for scene in outcomes),
    )
