"""When flite and espeak-ng say each word of a text, as their libraries tell.

Their command lines, which make the audio, give none of it. A process asks once: espeak-ng's audio and times depend on what it said before.
"""

import ctypes
from collections.abc import Iterator
from ctypes import CFUNCTYPE, POINTER, Structure, c_char_p, c_float, c_int, c_short, c_ubyte, c_uint, c_void_p
from multiprocessing import get_context
from typing import Any

from data.word_times import SpokenWord
from runtime.errors import InputError

FLITE = {"slt": "cmu_us_slt", "rms": "cmu_us_rms", "awb": "cmu_us_awb", "kal16": "cmu_us_kal16"}
"""Voice as the command line has it -> as its library does."""
WORD_START = b"R:SylStructure.daughter1.daughter1.R:Segment.p.end"
WORD_END = b"R:SylStructure.daughtern.daughtern.R:Segment.end"
"""Of a word in flite, by way of its first syllable's first segment, and its last one's last."""
PUNCTUATION = ".,?!"
WORD, PHONEME = 1, 7
"""Kinds of espeak-ng's events."""
SYNCHRONOUS, PHONEME_EVENTS, CHARACTERS, UTF8, RATE = 2, 1, 1, 1, 1
"""Of its calls, by their numbers in speak_lib.h."""


class _Event(Structure):
    _fields_ = (
        ("kind", c_int),
        ("unique", c_uint),
        ("text_position", c_int),
        ("length", c_int),
        ("audio_ms", c_int),
        ("sample", c_int),
        ("user_data", c_void_p),
        ("name", ctypes.c_char * 8),
    )


class _Voice(Structure):
    _fields_ = (
        ("name", c_char_p),
        ("languages", c_char_p),
        ("identifier", c_char_p),
        ("of_person", c_ubyte * 4),
        ("score", c_int),
        ("spare", c_void_p),
    )


def spoken_words(engine: str, voice: str, speed: str, text: str) -> list[SpokenWord]:
    """Return the words of a text, in seconds of the audio that the engine's command line writes.

    espeak-ng says some short words as one, such as "in the": neither's times are known. Raises InputError for an engine whose library
    is not installed.
    """
    try:
        with get_context("spawn").Pool(1) as fresh:
            found: list[SpokenWord] = fresh.apply({"flite": _flite, "espeak-ng": _espeak}[engine], (voice, speed, text))
    except OSError as error:
        raise InputError(f"expected {engine} as a library, found {error}; install espeak-ng and flite") from error
    return found


def _plain(word: str) -> str:
    return word.strip(PUNCTUATION).lower()


def _flite(voice: str, speed: str, text: str) -> list[SpokenWord]:
    lib = ctypes.CDLL("libflite.so.1", ctypes.RTLD_GLOBAL)
    hook_type = CFUNCTYPE(c_void_p, c_void_p)
    signatures: dict[str, tuple[Any, list[Any]]] = {
        "flite_text_to_speech": (c_float, [c_char_p, c_void_p, c_char_p]),
        "uttfunc_val": (c_void_p, [hook_type]),
        "feat_set": (None, [c_void_p, c_char_p, c_void_p]),
        "feat_set_float": (None, [c_void_p, c_char_p, c_float]),
        "utt_relation": (c_void_p, [c_void_p, c_char_p]),
        "relation_head": (c_void_p, [c_void_p]),
        "item_next": (c_void_p, [c_void_p]),
        "item_feat_string": (c_char_p, [c_void_p, c_char_p]),
        "ffeature_float": (c_float, [c_void_p, c_char_p]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(lib, name)
        function.restype, function.argtypes = result, arguments
    found: list[SpokenWord] = []

    def spoken(utterance: int) -> int:
        item = lib.relation_head(lib.utt_relation(utterance, b"Word"))
        while item:
            start_s, end_s = (lib.ffeature_float(item, path) for path in (WORD_START, WORD_END))
            name = lib.item_feat_string(item, b"name").decode()
            if name.startswith("'"):  # the end of the word before
                name, start_s = found[-1].text + name, found.pop().start_s
            found.append(SpokenWord(text=name, start_s=start_s, end_s=end_s))
            item = lib.item_next(item)
        return utterance

    hook = hook_type(spoken)  # it must live as long as it is called
    lib.flite_init()
    register = getattr(ctypes.CDLL(f"libflite_{FLITE[voice]}.so.1"), f"register_{FLITE[voice]}")
    register.restype, register.argtypes = c_void_p, [c_void_p]
    features = ctypes.cast(register(None), POINTER(c_void_p))[1]  # cst_voice's second field
    lib.feat_set_float(features, b"duration_stretch", float(speed))
    lib.feat_set(features, b"post_synth_hook_func", lib.uttfunc_val(hook))
    lib.flite_text_to_speech(text.encode(), register(None), b"none")
    # It names a word after its sound: "read" as "red".
    return [each.model_copy(update={"text": _plain(word)}) for each, word in zip(found, text.split(), strict=True)]


def _espeak(voice: str, speed: str, text: str) -> list[SpokenWord]:
    lib = ctypes.CDLL("libespeak-ng.so.1")
    lib.espeak_Synth.argtypes = [c_char_p, ctypes.c_size_t, c_uint, c_int, c_uint, c_uint, c_void_p, c_void_p]
    events: list[tuple[int, int, int, bytes]] = []

    def heard(_audio: Any, _samples: int, several: Any) -> int:  # noqa: ANN401 -- pointers
        told = _until_the_last(several)
        events.extend((event.kind, event.text_position - 1, event.sample, event.name) for event in told)
        return 0

    hook = CFUNCTYPE(c_int, POINTER(c_short), c_int, POINTER(_Event))(heard)
    rate = lib.espeak_Initialize(SYNCHRONOUS, 0, None, PHONEME_EVENTS)
    lib.espeak_SetSynthCallback(hook)
    if lib.espeak_SetVoiceByName(voice.encode()):  # the command line's -v also takes a language
        lib.espeak_SetVoiceByProperties(ctypes.byref(_Voice(languages=voice.encode())))
    lib.espeak_SetParameter(RATE, int(speed), 0)
    spoken = text.encode()
    lib.espeak_Synth(spoken, len(spoken) + 1, 0, CHARACTERS, 0, UTF8, None, None)
    lib.espeak_Synchronize()

    at, places = 0, list[int]()
    for word in text.split():
        places.append(text.index(word, at))
        at = places[-1] + len(word)
    starts = {place: sample for kind, place, sample, _ in events if kind == WORD}
    found = []
    for word, place, following in zip(text.split(), places, [*places[1:], None], strict=True):
        start = starts.get(place)
        if start is None or (following is not None and following not in starts):
            found.append(SpokenWord(text=_plain(word), start_s=None, end_s=None))
            continue
        pauses = [sample for kind, _, sample, name in events if kind == PHONEME and name.startswith(b"_")]
        ends = [each for each in (*pauses, *starts.values()) if each > start]
        found.append(SpokenWord(text=_plain(word), start_s=start / rate, end_s=min(ends) / rate))
    return found


def _until_the_last(events: Any) -> Iterator[_Event]:  # noqa: ANN401 -- a pointer
    place = 0
    while events[place].kind:
        yield events[place]
        place += 1
