"""Streaming speech recognition: a bundle in, audio in, events out. Imports neither torch nor NeMo.

    with Recognizer("bundle") as recognizer:
        stream = recognizer.stream()
        for samples in microphone:  # float32 or int16 [n], mono, at the bundle's rate
            for partial in stream.push(samples):
                print(partial.text)
        print(stream.end_utterance().text)

With `recognizer.stream(EndpointRules())` utterances end themselves; a `Conversation` hears a user who interrupts the agent.

Whatever fails says so in one line:

    ValueError
        InputError    a bundle, a file, samples or a choice is not what is expected
    RuntimeError
        CudaError     a call on the GPU failed
        ClosedError   a recogniser or a stream was used after it was closed
"""

from .audio import Recording, load_audio, read_audio
from .conversation import BargeIn, BargeInRules, Conversation
from .endpoint import EndpointRules
from .errors import ClosedError, CudaError, InputError
from .events import Event, Final, Partial
from .recognizer import Recognizer, Stream

__all__ = [
    "BargeIn",
    "BargeInRules",
    "ClosedError",
    "Conversation",
    "CudaError",
    "EndpointRules",
    "Event",
    "Final",
    "InputError",
    "Partial",
    "Recognizer",
    "Recording",
    "Stream",
    "load_audio",
    "read_audio",
]
