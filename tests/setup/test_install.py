"""Installation into a real environment, of requirements that ask for one module: in place, one at a time, gone on with where it was cut.

An environment takes seconds to make: most tests have a copy of one that was made in two attempts, the first of them interrupted.
"""

import fcntl
import os
import re
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from setup.environments import RUNTIME, Part
from setup.install import InstallError, _has_uv, _succeeds, install, main
from setup.machine import CPU
from tests.setup.conftest import copy_checkout

pytestmark = pytest.mark.environments

PART = Part(CPU, RUNTIME)


MODULE = "lib/python*/site-packages/text_unidecode/__init__.py"
"""Of the package that the requirements ask for."""
HALF, WHOLE = "half-1.dist-info", "whole-1.dist-info"
"""Records of packages: of one that an interrupted pip had not written whole, and of one that it had."""


def ask_for_little(checkout: Path) -> Path:
    for file in (checkout / "requirements").glob("*.txt"):
        kept = re.findall("^(?:text-unidecode|uv)==.*\n", file.read_text(), re.MULTILINE)
        file.write_text("".join(kept) if "constraints" in file.name else "")
        os.utime(file, (1, 1))
    (checkout / "requirements" / "cpu.txt").write_text("text-unidecode\n")
    os.utime(checkout / "requirements" / "cpu.txt", (1, 1))
    return checkout


@pytest.fixture
def small(checkout: Path) -> Path:
    """The checkout with requirements that ask for little."""
    return ask_for_little(checkout)


def interrupted_where_pip_is_made(*command: str) -> bool:
    if "ensurepip" in command:
        raise KeyboardInterrupt
    return _succeeds(*command)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Such a checkout, set up; the first attempt was interrupted and left an environment without pip, and a half-written package."""
    folder = ask_for_little(copy_checkout(tmp_path_factory.mktemp("installed") / "checkout"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        with patch.context() as interrupted:
            interrupted.setattr("setup.install._succeeds", interrupted_where_pip_is_made)
            assert main(["cpu", "runtime", "--default"]) == 130
        assert PART.python.exists()
        assert not PART.stamp.exists()
        (packages,) = PART.folder.glob("lib/python*/site-packages")
        assert list(packages.iterdir()) == []
        for name, files in ((WHOLE, ["METADATA", "RECORD"]), (HALF, ["METADATA"])):
            (packages / name).mkdir()
            for file in files:
                (packages / name / file).write_text(
                    "Metadata-Version: 2.1\nName: any\nVersion: 1\n" if file == "METADATA" else ""
                )
        assert main(["cpu", "runtime", "--default"]) == 0
    return folder


@pytest.fixture
def environment(small: Path, installed: Path) -> Path:
    """The environment of the checkout, with pip and uv."""
    # As links: whoever installs writes a file anew, never in place.
    folder = Path(shutil.copytree(installed / PART.folder, small / PART.folder, symlinks=True, copy_function=os.link))
    PART.stamp.unlink()
    return folder


def test_from_any_folder(installed: Path, tmp_path: Path) -> None:
    answer = subprocess.run(
        [installed / "build/python", "-c", "import sys; print(*sys.path, sep='\\n')"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert str(installed.resolve()) in answer.stdout.splitlines()


def test_in_place(installed: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(installed)
    inside = PART.folder / "lib" / "of a program that runs from it"
    inside.touch()
    answer = subprocess.run(
        ["build/python", "-c", "import sys; print(sys.prefix)"], capture_output=True, text=True, check=True
    )
    assert Path(answer.stdout.strip()) == installed / PART.folder
    capsys.readouterr()
    install(PART)
    assert capsys.readouterr().out == ""
    file = PART.constraints
    os.utime(file)
    os.utime(PART.stamp, (2, 2))
    assert not PART.is_current
    install(PART)
    assert PART.is_current
    assert "done in" in capsys.readouterr().out
    assert inside.exists()


def test_an_interrupted_set_up_is_completed(installed: Path) -> None:
    environment = installed / PART.folder
    assert len(list(environment.glob(MODULE))) == 1
    assert [path.name for path in environment.glob("lib/python*/site-packages/*-1.dist-info")] == [WHOLE]


@pytest.mark.usefixtures("environment")
def test_what_uv_had_begun_is_installed_anew() -> None:
    (module,) = PART.folder.glob(MODULE)
    module.unlink()
    PART.begun.touch()
    install(PART)
    assert module.exists()
    assert not PART.begun.exists()


@pytest.mark.usefixtures("environment")
def test_uv_of_another_version_or_not_whole_is_none() -> None:
    assert _has_uv(PART)
    (record,) = PART.folder.glob("lib/python*/site-packages/uv-*.dist-info/RECORD")
    folder = record.parent.rename(record.parent.with_name("uv-0.0.1.dist-info"))
    assert not _has_uv(PART)
    folder.rename(record.parent)
    assert _has_uv(PART)
    record.unlink()
    assert not _has_uv(PART)


@pytest.mark.usefixtures("small")
def test_never_through_a_link() -> None:
    elsewhere = Path("build/elsewhere")
    elsewhere.mkdir(parents=True)
    PART.folder.symlink_to(elsewhere.absolute())
    with pytest.raises(InstallError, match=r"expected a folder at .*, found a link to .*; remove the link"):
        install(PART)
    assert list(elsewhere.iterdir()) == []


@pytest.mark.usefixtures("small")
def test_one_at_a_time(capsys: pytest.CaptureFixture[str]) -> None:
    Path("build").mkdir()
    with PART.folder.with_name(f"{PART.folder.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        second = threading.Thread(target=install, args=[PART], daemon=True)
        second.start()
        second.join(1)
        assert second.is_alive()
        assert not PART.folder.exists()
        PART.folder.mkdir()
        PART.stamp.touch()  # the first one is done
    second.join(20)
    assert not second.is_alive()
    assert "waiting for it" in capsys.readouterr().out
    assert list(PART.folder.iterdir()) == [PART.stamp]


@pytest.mark.usefixtures("environment")
def test_what_pip_refuses_leaves_no_stamp(capsys: pytest.CaptureFixture[str]) -> None:
    Path("requirements/cpu.txt").write_text("./not-there\n")
    assert main(["cpu", "runtime"]) == 1
    said = capsys.readouterr()
    assert "uv could not: " in said.out
    assert "; pip goes on" in said.out
    assert "error: expected pip to install runtime into" in said.err
    assert not PART.stamp.exists()
    Path("requirements/cpu.txt").write_text("")
    assert main(["cpu", "runtime"]) == 0
    assert not PART.begun.exists()


def test_an_environment_that_does_not_start(small: Path) -> None:
    (small / PART.folder / "bin").mkdir(parents=True)
    PART.python.symlink_to("/no/python")
    with pytest.raises(InstallError, match="makes none; remove it"):
        install(PART)
