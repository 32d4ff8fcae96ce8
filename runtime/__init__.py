"""The streaming runtime: a bundle in, audio in, events out. Imports neither torch nor NeMo."""

from runtime.endpoint import EndpointRules
from runtime.errors import InputError
from runtime.recognizer import Event, Final, Partial, Recognizer, Stream

__all__ = ["EndpointRules", "Event", "Final", "InputError", "Partial", "Recognizer", "Stream"]
