"""Which language a stream hears: names that are meant by a code, what each backend's steps are told, and refusals."""

from typing import Any

import numpy as np
import pytest

from runtime import Recognizer
from runtime.backends import Backend, Step
from runtime.decoders.transcript import text_of
from runtime.errors import ClosedError, InputError
from runtime.languages import find_language
from tests.runtime.peeking import assert_peeks_change_nothing
from tests.runtime.rig import Host, PeekingHost, Rig, add_prompts, assert_follows_host, assert_same, windows

PROMPTS = {"auto": 101, "en-US": 0, "en-GB": 1, "en": 0, "es-US": 3, "es-ES": 2, "de-DE": 9, "zh-CN": 4}


@pytest.mark.parametrize(
    ("asked", "known", "found"),
    [
        ("de-DE", PROMPTS, "de-DE"),
        ("de", PROMPTS, "de-DE"),
        ("DE_de", PROMPTS, "de-DE"),
        ("de-AT", PROMPTS, None),
        ("en", PROMPTS, "en"),
        ("en-GB", PROMPTS, "en-GB"),
        ("en-AU", PROMPTS, "en"),
        ("es", PROMPTS, "es-US"),
        ("auto", PROMPTS, "auto"),
        ("d", PROMPTS, None),
        ("-DE", PROMPTS, None),
        ("", PROMPTS, None),
        ("en-US", ["en"], "en"),
        ("en", ["en_US"], "en_US"),
        ("de", ["en"], None),
    ],
)
def test_what_a_code_means(asked: str, known: list[str], found: str | None) -> None:
    assert find_language(asked, known) == found


@pytest.fixture
def told(rig: Rig) -> Rig:
    """The toy bundle with a step that is told the language."""
    add_prompts(rig.folder, PROMPTS)
    return rig


def opened(rig: Rig, kind: str) -> Backend:
    return rig.open_batched(5) if kind == "batched" else rig.open(cuda_graph=kind == "graph")


KINDS = ["graph", "kernels", "batched"]


@pytest.mark.parametrize("kind", KINDS)
def test_each_state_has_its_prompt(told: Rig, kind: str) -> None:
    """Changed between steps and peeks, beside states with others, and 0 again at an utterance's start or in a used place."""
    backend, host = opened(told, kind), PeekingHost(told=True)
    generator = np.random.default_rng(0)
    for _ in range(3):  # the second and third time in places that had prompts
        states: list[Any] = [backend.new_state() for _ in range(4)]
        alone: list[Any] = [host.new_state() for _ in range(4)]
        for window, valid in windows(40, seed=1):
            place = int(generator.integers(4))
            if generator.random() < 0.3:
                prompt = int(generator.integers(128))
                states[place] = backend.prompted(states[place], prompt)
                alone[place] = host.prompted(alone[place], prompt)
            if generator.random() < 0.1:
                states[place], alone[place] = backend.restart(states[place]), host.new_state()
            peek = bool(generator.random() < 0.3)
            (found,) = backend.run([Step(window, valid, states[place], peek)])
            expected = (host.peek if peek else host.step)(window, valid, alone[place])
            assert_same(found, expected)
            alone[place] = expected.state
        del states, found
    assert_peeks_change_nothing(backend, windows(4), windows(2, seed=9))
    backend.close()
    assert told.gpu.live == {}


@pytest.mark.parametrize("kind", ["graph", "kernels"])
def test_a_closed_backend_is_told_nothing(told: Rig, kind: str) -> None:
    backend = opened(told, kind)
    state = backend.new_state()
    backend.close()
    with pytest.raises(ClosedError):
        backend.prompted(state, 3)


@pytest.mark.parametrize("kind", KINDS)
def test_streams_hear_their_languages(told: Rig, kind: str) -> None:
    """By the bundle's own where none is asked for; another from the next utterance on."""
    audio = np.concatenate([window for window, _ in windows(20)])

    def heard(backend: Backend) -> list[Any]:
        finals = []
        with Recognizer(told.folder, backend=backend) as recognizer:
            for language in (None, "de", "es-ES"):
                stream = recognizer.stream(language=language, early="off")
                for following in ("zh-CN", None):
                    stream.push(audio)
                    stream.set_language(following)
                    stream.push(audio)
                    finals.append(stream.end_utterance().text)
        return finals

    found = heard(opened(told, kind))
    assert found == heard(Host(told=True))
    print(found)
    assert len({*found[::2]}) == 3
    assert found[1] == found[3] == found[5] != found[0]


def test_a_bundle_of_one_language_has_no_second_way(rig: Rig) -> None:
    """Its backends, opened and stepped as ever, and its streams, whose language must be its own."""
    with Recognizer(rig.folder, precision="fp32", backend="tensorrt") as recognizer:
        assert_follows_host(recognizer.backend)
        assert recognizer.stream(language="en-GB").end_utterance().text == recognizer.stream().end_utterance().text
        stream = recognizer.stream()
        for use in (lambda: recognizer.stream(language="de"), lambda: stream.set_language("de")):
            with pytest.raises(InputError) as error:
                use()
            assert str(error.value) == (
                "expected en, the one language of toy, found de; choose a checkpoint for it or, if this is one, say so with `make export "
                "LANGUAGE=de`"
            )


def test_a_backend_that_tells_nothing(told: Rig) -> None:
    class Server(Host):
        name = "server"
        prompted = Backend.prompted

    with (
        Recognizer(told.folder, backend=Server()) as recognizer,
        pytest.raises(
            InputError, match="expected a backend that can tell a step the language, found server; choose another"
        ),
    ):
        recognizer.stream()


def test_a_language_tag_is_a_token_without_text() -> None:
    pieces = ["▁da", "<de-DE>", "▁<en-US>", "<unk>", "<de>", "<", "▁<en-USA>"]
    assert text_of(pieces) == [" da", "", "", " ⁇ ", "<de>", "<", " <en-USA>"]
