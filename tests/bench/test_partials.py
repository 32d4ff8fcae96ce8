"""Partials and words in the result file: what is read is what was written; a broken line is refused in one."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.partials import Shown, changes
from bench.results import ResultFile, read_result, write_result
from bench.rows import UtteranceRecord
from runtime.errors import InputError
from runtime.words import Word

CHANGES = [
    ([], []),
    (["a"], [(0, "a")]),
    (["the ca", "the cat", "the cuts"], [(0, "the ca"), (6, "t"), (5, "uts")]),
    (["no no", "no", "no"], [(0, "no no"), (2, ""), (2, "")]),
    (["größe", "größer 👍", "größer 👎"], [(0, "größe"), (5, "r 👍"), (7, "👎")]),
]


@pytest.mark.parametrize(("texts", "expected"), CHANGES)
def test_changes(texts: list[str], expected: list[tuple[int, str]]) -> None:
    assert changes([Shown(1.0, text) for text in texts]) == expected


def record(**more: object) -> UtteranceRecord:
    known = {"data": "set_en", "mode": "utterance", "audio": "a.wav", "reference": "a", "hypothesis": "a", "audio_s": 1}
    return UtteranceRecord.model_validate(known | more)


TEXTS = st.text(st.sampled_from("ab \n\"'/1👍é"))
SHOWN = st.builds(
    lambda hundredths, *of: Shown(hundredths / 100, *of),
    st.integers(0, 10**6),
    TEXTS,
    st.integers(0, 99),
    st.integers(0, 9),
)
WORDS = st.builds(
    lambda text, start_ms, end_ms, confidence: Word(text, start_ms / 1000, end_ms / 1000, confidence / 1000),
    TEXTS.filter(bool),
    st.integers(0, 10**7),
    st.integers(0, 10**7),
    st.integers(0, 1000),
)


@given(st.lists(SHOWN), st.lists(WORDS))
def test_there_and_back(partials: list[Shown], words: list[Word]) -> None:
    before = record(partials=tuple(partials), words=tuple(words))
    assert UtteranceRecord.model_validate_json(before.model_dump_json()) == before


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("0.50 0 a b", Shown(0.5, "a b")),  # of files from before it was kept what is stable and early
        ("0.50 0 1/2 a", Shown(0.5, "1/2 a")),
        ("0.50 0/1 a b", Shown(0.5, "a b", 1)),
        ("0.50 0/1/2 a b", Shown(0.5, "a b", 1, 2)),
        ("0.50 0/0/3 ", Shown(0.5, "", 0, 3)),
    ],
)
def test_lines_of_partials(line: str, expected: Shown) -> None:
    found = record(partials=[line])
    assert found.partials == (expected,)
    assert json.loads(found.model_dump_json())["partials"] == [line]


@pytest.mark.parametrize("line", ["0.48 0.72 0.983 yes", "3 3 1 it's", "10000.001 10001 0 ⁇"])
def test_lines_of_words(line: str) -> None:
    assert json.loads(record(words=[line]).model_dump_json())["words"] == [line]


@pytest.mark.parametrize(
    ("key", "line"),
    [
        *(
            ("partials", line)
            for line in (
                "1.28 0",
                "0 a",
                "1.2 0 a",
                "1.28 2 a",
                "-1.28 0 a",
                "1.28 -1 a",
                "",
                "1.28 0/ a",
                "1.28 0//1 a",
            )
        ),
        *(
            ("words", line)
            for line in ("", "0.5 0.6 0.9 ", "0.5 0.6 a", "0.5 0.6 1.1 a", "-0.5 0.6 0.9 a", "0.5 nan 0.9 a")
        ),
    ],
)
def test_a_broken_line(key: str, line: str, a_result: ResultFile, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    good = record(partials=[Shown(0.5, "x", 0)], words=[Word("x", 0.5, 0.6, 0.9)])
    write_result(path, a_result.model_copy(update={"utterances": [good]}))
    assert read_result(path).utterances == [good]
    (first,) = json.loads(path.read_text())["utterances"][0][key]
    path.write_text(path.read_text().replace(f'"{first}"', f'"{first}", "{line}"'))
    with pytest.raises(InputError, match=rf"utterances.0.{key}: .* expected a (partial|word) as") as caught:
        read_result(path)
    assert "\n" not in str(caught.value)
