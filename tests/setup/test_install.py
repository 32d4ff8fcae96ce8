"""Installation into a real environment, of requirements that ask for nothing: in place, one at a time, gone on with where it was cut."""

import fcntl
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from setup.environments import RUNTIME, Part
from setup.install import InstallError, install, main
from setup.machine import CPU
from tests.setup.conftest import copy_checkout

pytestmark = pytest.mark.environments

PART = Part(CPU, RUNTIME)


def ask_for_nothing(checkout: Path) -> Path:
    for file in (checkout / "requirements").glob("*.txt"):
        file.write_text("")
        os.utime(file, (1, 1))
    return checkout


@pytest.fixture
def empty(checkout: Path) -> Path:
    """The checkout with requirements that ask for nothing."""
    return ask_for_nothing(checkout)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Such a checkout, set up."""
    folder = ask_for_nothing(copy_checkout(tmp_path_factory.mktemp("installed") / "checkout"))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["cpu", "runtime", "--default"]) == 0
    return folder


@pytest.fixture
def environment(empty: Path, installed: Path) -> Path:
    """The environment of the checkout, with pip and uv: made once, as it takes seconds."""
    folder = Path(shutil.copytree(installed / PART.folder, empty / PART.folder, symlinks=True))
    PART.stamp.unlink()
    return folder


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


@pytest.mark.usefixtures("empty")
def test_an_interrupted_set_up_is_completed() -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(PART.folder)], check=True)
    packages = PART.folder / "lib" / "python{}.{}".format(*sys.version_info) / "site-packages"
    for name, files in (("whole-1.dist-info", ["METADATA", "RECORD"]), ("half-1.dist-info", ["METADATA"])):
        (packages / name).mkdir()
        for file in files:
            (packages / name / file).write_text(
                "Metadata-Version: 2.1\nName: any\nVersion: 1\n" if file == "METADATA" else ""
            )
    install(PART)
    assert PART.stamp.exists()
    assert sorted(path.name for path in packages.glob("*-1.dist-info")) == ["whole-1.dist-info"]


@pytest.mark.usefixtures("environment")
def test_what_uv_had_begun_is_installed_anew() -> None:
    file = Path("requirements/cpu.txt")
    file.write_text("text-unidecode\n")
    install(PART)
    (module,) = PART.folder.glob("lib/python*/site-packages/text_unidecode/__init__.py")
    module.unlink()
    PART.begun.touch()
    PART.stamp.unlink()
    install(PART)
    assert module.exists()
    assert not PART.begun.exists()


@pytest.mark.usefixtures("empty")
def test_never_through_a_link() -> None:
    elsewhere = Path("build/elsewhere")
    elsewhere.mkdir(parents=True)
    PART.folder.symlink_to(elsewhere.absolute())
    with pytest.raises(InstallError, match=r"expected a folder at .*, found a link to .*; remove the link"):
        install(PART)
    assert list(elsewhere.iterdir()) == []


@pytest.mark.usefixtures("empty")
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


def test_an_environment_that_does_not_start(empty: Path) -> None:
    (empty / PART.folder / "bin").mkdir(parents=True)
    PART.python.symlink_to("/no/python")
    with pytest.raises(InstallError, match="makes none; remove it"):
        install(PART)
