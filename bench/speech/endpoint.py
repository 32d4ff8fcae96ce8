"""`python -m bench endpoint`: utterances that end themselves in one stream, when their finals and first texts come."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal, get_args

import numpy as np
from rich.console import Console

from bench.partials import LINE_DEFINITIONS
from bench.progress import Bar
from bench.rows import EndpointRow, UtteranceRecord
from bench.score.rates import error_rates, first_right
from bench.session import PacedOptions, Written
from bench.speech.arrivals import Heard, clock_of, events_of, listen
from bench.speech.clips import Audio, Clip, DataSet, seeded, with_speech
from bench.speech.speech_session import SpeechSession, opened
from bench.speech.waterfall import STAGES, summed_up, waterfall
from bench.summary import error_keys, first_text_keys, latency_keys
from runtime import EndpointRules, Final
from runtime.bundle import Bundle

SILENCE_S = (0.8, 2.0)
"""Length of the silence after each clip: uniform, seeded."""
NOISE = 1e-3
"""Standard deviation of the silence: -60 dB of full scale."""
LATE_S = 1.0
"""From the end of speech; an endpoint after more than this is late."""
DEFINITIONS = {
    "endpoint": f"the data set's clips in order, after each a silence of {SILENCE_S[0]} to {SILENCE_S[1]} s (uniform, seeded) of white "
    "noise at -60 dB of full scale, as one stream; early: an endpoint within the clip's speech; late: more than "
    f"{LATE_S} s after it, missed: none before the next onset; latencies of finals over found and late clips",
    "words": LINE_DEFINITIONS["words"],
    "waterfall_stages": "; ".join(f"{stage}: {what}" for stage, what in STAGES.items()),
}

Verdict = Literal["found", "late", "early", "missed"]


@dataclass(frozen=True, kw_only=True)
class Options(PacedOptions):
    """What to measure and how."""

    seed: int = 0
    """Of the silences between clips."""
    min_silence_ms: int = EndpointRules.min_silence_ms
    """Milliseconds of silence that end an utterance."""


@dataclass(frozen=True)
class Turn:
    """A clip within the stream. Times are in seconds from the stream's start."""

    clip: Clip
    start_s: float
    onset_s: float
    end_s: float


@dataclass(frozen=True)
class _Utterance:
    """Events up to a final, and where in the stream its audio lies, in seconds."""

    start_s: float
    end_s: float
    events: list[Heard]
    ended_itself: bool


def run(options: Options, argv: Sequence[str], console: Console) -> Written:
    """Measure and write the result file.

    Raises:
        InputError: bad options, data or bundle; nothing is written then.
    """
    rules = EndpointRules(min_silence_ms=options.min_silence_ms)
    with opened(options, argv, console) as session:
        path = session.path("endpoint")
        session.recognizer.stream(
            rules
        ).close()  # a bundle that knows no endpoints says so before anything is recognised
        measured = (measure(session, options, rules, *spoken) for spoken in session.clips())
        return session.data.write(path, measured, DEFINITIONS)


def measure(
    session: SpeechSession, options: Options, rules: EndpointRules, data_set: DataSet, clips: Sequence[Clip]
) -> tuple[EndpointRow, list[UtteranceRecord]]:
    """Feed a data set's clips as one stream whose utterances end by rules; return the row and what it sums up."""
    recognizer, console = session.recognizer, session.console
    spoken, turns = one_after_another(data_set.name, clips, options.seed)
    alone = [events_of(recognizer.stream(early="off"), turn.clip.samples)[-1].text for turn in turns if session.trained]
    recognizer.forget_times()
    with Bar(console, f"{data_set.name} endpoints", len(turns), spoken.audio_s) as bar:
        listened = listen(
            recognizer.stream(rules, early=options.early),
            spoken,
            options.frame_ms,
            clock_of(options.chosen_pace),
            step_s=recognizer.timed.run_s,
            on_frame=partial(bar.audio, 0.0),
        )
    records = answers(recognizer.bundle, turns, listened.heard, data_set)
    of_texts: dict[str, Any] = {}
    if session.trained:
        waterfalls = [record.waterfall for record in records if record.waterfall]
        of_texts = {
            **error_keys(records),
            **first_text_keys(records),
            "wer_clips": error_rates([record.reference for record in records], alone, data_set.lang)["wer"],
            "waterfall": summed_up(waterfalls),
            "waterfalls": len(waterfalls),
        }
    row = EndpointRow(
        **session.row_keys(data_set),
        **session.early_keys(options.early),
        mode="endpoint",
        pace=options.chosen_pace,
        clips=len(records),
        audio_minutes=spoken.audio_s / 60,
        backlog_ms_max=1e3 * listened.backlog_s,
        seed=options.seed,
        rules=asdict(rules),
        **{verdict: sum(record.verdict == verdict for record in records) for verdict in get_args(Verdict)},
        **latency_keys(EndpointRow, records, trained=session.trained),
        **of_texts,
    )
    return row, records


