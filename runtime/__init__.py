"""Streaming speech recognition: a bundle in, audio in, events out. Imports neither torch nor NeMo.

    with Recognizer("bundle") as recognizer:
        stream = recognizer.stream()
        for samples in microphone:  # float32 or int16 [n], mono, at the bundle's rate
            for partial in stream.push(samples):
                print(partial.text)
        print(stream.end_utterance().text)

With `recognizer.stream(EndpointRules())` utterances end themselves; a `Conversation` hears a user who interrupts the agent. In an event
loop `stream.feed` and `async for event in stream` wait for nothing; with `max_streams` the steps of many streams run together.

Whatever fails says so in one line:

    ValueError
        InputError    a bundle, a file, samples or a choice is not what is expected
    RuntimeError
        CudaError     a call on the GPU failed
        ClosedError   a recogniser or a stream was used after it was closed
        FullError     a recogniser has as many streams as it takes, or a stream as much audio waiting
        LostError     a process of beam searches ended, with its utterances, or cannot be started
"""

from importlib import import_module

TYPE_CHECKING = False  # typing's, which takes milliseconds to import
if TYPE_CHECKING:
    from .audio import Recording, load_audio, read_audio
    from .conversation import BargeIn, BargeInRules, Conversation
    from .endpoint import EndpointRules
    from .errors import ClosedError, CudaError, FullError, InputError, LostError
    from .events import Event, Final, Partial
    from .recognizer import Recognizer
    from .stream import Stream
    from .words import Word

__all__ = [
    "BargeIn",
    "BargeInRules",
    "ClosedError",
    "Conversation",
    "CudaError",
    "EndpointRules",
    "Event",
    "Final",
    "FullError",
    "InputError",
    "LostError",
    "Partial",
    "Recognizer",
    "Recording",
    "Stream",
    "Word",
    "load_audio",
    "read_audio",
]

_MODULES = ("errors", "events", "audio", "endpoint", "recognizer", "stream", "words", "conversation")


def __getattr__(name: str) -> object:
    """Import a name of `__all__` when it is asked for: a command is ready for Ctrl-C before it imports what takes seconds."""
    if name in __all__:
        for module in _MODULES:
            found = vars(import_module(f".{module}", __name__)).get(name)
            if found is not None:
                return found
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
