"""What a program that recognises live needs: Ctrl-C between steps, pace, a microphone, no stops for garbage."""

import gc
import queue
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Generic, TypeVar

from .audio import Samples
from .errors import InputError, imported, install

T = TypeVar("T")

QUEUE_S = 10.0  # that recognition may fall behind before audio is dropped
SILENT_DEVICE_S = 2.0  # without a callback the device is gone


@contextmanager
def loaded_spared() -> Iterator[None]:
    """Clean up first; within the block garbage collections leave alone what was there before it (`gc.freeze`).

    For programs whose recogniser is open: a full collection over modules, words and records takes 16 ms, in the middle of a step.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


class UntilInterrupted(Generic[T]):
    """Items until there are no more or Ctrl-C is pressed, which never strikes between two of them, in the middle of a step."""

    def __init__(self, items: Iterable[T]) -> None:
        self._items = items
        self._waiting = False
        self.interrupted = False

    def __iter__(self) -> Iterator[T]:
        """Yield the items; the main thread only."""
        before = signal.getsignal(signal.SIGINT)
        if before == signal.SIG_IGN:
            yield from self._items
            return
        signal.signal(signal.SIGINT, self._handle)
        try:
            items = iter(self._items)
            while not self.interrupted:
                self._waiting = True
                item = next(items, None)
                self._waiting = False
                if item is None:
                    return
                yield item
        except KeyboardInterrupt:
            if not self.interrupted:  # SIGTERM's
                raise
        finally:
            signal.signal(signal.SIGINT, before)

    def _handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002 -- as signal calls it
        self.interrupted = True
        if self._waiting:
            raise KeyboardInterrupt


def paced(frames: Iterable[T], frame_s: float) -> Iterator[T]:
    """The frames at the pace of a microphone: each once its last sample was spoken, by absolute deadlines."""
    start = time.monotonic()
    for number, frame in enumerate(frames, 1):
        time.sleep(max(0.0, start + number * frame_s - time.monotonic()))
        yield frame


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
