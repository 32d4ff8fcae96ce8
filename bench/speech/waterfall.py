"""Where the time from a speech onset to its first text goes: stages that add up to it."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from bench.speech.arrivals import Heard
from runtime.bundle import Bundle

ROUNDING = 1e-6
STAGES = {
    "frame_ms": "from the onset to the end of its 80 ms encoder frame",
    "lookahead_ms": "to the end of its chunk's last frame, the look-ahead at most; less for an early text",
    "window_ms": "samples of the mel window after that frame's centre",
    "evidence_ms": "whole chunks in which the model knew no token yet",
    "client_ms": "to the end of the client's frame that completes the window",
    "queue_ms": "from that frame's arrival to its push",
    "step_ms": "the step, copies included",
    "rest_ms": "decoding, voice activity and delivery: the rest of the push",
}


def waterfall(bundle: Bundle, onset_s: float, utterance_s: float, text: Heard) -> dict[str, float] | None:
    """Decompose the time from a speech onset to a first text into ms by stage, in the order in which they pass.

    Args:
        bundle: of the stream.
        onset_s: in seconds on the stream's clock, at which audio arrives as it is spoken.
        utterance_s: where the utterance begins.
        text: the partial that was the utterance's first text.

    Returns:
        None where the text came from audio before the onset, or the utterance began after it.
    """
    rate = bundle.sample_rate
    chunk_s, first_s = bundle.chunk_samples / rate, bundle.first_step_samples / rate
    frame_s = chunk_s / bundle.chunk_frames
    spoken_s = onset_s - utterance_s
    # Frame f is centred at f * frame_s and hears what lies before (causal subsampling): the first to hear the onset is this one.
    frame = -(-round(spoken_s * rate) // round(frame_s * rate))
    step = frame // bundle.chunk_frames
    # An early text came before its chunk was whole: by so much less was waited for the window, then for the look-ahead.
    last_step = math.ceil((text.event.audio_s - first_s) / chunk_s - ROUNDING)
    saved_s = first_s + last_step * chunk_s - text.event.audio_s
    steps_later = last_step - step
    if spoken_s < 0 or steps_later < 0:
        return None
    last_frame = (step + 1) * bundle.chunk_frames - 1
    heard_s = utterance_s + text.event.audio_s
    waited = [
        steps_later * chunk_s,
        frame * frame_s - spoken_s,
        (last_frame - frame) * frame_s,
        first_s - (bundle.chunk_frames - 1) * frame_s,
    ]
    for place in (3, 2, 1, 0):
        cut = min(saved_s, waited[place])
        waited[place] -= cut
        saved_s -= cut
    evidence_s, *onset_to_window = waited
    stages = (
        *onset_to_window,
        evidence_s,
        text.arrival_s - heard_s,
        text.begin_s - text.arrival_s,
        text.step_s,
        text.end_s - text.begin_s - text.step_s,
    )
    return {name: 1e3 * seconds for name, seconds in zip(STAGES, stages, strict=True)}


def with_totals(stages: Mapping[str, float]) -> dict[str, float]:
    """Return the stages with total_ms, from the onset to the first text, and system_ms.

    system_ms is what the system adds to a model that knows a word from its first frame: all but the evidence.
    """
    total_ms = sum(stages.values())
    return {**stages, "total_ms": total_ms, "system_ms": total_ms - stages["evidence_ms"]}


def summed_up(waterfalls: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Return stage, total and system -> mean, p50 and p95 in ms. Means add up to the total's, percentiles do not. Empty for none."""
    summary = {}
    totalled = [with_totals(stages) for stages in waterfalls]
    for name in totalled[0] if totalled else ():
        values = [stages[name] for stages in totalled]
        figures = {"mean": np.mean(values), "p50": np.percentile(values, 50), "p95": np.percentile(values, 95)}
        summary[name] = {figure: round(float(value), 3) for figure, value in figures.items()}
    return summary
