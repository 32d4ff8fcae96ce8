"""`python -m bench bargein`: how soon and how surely a user who interrupts the agent is heard, and whether anything of before remains."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import jiwer
import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench.machine import collect
from bench.pages.terminal import CHECK
from bench.results import result_path
from bench.score.normalise import normalise
from bench.speech import clips
from bench.speech.bargein_results import COLUMNS, DEFINITIONS, BargeInFile, Outcome, cells_of, rows
from bench.speech.feed import FRAME_MS, VirtualClock, with_speech
from bench.speech.measure import on_gpu
from bench.speech.scenes import Scene, scenes
from runtime import BargeIn, BargeInRules, Conversation, Event, Recognizer, Stream
from runtime.backends import default_backend, default_precision
from runtime.bundle import read_bundle
from runtime.errors import InputError
from runtime.files import written_whole

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
    precision = default_precision(backend, read_bundle(options.bundle))
    with Recognizer(options.bundle, precision=precision, backend=backend, lm=None) as recognizer:
        bundle = recognizer.bundle
        confirmed = "-token" if options.confirming_token else ""
        name = options.name or f"bargein-{bundle.checkpoint.name}-{bundle.lookahead_ms}ms-{backend}{confirmed}"
        path = result_path(options.out / "bargein", name)
        users, agents = (
            [clips.load(of, each, bundle.sample_rate, mark_speech=True) for each in of.utterances]
            for of in (data_sets[0], data_sets[-1])
        )
        users = [clip for clip, _ in with_speech(data_sets[0].name, users)]
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
