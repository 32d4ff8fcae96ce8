"""Files and folders that are whole or absent, whatever strikes."""

import errno
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from runtime.errors import InputError
from runtime.files import alone, check_room, written_whole


def write_file(path: Path, text: str) -> None:
    with written_whole(path) as partial:
        partial.write_text(text)


def write_folder(path: Path, text: str) -> None:
    with written_whole(path) as partial:
        partial.mkdir()
        for name in ("a", "b"):
            (partial / name).write_text(text)


def held(path: Path) -> set[str]:
    return {each.read_text() for each in path.iterdir()} if path.is_dir() else {path.read_text()}


WRITERS = pytest.mark.parametrize("write", [write_file, write_folder])
Write = Callable[[Path, str], None]


@WRITERS
@pytest.mark.parametrize(
    ("failure", "raised", "said"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), InputError, "found: No space left on device; make room"),
        (
            PermissionError(errno.EACCES, "Permission denied", "/a/file"),
            InputError,
            "found: Permission denied /a/file;",
        ),
        (KeyboardInterrupt(), KeyboardInterrupt, ""),
        (InputError("bad"), InputError, "bad"),
    ],
)
def test_a_failed_write_keeps_what_was(  # noqa: PLR0917
    write: Write, failure: BaseException, raised: type, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, real = tmp_path / "made" / "it.json", Path.write_text

    def half(partial: Path, text: str) -> int:
        real(partial, text[: len(text) // 2])
        raise failure

    for before in (None, "old"):
        if before:
            write(path, before)
        with monkeypatch.context() as patch:
            patch.setattr(Path, "write_text", half)
            with pytest.raises(raised) as error:
                write(path, "new")
        assert said in str(error.value)
        assert "\n" not in str(error.value)
        assert [each.name for each in path.parent.iterdir()] == (["it.json"] if before else [])
    assert held(path) == {"old"}


def test_a_folder_in_a_file_s_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file")
    with pytest.raises(InputError, match=r"expected to write .*file/it\.json, found: File exists .*file; make room"):
        write_file(tmp_path / "file" / "it.json", "new")


@pytest.mark.parametrize("strikes_at", [1, 2])
def test_interrupted_between_the_renames(strikes_at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path / "it", "old")
    renames, real = 0, Path.replace

    def interrupted(source: Path, target: Path) -> Path:
        nonlocal renames
        renames += 1
        if renames == strikes_at:
            raise KeyboardInterrupt
        return real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write_folder(tmp_path / "it", "new")
    assert held(tmp_path / "it") == {"old"}
    assert [each.name for each in tmp_path.iterdir()] == ["it"]


def test_a_folder_is_removed_only_once_the_new_one_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_folder(tmp_path / "it", "old")
    seen, real = [], shutil.rmtree

    def removing(folder: Path, ignore_errors: bool) -> None:
        seen.append((held(tmp_path / "it"), held(Path(folder))))
        real(folder, ignore_errors=ignore_errors)

    monkeypatch.setattr(shutil, "rmtree", removing)
    write_folder(tmp_path / "it", "new")
    assert seen == [({"new"}, {"old"})]


@WRITERS
@pytest.mark.parametrize("before", [None, "old"])
def test_a_link_stays_and_leads_to_the_new(write: Write, before: str | None, tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "links" / "it"
    link.parent.mkdir()
    if before:
        write(real, before)
    link.symlink_to(real)
    for text in ("new", "newer"):
        write(link, text)
        assert (held(link), held(real)) == ({text}, {text})
    assert link.is_symlink()
    assert sorted(each.name for each in tmp_path.rglob("*") if each.name not in "ab") == ["it", "links", "real"]


@WRITERS
def test_what_a_killed_writer_left_is_removed(write: Write, tmp_path: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    kept = [
        f".it.{os.getppid()}.part",
        ".it.json.1.part",
        ".it.notes.part",
        "it.part",
    ]  # another's that runs, of other names
    for name in kept:
        (tmp_path / name).write_text("half")
    for name in (f".it.{dead.pid}.part", f".it.{dead.pid}.old.part", f".it.{os.getpid()}.part"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "half").write_text("half")
    write(tmp_path / "it", "new")
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted(["it", *kept])
    assert held(tmp_path / "it") == {"new"}


@pytest.mark.parametrize(
    ("place", "size", "found"),
    [
        ("a/b/c.json", 1 << 20, ""),
        ("file/c.json", 1, "Not a directory"),
        ("a/c.json", 1 << 60, ""),  # what the system says of so many bytes is its own
        ("/proc/c.json", 1, "/proc/"),
    ],
)
def test_room_is_looked_for_and_nothing_is_left(place: str, size: int, found: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file")
    if not found and size < 1 << 40:
        check_room(tmp_path / place, size)
    else:
        with pytest.raises(InputError, match=f"expected to write {tmp_path / place}, found: .*{found}"):
            check_room(tmp_path / place, size)
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_who_comes_second_says_so_and_waits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, order = tmp_path / "bundles", list[str]()

    def second() -> None:
        with alone(folder):
            order.append("second")
            (folder / "made").write_text("whole")

    with alone(folder):
        thread = threading.Thread(target=second)
        thread.start()
        while "waiting for it" not in capsys.readouterr().out:
            time.sleep(0.01)
        order.append("first")
    thread.join(30)
    assert order == ["first", "second"]
    assert held(folder) == {"whole"}


def test_a_folder_that_came_to_nothing_goes(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for name in ("mine", "new"):
        with pytest.raises(InputError), alone(tmp_path / name):
            raise InputError("bad")
    assert [each.name for each in tmp_path.iterdir()] == ["mine"]
