"""Files that are either whole or absent, and their hashes."""

import fcntl
import glob
import hashlib
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile

from .errors import InputError


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path` for a file or folder; rename it to `path` on success, remove it on failure.

    A folder replaces an existing folder of that name, which is absent between two renames and never a mixture. A reader never sees a
    part of what is written, wherever the writer is killed; what it leaves is removed by the next one.

    Raises InputError where it cannot be written: a full disk, a folder of someone else's.
    """
    path = path.resolve() if path.is_symlink() else path  # the link stays, what it leads to is replaced
    temporary, aside = _beside(path)
    try:
        with _writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            _remove_abandoned(path)
            yield temporary
            if temporary.is_dir() and path.is_dir():
                path.replace(aside)
            temporary.replace(path)
    finally:
        if aside.exists() and not path.exists():  # interrupted between the renames
            aside.replace(path)
        _remove(temporary)
        _remove(aside)


def _beside(path: Path) -> tuple[Path, Path]:
    """Names of what is written and of what it replaces."""
    return path.with_name(f".{path.name}.{os.getpid()}.part"), path.with_name(f".{path.name}.{os.getpid()}.old.part")


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Make one line of what the system refuses within the block, in which `path` is written."""
    try:
        yield
    except OSError as error:
        reason = " ".join(str(each) for each in (error.strerror or error, error.filename or "") if each)
        raise InputError(
            f"expected to write {path}, found: {reason}; make room there, or name a folder that can be written to"
        ) from error


def check_room(path: Path, size: int = 1 << 20) -> None:
    """Raise InputError, as `written_whole` would after all work, where `path` cannot be written with `size` bytes. Nothing is left."""
    with _writing(path):
        folder = next(folder for folder in path.absolute().parents if folder.exists())
        with TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, size)
        (folder / _beside(path)[1].name).exists()  # raises where the name is too long


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder, which is made where it is missing: who comes second says so, and waits.

    Raises InputError where it cannot be made.
    """
    made = not folder.exists()
    with _writing(folder):
        held = _locked(folder)
    try:
        yield
    finally:
        with suppress(OSError):  # something is in it
            if made:
                folder.rmdir()
        os.close(held)


def _locked(folder: Path) -> int:
    """Return a descriptor of a folder, which holds the lock until it is closed."""
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        held = os.open(folder, os.O_RDONLY)
        with suppress(OSError):  # a file system without locks
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f"another process writes to {folder}: waiting for it", flush=True)
                fcntl.flock(held, fcntl.LOCK_EX)
        if folder.exists() and os.path.samestat(os.fstat(held), folder.stat()):
            return held
        os.close(held)  # who held it made nothing, and removed it


def _remove_abandoned(path: Path) -> None:
    """Remove what writers of `path` left that were killed, or that had this process's number in another container."""
    for left in path.parent.glob(f"{glob.escape(f'.{path.name}.')}*.part"):
        pid = left.name.removeprefix(f".{path.name}.").partition(".")[0]
        if pid.isdecimal() and (int(pid) == os.getpid() or not _is_running(int(pid))):
            _remove(left)


def _is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # another user's
        return True
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):  # an error of the writing is the one to be told
            path.unlink()


def carry(source: Path, target: Path) -> None:
    """Give a file, or all files of a folder, a second name: copies on another file system. Where nothing is, nothing happens.

    For files that are only ever replaced, never written to.
    """
    if source.is_dir():
        shutil.copytree(source, target, copy_function=_link, ignore=shutil.ignore_patterns("*.part"))
    elif source.is_file():
        _link(source, target)


def _link(source: str | Path, target: str | Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def check_spelling(path: Path) -> None:
    """Raise InputError for a name that Python could not decode, as in a locale without UTF-8: libraries take UTF-8 only."""
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise InputError(
            f"expected a name in the locale's letters, found {str(path)!a}; set PYTHONUTF8=1, or a locale with UTF-8 such as C.UTF-8"
        ) from error


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def sources_hash(paths: Iterable[Path]) -> str:
    """Hash of source files by name and content: what other sources made is made again."""
    digest = hashlib.sha256()
    for path in sorted(paths, key=lambda each: each.name):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()
