"""Manifests from a Common Voice release made here: disjoint, deterministic; a bad release is one line."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile

from data.common_voice import Selection, make_manifests
from data.manifest import Utterance, read_manifest
from runtime.errors import InputError

Make = Callable[..., Path]
SMALL = Selection(eval_clips=12, calib_clips=6)


def write_table(folder: Path, *rows: str, header: str = "client_id path sentence up_votes locale") -> None:
    """Write the table that is chosen from; a blank separates columns."""
    (folder / "validated.tsv").write_text("".join(f"{row}\n".replace(" ", "\t") for row in [header, *rows]), "utf-8")


def words(utterance: Utterance) -> str:
    return "".join(letter for letter in utterance.text.lower() if letter.isalnum())


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("speakers", "sentences"),
    [
        pytest.param([1] * 30, 1000, id="a clip each"),
        pytest.param([20, 15, 1, 1, 1, 1], 1000, id="two that give most"),
        pytest.param([5] * 12, 25, id="few sentences"),
        pytest.param([12, 40], 1000, id="two speakers"),
    ],
)
def test_sets_are_disjoint_and_of_the_asked_size(
    tmp_path: Path, make_release: Make, speakers: list[int], sentences: int, seed: int
) -> None:
    release = make_release(tmp_path / "en", speakers, sentences=sentences)
    paths = make_manifests(release, "en", tmp_path / "data", Selection(12, 6, seed))
    assert paths == [
        tmp_path / "data" / name / "common_voice" / "manifest_en.jsonl" for name in ("asr_eval", "asr_calib")
    ]
    evaluation, calibration = (read_manifest(path) for path in paths)
    assert (len(evaluation), len(calibration)) == (12, 6)
    assert not {u.speaker for u in evaluation} & {u.speaker for u in calibration}
    everything = [*evaluation, *calibration]
    assert len({words(u) for u in everything}) == len(everything)
    for utterance in everything:
        assert utterance.lang == "en"
        assert utterance.audio.resolve().parent == (release / "clips").resolve()
        assert utterance.duration == pytest.approx(soundfile.info(utterance.audio).duration, abs=1e-3)
    assert not [file for file in (tmp_path / "data").rglob("*") if file.is_file() and file not in paths]


def test_every_speaker_is_heard_before_one_is_heard_twice(tmp_path: Path, make_release: Make) -> None:
    release = make_release(tmp_path / "en", [4] * 20)
    evaluation, calibration = (
        read_manifest(path) for path in make_manifests(release, "en", tmp_path, Selection(12, 6))
    )
    assert len({u.speaker for u in evaluation}) == 12
    assert len({u.speaker for u in calibration}) == 6


def test_same_seed_same_bytes_other_seed_other_clips(tmp_path: Path, make_release: Make) -> None:
    release = make_release(tmp_path / "en", [3] * 20)

    def made(seed: int) -> list[bytes]:
        return [path.read_bytes() for path in make_manifests(release, "en", tmp_path / "out", Selection(12, 6, seed))]

    first = made(0)
    table = release / "validated.tsv"
    header, *rows = table.read_text("utf-8").splitlines()
    table.write_text("\n".join([header, *reversed(rows)]), "utf-8")
    assert made(0) == first, "the order of the table's lines must not matter"
    assert all(one != other for one, other in zip(made(1), first, strict=True))


@pytest.mark.parametrize("given", ["cv-corpus-6.1/en", "cv-corpus-6.1", "."])
def test_language_folder_and_the_folders_above_it(tmp_path: Path, make_release: Make, given: str) -> None:
    make_release(tmp_path / "cv-corpus-6.1" / "en", [1] * 20)
    make_release(tmp_path / "cv-corpus-6.1" / "de", [1] * 20, lang="de")
    assert len(make_manifests(tmp_path / given, "en", tmp_path / "out", SMALL)) == 2


def test_another_table_and_one_of_an_early_release(tmp_path: Path, make_release: Make) -> None:
    release = make_release(tmp_path / "en", [1] * 40)
    rows = [line.split("\t")[:3] for line in (release / "validated.tsv").read_text("utf-8").splitlines()]
    table = ["\t".join(row).replace(".mp3", "") for row in rows if not row[1].endswith(".wav")]
    (release / "test.tsv").write_text("\n".join(table), "utf-8")  # no locale column, names without .mp3
    evaluation, calibration = make_manifests(release, "en", tmp_path, Selection(12, 6, table="test.tsv"))
    for utterance in [*read_manifest(evaluation), *read_manifest(calibration)]:
        assert utterance.audio.suffix == ".mp3"


def test_rows_without_speaker_or_words_are_never_taken(tmp_path: Path, make_release: Make) -> None:
    release = make_release(tmp_path / "en", [1] * 20)
    table = release / "validated.tsv"
    table.write_text(
        table.read_text("utf-8") + "x\tno.mp3\t\t2\ten\ny\tno.mp3\t ?! \t2\ten\n\tno.mp3\thm\t2\ten\nz\n", "utf-8"
    )
    named: list[str] = []
    allowed = Selection(12, 6, allow=3 / 24)
    for path in make_manifests(release, "en", tmp_path, allowed, named.append):
        assert all(words(utterance) and utterance.speaker for utterance in read_manifest(path))
    assert [line.removeprefix(f"{table}:").split(",")[0] for line in named] == [
        "22: expected client_id",
        "24: expected client_id",
        "25: expected 5 columns",
    ]
    with pytest.raises(
        InputError, match=r"validated.tsv:22: .*; 3 of 24 are broken so, at most 1.00% may be left out: see --allow"
    ):
        make_manifests(release, "en", tmp_path, SMALL)


COLUMNS = {
    "1": "client_id path sentence up_votes down_votes age gender accent",
    "6.1": "client_id path sentence up_votes down_votes age gender accent locale segment",
    "9": "client_id path sentence up_votes down_votes age gender accents locale segment",
    "13": "client_id path sentence up_votes down_votes age gender accents variant locale segment",
    "17 to 20": (
        "client_id path sentence_id sentence sentence_domain up_votes down_votes age gender accents variant locale segment"
    ),
}


@pytest.mark.parametrize("written", ["\n", "\r\n", "mark"])
@pytest.mark.parametrize("columns", COLUMNS.values(), ids=COLUMNS)
def test_the_columns_of_releases_and_how_they_are_saved(
    tmp_path: Path, make_release: Make, columns: str, written: str
) -> None:
    release = make_release(tmp_path / "en", [1] * 20)
    table = release / "validated.tsv"
    expected = [path.read_bytes() for path in make_manifests(release, "en", tmp_path / "out", SMALL)]
    header, *rows = [line.split("\t") for line in table.read_text("utf-8").splitlines()]
    of = [dict(zip(header, row, strict=True)) for row in rows]
    lines = [columns.split(), *([row.get(column, "") for column in columns.split()] for row in of)]
    end = "\r\n" if written == "\r\n" else "\n"
    text = "".join("\t".join(line) + end for line in lines)
    table.write_bytes(text.encode("utf-8-sig" if written == "mark" else "utf-8"))
    assert [path.read_bytes() for path in make_manifests(release, "en", tmp_path / "out", SMALL)] == expected


def test_a_quote_is_a_quote_and_a_newline_breaks_its_row_alone(tmp_path: Path, make_release: Make) -> None:
    release = make_release(tmp_path / "en", [1] * 200, sentences=10**6)
    table = release / "validated.tsv"
    lines = table.read_text("utf-8").splitlines()
    for at, sentence in [(1, '"Only the first quote'), (2, 'He said "two" and \'three\'"'), (3, "one\nnewline")]:
        fields = lines[at].split("\t")
        lines[at] = "\t".join([*fields[:2], sentence, *fields[3:]])
    table.write_text("\n".join(lines) + "\n", "utf-8")
    named: list[str] = []
    paths = make_manifests(release, "en", tmp_path / "out", Selection(140, 40), named.append)
    texts = [utterance.text for path in paths for utterance in read_manifest(path)]
    assert [line.removeprefix(f"{table}:").split(";")[0] for line in named] == [
        "4: expected 5 columns, found 3",
        "5: expected 5 columns, found 3",
    ]
    assert not any("newline" in text for text in texts)
    assert [text for text in texts if "Only the first" in text] in ([], ['"Only the first quote'])


def test_missing_and_empty_clips_are_named_and_others_are_taken(tmp_path: Path, make_release: Make) -> None:
    release = make_release(tmp_path / "en", [1] * 300, sentences=10**6)
    first = make_manifests(release, "en", tmp_path / "out", Selection(150, 50))
    (_, missing, instant, *_), (empty, *_) = ([each.audio for each in read_manifest(path)] for path in first)
    missing.unlink()
    empty.write_bytes(b"")
    soundfile.write(instant, [0.1] * 3, 16_000, format="WAV")
    named: list[str] = []
    again = make_manifests(release, "en", tmp_path / "out", Selection(150, 50, allow=0.015), named.append)
    assert len(named) == 3
    assert any(f"{instant.name}: expected speech, found less than a millisecond" in line for line in named)
    assert any(f"{missing.name}: no such audio file" in line for line in named)
    assert any(f"{empty.name}: expected audio, found an empty file" in line for line in named)
    chosen = [utterance.audio.name for path in again for utterance in read_manifest(path)]
    assert len(chosen) == len(set(chosen)) == 200
    assert not {missing.name, empty.name, instant.name} & set(chosen)
    with pytest.raises(InputError, match=r"at most 0.10% may be left out"):
        make_manifests(release, "en", tmp_path / "out", Selection(150, 50, allow=0.001))


def test_a_clip_that_repeats_is_taken_once(tmp_path: Path, make_release: Make) -> None:
    release = make_release(tmp_path / "en", [1] * 200, sentences=10**6)
    with (release / "validated.tsv").open("a", encoding="utf-8") as table:
        table.write("another\tclip_003.mp3\tAnother sentence\t2\ten\n")
    named: list[str] = []
    paths = make_manifests(release, "en", tmp_path / "out", Selection(140, 50), named.append)
    assert ["'clip_003.mp3' again" in line for line in named] == [True]
    audio = [utterance.audio for path in paths for utterance in read_manifest(path)]
    assert len(audio) == len(set(audio))


def two_releases(release: Path) -> None:
    for version in ("6.1", "17.0"):
        shutil.copytree(release, release.parent / f"cv-corpus-{version}" / "en")
    shutil.rmtree(release)


def one_speaker(release: Path) -> None:
    write_table(release, *(f"one clip_{index:03d}.wav s{index} 2 en" for index in range(0, 20, 2)))


@pytest.mark.parametrize(
    ("spoil", "given", "selection", "says"),
    [
        pytest.param(lambda _: None, "no", SMALL, "no such folder", id="no folder"),
        pytest.param(lambda _: None, "en/validated.tsv", SMALL, "no such folder", id="a file"),
        pytest.param(lambda r: (r / "validated.tsv").unlink(), "en", SMALL, "validated.tsv", id="no table"),
        pytest.param(lambda _: None, "en", Selection(12, 6, table="test.tsv"), "test.tsv", id="no such table"),
        pytest.param(two_releases, ".", SMALL, "2 releases", id="two releases"),
        pytest.param(
            lambda r: write_table(r, "a b", header="client_id path"),
            "en",
            SMALL,
            "missing: sentence",
            id="no sentence column",
        ),
        pytest.param(lambda r: (r / "validated.tsv").write_bytes(b""), "en", SMALL, "columns", id="empty table"),
        pytest.param(lambda r: (r / "validated.tsv").write_bytes(b"\xff\xfe"), "en", SMALL, "UTF-8", id="not text"),
        pytest.param(lambda r: write_table(r, "a b " + "x" * 200_000), "en", SMALL, "cannot be", id="endless field"),
        pytest.param(write_table, "en", SMALL, "0 clips", id="no rows"),
        pytest.param(lambda r: write_table(r, "s c x 2 de"), "en", SMALL, "'de'", id="other language"),
        pytest.param(lambda _: None, "en", Selection(100, 6), "ask for fewer", id="too few clips"),
        pytest.param(lambda _: None, "en", Selection(12, 100), "ask for fewer", id="too few to calibrate"),
        pytest.param(lambda _: None, "en", Selection(0, 6), "at least 1", id="size 0"),
        pytest.param(lambda _: None, "en", Selection(12, -1), "at least 1", id="size below 0"),
        pytest.param(one_speaker, "en", Selection(2, 2), "of the 1 speakers", id="one speaker"),
        pytest.param(
            lambda r: [clip.unlink() for clip in (r / "clips").iterdir()], "en", SMALL, "no such audio", id="no clips"
        ),
        pytest.param(
            lambda r: [clip.write_bytes(b"") for clip in (r / "clips").iterdir()], "en", SMALL, "18 of 18", id="empty"
        ),
    ],
)
def test_bad_release_is_one_line_and_writes_nothing(
    tmp_path: Path,
    make_release: Make,
    *,
    spoil: Callable[[Path], object],
    given: str,
    selection: Selection,
    says: str,
) -> None:
    spoil(make_release(tmp_path / "en", [1] * 20))
    with pytest.raises(InputError) as error:
        make_manifests(tmp_path / given, "en", tmp_path / "out", selection)
    assert says in str(error.value)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()