def one_after_another(name: str, clips: Sequence[Clip], seed: int) -> tuple[Clip, list[Turn]]:
    """Return a data set's clips of one rate, their speech marked, as one stream, and each within it; those without speech are left out.

    Raises InputError where none has speech.
    """
    random = seeded(seed)
    pieces: list[Audio] = []
    turns: list[Turn] = []
    samples = 0
    for clip, speech in with_speech(name, clips):
        start_s = samples / clip.sample_rate
        turns.append(Turn(clip, start_s, start_s + speech.onset_s, start_s + speech.end_s))
        silence = random.normal(0, NOISE, round(random.uniform(*SILENCE_S) * clip.sample_rate)).astype(np.float32)
        pieces += [clip.samples, silence]
        samples += len(clip.samples) + len(silence)
    reference = " ".join(turn.clip.reference for turn in turns)
    return Clip(name, np.concatenate(pieces), clips[0].sample_rate, reference, None), turns


def verdicts(turns: Sequence[Turn], cuts: Sequence[float]) -> list[Verdict]:
    """Return what the endpoints at `cuts`, in seconds, ascending, did to each clip.

    Early: a cut within its speech. Otherwise the first cut after its end and before the next onset: found, late beyond LATE_S, or
    missed where there is none.
    """
    found: list[Verdict] = []
    for turn, following in zip(turns, [*turns[1:], None], strict=True):
        next_s = np.inf if following is None else following.onset_s
        after = [cut for cut in cuts if turn.end_s <= cut <= next_s]
        if any(turn.onset_s < cut < turn.end_s for cut in cuts):
            found.append("early")
        elif not after:
            found.append("missed")
        else:
            found.append("found" if after[0] - turn.end_s <= LATE_S else "late")
    return found


def answers(bundle: Bundle, turns: Sequence[Turn], heard: Sequence[Heard], data_set: DataSet) -> list[UtteranceRecord]:
    """Return what the stream said to each clip.

    A final belongs to the last clip whose speech began before its audio ended. Latencies to text are those of the first utterance that
    ends after the clip's onset, and only where it began before that onset and after the end of the clip before.
    """
    utterances: list[_Utterance] = []
    start_s, events = 0.0, []
    for said in heard:
        events.append(said)
        if isinstance(said.event, Final):
            ended_itself = said.event.ended_by != "caller"  # as the stream's last is
            utterances.append(_Utterance(start_s, start_s + said.event.audio_s, events, ended_itself))
            start_s, events = utterances[-1].end_s, []
    onsets = np.array([turn.onset_s for turn in turns])
    belongs = [max(0, int(np.searchsorted(onsets, utterance.end_s)) - 1) for utterance in utterances]
    records = []
    ended = [utterance for utterance in utterances if utterance.ended_itself]
    for place, verdict in enumerate(verdicts(turns, [utterance.end_s for utterance in ended])):
        turn, before_s = turns[place], turns[place - 1].end_s if place else 0.0
        own = [
            utterance
            for utterance, of in zip(utterances, belongs, strict=True)
            if of == place and utterance.end_s > turn.onset_s
        ]
        times: dict[str, Any] = {}
        if own and before_s <= own[0].start_s <= turn.onset_s:
            times = _first_texts(bundle, turn, own[0], data_set.lang)
        if verdict in ("found", "late"):
            final = next(utterance for utterance in ended if utterance.end_s >= turn.end_s).events[-1]
            times["end_decision_ms"] = 1e3 * (final.arrival_s - turn.end_s)
            times["final_ms"] = 1e3 * (final.end_s - final.arrival_s)
            times["final_speech_end_ms"] = 1e3 * (final.end_s - turn.end_s)
        finals = [utterance.events[-1].event for utterance in own]
        marks: dict[str, Any] = {
            "start_s": turn.start_s,
            "onset_s": turn.onset_s,
            "speech_end_s": turn.end_s,
            "verdict": verdict,
        }
        hypothesis = " ".join(final.text for final in finals if final.text)
        words = tuple(word for final in finals for word in final.words)
        marks |= {"hypothesis": hypothesis, "words": words}
        records.append(data_set.record(turn.clip, mode="endpoint", **marks, **times))
    return records


def _first_texts(bundle: Bundle, turn: Turn, utterance: _Utterance, lang: str) -> dict[str, Any]:
    """Return a record's latencies of the first text, and of the first whose first word is the reference's; the first one's waterfall."""
    with_text = [said for said in utterance.events if said.event.text]
    if not with_text:
        return {}
    first = with_text[0]
    right = first_right((said.event.text for said in with_text), turn.clip.reference, lang)
    times: dict[str, Any] = {
        "first_partial_ms": 1e3 * (first.end_s - turn.start_s),
        "first_partial_onset_ms": 1e3 * (first.end_s - turn.onset_s),
        "first_correct_onset_ms": None if right is None else 1e3 * (with_text[right].end_s - turn.onset_s),
    }
    if isinstance(first.event, Final):
        return times
    return times | {"waterfall": waterfall(bundle, turn.onset_s, utterance.start_s, first)}
