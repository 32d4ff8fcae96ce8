"""What a client may ask of its stream."""

import re
from typing import Any

import pytest

from runtime import EndpointRules, Recognizer
from runtime.errors import InputError
from serving.options import Options, read_options


@pytest.mark.parametrize(
    ("asked", "rules"),
    [
        ({}, None),
        ({"endpoints": False}, None),
        ({"endpoints": True}, EndpointRules()),
        ({"endpoints": {"min_silence_ms": 300}}, EndpointRules(min_silence_ms=300)),
        ({"endpoints": {"tell_voice": True}}, EndpointRules(tell_voice=True)),
    ],
)
def test_rules(asked: dict[str, object], rules: EndpointRules | None) -> None:
    found = read_options(asked).rules
    assert (found and vars(found)) == (rules and vars(rules))


def test_all_of_it_reaches_the_stream() -> None:
    opened: list[object] = []

    class Opened(Recognizer):
        def __init__(self) -> None:
            pass

        def stream(self, *rules: object, **how: object) -> Any:  # noqa: ANN401
            opened.extend([*rules, how])

    asked = {"hotwords": {"a": 2.0}, "early": "eager", "language": "de", "language_model": False}
    read_options({"endpoints": True, **asked}).open(Opened())
    assert opened == [EndpointRules(), asked]
    assert {"endpoints", *asked} == set(Options.model_fields)


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"endpoint": True}, "endpoint: Extra inputs are not permitted"),
        ({"endpoints": {"silence_ms": 1}}, "silence_ms: Unexpected keyword argument"),
        (
            {"endpoints": {"min_silence_ms": 0}},
            "expected min_silence_ms in whole ms above 0, found 0; the default is 500",
        ),
        ({"hotwords": {"a": "much"}}, "Input should be a valid number"),
        ({"hotwords": ["word"] * 1_001}, "at most 1000"),
        ({"hotwords": ["w" * 201]}, "at most 200 characters"),
        ({"early": "soon"}, "early: Input should be 'off', 'steady' or 'eager'"),
        ({"language": 7}, "language: Input should be a valid string"),
    ],
)
def test_what_is_refused(asked: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=re.escape(says)) as found:
        read_options(asked)
    assert "\n" not in str(found.value)
