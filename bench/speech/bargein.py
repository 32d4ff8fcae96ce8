"""`python -m bench bargein`: how soon and how surely a user who interrupts the agent is heard, and whether anything of before remains."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import jiwer
import numpy as np
import numpy.typing as npt
from pydantic import Field
from rich.console import Console
from rich.progress import track

from bench.machine import collect
from bench.results import Report, result_path, write_result
from bench.rows import Measured, Provenance, Record, Rounded
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
from runtime.hearing import StreamOptions

EARLY_S = 0.2
"""The onset's mark may be late by as much."""
SURE_S = 0.5
"""The canceller has found the echo's delay after as much of the agent's speech."""
DEFINITIONS = {
    "scenes": drawn.DEFINITION,
    "detect_ms": "ms from the user's speech onset (Silero VAD on the clean clip) to BargeIn, on the clock of the audio with the time of "
    "computing added; the audio's part is that of any machine",
    "missed": "interruptions without a BargeIn from 200 ms before the onset on",
    "echo_alarms": "BargeIns without a user, by the echo: scenes of echo alone, and interruptions up to the onset",
    "burst_alarms": "BargeIns by noise, in scenes with bursts",
    "words_lost": "words that the same stream finds where no agent speaks and the interruption's has not, as deletions, of `words`",
    "first_words": "interruptions whose first word is recognised, by the clip's transcript; `first_words_alone`: where no agent "
    "speaks, by a stream that begins at the same sample, or half a second before the speech where that is earlier",
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
    each: int = 5
    """Interruptions at every start, echo and level."""
    seed: int = 0
    """Of the scenes."""
    confirming_token: bool = False
    """Whether recognition must have found a token, too."""


class Outcome(Record):
    """One scene."""

    kind: Kind
    attenuation_db: int | None = None
    level_dbfs: int
    user: str | None = None
    onset_s: Rounded
    """Seconds that the agent speaks without a user."""
    false_alarms: int
    detect_ms: Measured = None
    words: int = 0
    words_lost: int = 0
    first_word: bool = False
    first_word_alone: bool = False
    stale: int = 0
    leak: bool = False
    hypothesis: str | None = None
    alone_hypothesis: str | None = None


class BargeInRow(Record):
    """Scenes that have something in common."""

    scenes: str
    interruptions: int
    detect_ms_p50: Measured = None
    detect_ms_p95: Measured = None
    missed: int
    echo_hours: Rounded
    echo_alarms: int
    burst_hours: Rounded
    burst_alarms: int
    words: int
    words_lost: int
    first_words: int
    first_words_alone: int
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
        voices = [
            with_speech(each.name, each.load(bundle.sample_rate, mark_speech=True))
            for each in dict.fromkeys((first, last))
        ]
        users, agents = voices[0], voices[-1]
        rules = BargeInRules(confirming_token=options.confirming_token)
        work = list(scenes(agents, users, options.each, options.seed))
        outcomes = [play(recognizer, scene, rules, options.lang) for scene in track(work, "scenes", console=console)]
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
        super().__init__(recognizer, StreamOptions(early="off"))

    def push(self, samples: Audio | npt.NDArray[np.int16]) -> list[Event]:
        self.pieces.append(samples.astype(np.float32))
        return super().push(samples)

    def reset(self, start_s: float = 0.0) -> None:
        self.pieces.clear()
        super().reset(start_s)


def play(recognizer: Recognizer, scene: Scene, rules: BargeInRules, lang: str) -> Outcome:
    """Play one scene through a conversation of its own. A false alarm does not stop the agent: it goes on where it was."""
    rate, user = recognizer.bundle.sample_rate, scene.user
    stream = _Recorded(recognizer)
    conversation = Conversation(stream, rules)
    conversation.agent_speaks(scene.played)
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
        elif user is None or frame.end < scene.onset - EARLY_S * rate:
            false_alarms += 1
            conversation.agent_speaks(scene.played[frame.end :])
        else:
            detect_ms = 1e3 * (clock.now() - scene.onset / rate)
            microphone[frame.end :] = scene.microphone(stopped=frame.end)[frame.end :]
            after += recognised
    outcome = Outcome(
        kind=scene.kind,
        attenuation_db=scene.attenuation_db,
        level_dbfs=scene.level_dbfs,
        user=None if user is None else user.name,
        onset_s=scene.onset / rate,
        false_alarms=false_alarms,
        detect_ms=detect_ms,
        stale=stale,
    )
    if user is None:
        return outcome
    if detect_ms is not None:
        after.append(conversation.end_utterance())
    reference = normalise(user.reference, lang)
    # From the same sample on where that is before the speech: chunks fall alike.
    first = len(microphone) - sum(map(len, stream.pieces)) if detect_ms is not None else scene.onset
    first = first if first < scene.onset else max(0, scene.onset - rate // 2)
    alone = events_of(recognizer.stream(early="off"), scene.heard[first:])[-1].text
    outcome = outcome.with_(first_word_alone=_first_word(reference, normalise(alone, lang)), alone_hypothesis=alone)
    if detect_ms is None:
        return outcome
    fresh = events_of(recognizer.stream(early="off"), *stream.pieces)
    known = {event.text for event in fresh}
    words, lost = _lost(normalise(alone, lang), normalise(after[-1].text, lang))
    return outcome.with_(
        words=words,
        words_lost=lost,
        first_word=_first_word(reference, normalise(after[-1].text, lang)),
        stale=stale + sum(event.text not in known for event in after),
        leak=[event.at(event.start_s - after[0].start_s) for event in after] != fresh,
        hypothesis=after[-1].text,
    )


def _lost(expected: str, found: str) -> tuple[int, int]:
    """Return the words, and how many of them are deleted."""
    return (len(expected.split()), jiwer.process_words(expected, found).deletions) if expected else (0, 0)


def _first_word(reference: str, found: str) -> bool:
    """Whether the reference's first word is found in its place."""
    (aligned,) = jiwer.process_words(reference, found).alignments
    return any(chunk.type == "equal" and chunk.ref_start_idx == 0 for chunk in aligned)


def rows(outcomes: Sequence[Outcome]) -> list[BargeInRow]:
    """Return the row of all scenes but interruptions in the first half second, then of those with a start, echo or level in common."""
    sure = [scene for scene in outcomes if scene.kind != "user" or scene.onset_s >= SURE_S]
    users = [scene for scene in outcomes if scene.kind == "user"]
    found = [row_of(f"from {SURE_S:g} s on", sure)]
    for low, high in drawn.STARTS_S:
        found.append(row_of(f"{low:g} to {high:g} s", [scene for scene in users if low <= scene.onset_s < high]))
    for attenuation_db in drawn.ATTENUATIONS_DB:
        echo = "headset" if attenuation_db is None else f"echo -{attenuation_db} dB"
        found.append(row_of(echo, [scene for scene in sure if scene.attenuation_db == attenuation_db]))
    for level in drawn.LEVELS_DBFS:
        of_level = [scene for scene in sure if scene.level_dbfs == level and scene.kind == "user"]
        found.append(row_of(f"user {level} dBFS", of_level))
    return found


def row_of(scenes: str, outcomes: Sequence[Outcome]) -> BargeInRow:
    """Return the row of scenes; `scenes` says what they have in common."""
    users = [scene for scene in outcomes if scene.kind == "user"]
    bursts = [scene for scene in outcomes if scene.kind == "bursts"]
    echoes = [scene for scene in outcomes if scene.kind != "bursts" and scene.attenuation_db is not None]
    return BargeInRow(
        scenes=scenes,
        interruptions=len(users),
        **spread("detect_ms", (scene.detect_ms for scene in users)),
        missed=sum(scene.detect_ms is None for scene in users),
        echo_hours=sum(scene.onset_s for scene in echoes) / 3600,
        echo_alarms=sum(scene.false_alarms for scene in echoes),
        burst_hours=sum(scene.onset_s for scene in bursts) / 3600,
        burst_alarms=sum(scene.false_alarms for scene in bursts),
        words=sum(scene.words for scene in users),
        words_lost=sum(scene.words_lost for scene in users),
        first_words=sum(scene.first_word for scene in users),
        first_words_alone=sum(scene.first_word_alone for scene in users),
        stale=sum(scene.stale for scene in outcomes),
        leaks=sum(scene.leak for scene in outcomes),
    )
