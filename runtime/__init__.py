"""The streaming runtime: a bundle in, audio in, events out. Imports neither torch nor NeMo."""

from .conversation import BargeIn, BargeInRules, Conversation
from .endpoint import EndpointRules
from .errors import ClosedError, InputError
from .events import Event, Final, Partial
from .recognizer import Recognizer, Stream

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
