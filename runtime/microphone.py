"""The microphone, through sounddevice (PortAudio), which is optional: audio comes by a callback into a queue."""

import queue
from collections.abc import Callable, Iterator
from typing import Any

from .audio import Samples
from .errors import InputError, imported, install

QUEUE_S = 10.0  # that recognition may fall behind before audio is dropped
SILENT_DEVICE_S = 2.0  # without a callback the device is gone


def microphone(sample_rate: int, frame: int, warn: Callable[[str], None]) -> Iterator[Samples]:
    """Frames FP32 [frame] at `sample_rate` Hz of the default input, for ever; audio that is lost is told to `warn`, a line each time.

    Raises InputError where sounddevice, PortAudio or a device is missing, or the device stops.
    """
    remedy = f"{install('mic')}, and `apt install libportaudio2` where PortAudio is missing"
    sounddevice = imported("sounddevice", "sounddevice and PortAudio", remedy)
    frames: queue.Queue[Samples] = queue.Queue(int(QUEUE_S * sample_rate / frame))
    overflows: queue.SimpleQueue[str] = queue.SimpleQueue()

    def take(samples: Samples, count: int, time: object, status: Any) -> None:  # noqa: ANN401, ARG001
        if status.input_overflow:
            overflows.put("the device's buffer ran over, some audio before this was lost")
        try:
            frames.put_nowait(samples[:, 0].copy())  # PortAudio uses its buffer again
        except queue.Full:
            overflows.put(f"recognition is {QUEUE_S:g} s behind, {1e3 * count / sample_rate:g} ms of audio were lost")

    try:
        with sounddevice.InputStream(
            samplerate=sample_rate, blocksize=frame, channels=1, dtype="float32", callback=take
        ):
            while True:
                samples = frames.get(timeout=SILENT_DEVICE_S)
                while not overflows.empty():
                    warn(f"warning: overflow: {overflows.get()}")
                yield samples
    except sounddevice.PortAudioError as error:
        raise InputError(
            f"expected a microphone that gives {sample_rate} Hz mono, found: {' '.join(str(error).split())}; "
            f"connect one, or pipe audio in instead, with - for the file"
        ) from error
    except queue.Empty:
        raise InputError(
            f"expected audio from the microphone, found none for {SILENT_DEVICE_S:g} s; check the device"
        ) from None
