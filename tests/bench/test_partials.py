"""Partials in the result file: what is read is what was written, in hundredths of a second; a broken line is refused in one."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.partials import changes
from bench.results import ResultFile, UtteranceRecord, read_result, write_result
from runtime.errors import InputError

CHANGES = [
    ([], []),
    ([(0.5, "a")], [(0.5, 0, "a")]),
    ([(0.5, "the ca"), (0.66, "the cat"), (0.82, "the cuts")], [(0.5, 0, "the ca"), (0.66, 6, "t"), (0.82, 5, "uts")]),
    ([(1.0, "no no"), (1.0, "no"), (2.0, "no")], [(1.0, 0, "no no"), (1.0, 2, ""), (2.0, 2, "")]),
    ([(1.0, "größe"), (1.1, "größer 👍"), (1.2, "größer 👎")], [(1.0, 0, "größe"), (1.1, 5, "r 👍"), (1.2, 7, "👎")]),
]


@pytest.mark.parametrize(("partials", "expected"), CHANGES)
def test_changes(partials: list[tuple[float, str]], expected: list[tuple[float, int, str]]) -> None:
    assert changes(partials) == expected


def record(**more: object) -> UtteranceRecord:
    known = {"data": "set_en", "mode": "utterance", "audio": "a.wav", "reference": "a", "hypothesis": "a", "audio_s": 1}
    return UtteranceRecord.model_validate(known | more)


@given(st.lists(st.tuples(st.integers(0, 10**6), st.text(st.sampled_from("ab \n\"'👍é")))))
def test_there_and_back(partials: list[tuple[int, str]]) -> None:
    before = record(partials=tuple((hundredths / 100, text) for hundredths, text in partials))
    assert UtteranceRecord.model_validate_json(before.model_dump_json()) == before


@pytest.mark.parametrize("line", ["1.28 0", "0 a", "1.2 0 a", "1.28 2 a", "-1.28 0 a", "1.28 -1 a", ""])
def test_a_broken_line(line: str, a_result: ResultFile, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    write_result(path, a_result.model_copy(update={"utterances": [record(partials=((0.5, "x"),))]}))
    assert read_result(path).utterances[0].partials == ((0.5, "x"),)
    path.write_text(path.read_text().replace('"0.50 0 x"', f'"0.50 0 x", "{line}"'))
    with pytest.raises(InputError, match=r"utterances.0.partials: .* expected a partial as") as caught:
        read_result(path)
    assert "\n" not in str(caught.value)
