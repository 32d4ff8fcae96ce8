"""The speech of utterances: whole files, or spans of them, as long as the manifest says."""

from collections.abc import Callable, Iterable, Iterator

from data.manifest import Utterance
from runtime.audio import Recording, Samples, read_audio
from runtime.errors import InputError

MAX_DIFFERENCE_S = (
    0.25  # of a recording's length and its `duration`: what tools count at the ends of an MP3, and rounding
)


def load_speech(
    utterances: Iterable[Utterance],
    sample_rate: int,
    warn: Callable[[Utterance, str], object] = lambda *_: None,
) -> Iterator[Samples]:
    """Yield the samples of each utterance, float32 [n] at a rate in Hz. A file is read once for spans that follow each other.

    What may spoil a recording goes to `warn`, with the utterance.

    Raises:
        InputError: as `load_audio` does, and for an utterance that is not within its file, or not as long as the file: the message
            begins with the manifest's line.
    """
    last, recording = None, None
    for utterance in utterances:
        if recording is None or utterance.audio != last:
            last, recording = utterance.audio, read_audio(utterance.audio, sample_rate)
            for line in recording.warnings:
                warn(utterance, line)
        yield _span(utterance, recording, sample_rate)


def _span(utterance: Utterance, recording: Recording, sample_rate: int) -> Samples:
    where = f"{utterance.line or utterance.audio}: "
    if recording.fault:
        raise InputError(f"{where}{utterance.audio.name}: {recording.fault}; re-record or drop it")
    held, begin = len(recording.samples) / sample_rate, utterance.offset or 0.0
    end = begin + utterance.duration
    if utterance.offset is None and abs(held - end) > MAX_DIFFERENCE_S:
        raise InputError(
            f"{where}expected the duration of the audio, {held:.2f} s, found {end:.2f} s; correct it, or say the part's offset"
        )
    if end > held + MAX_DIFFERENCE_S or begin >= held:
        raise InputError(
            f"{where}expected a part of the audio of {held:.2f} s, found {begin:.2f} to {end:.2f} s; correct them"
        )
    if utterance.offset is None:
        return recording.samples
    return recording.samples[round(begin * sample_rate) : round(end * sample_rate)]
