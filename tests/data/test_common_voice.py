"""Manifests from a Common Voice release made here: disjoint, deterministic; a bad release is one line."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile

from data import Utterance, read_manifest
from data.common_voice import Selection, make_manifests
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
    for path in make_manifests(release, "en", tmp_path, SMALL):
        assert all(words(utterance) and utterance.speaker for utterance in read_manifest(path))


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
            lambda r: [clip.write_bytes(b"") for clip in (r / "clips").iterdir()], "en", SMALL, "not audio", id="empty"
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
