"""The streaming runtime: a bundle in, audio in, events out. Imports neither torch nor NeMo."""

from runtime.conversation import BargeIn, BargeInRules, Conversation
from runtime.endpoint import EndpointRules
from runtime.errors import ClosedError, InputError
from runtime.events import Event, Final, Partial
from runtime.recognizer import Recognizer, Stream

__all__ = [
    "BargeIn",
    "BargeInRules",
    "ClosedError",
    "Conversation",
    "EndpointRules",
    "Event",
    "Final",
    "InputError",
    "Partial",
    "Recognizer",
    "Stream",
]
