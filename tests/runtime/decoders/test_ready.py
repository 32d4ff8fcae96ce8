"""Processes that search are ready once a recogniser is open; where they cannot be, it does not open, and leaves nothing."""

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from runtime import InputError, LostError, Recognizer
from runtime.backends import Backend, open_backend
from runtime.bundle import read_bundle
from runtime.decoders.maker import DecoderMaker
from runtime.decoders.remote import SearchProcess, SearchProcesses

TIMEOUT_S = 60.0


def processes(recognizer: Recognizer) -> list[SearchProcess]:
    """Those that run."""
    assert recognizer._decoders._processes
    return [each for each in recognizer._decoders._processes._processes if each._worker]


@pytest.mark.parametrize(("lm", "started"), [("default", 2), ("none", 0)])
def test_no_utterance_waits_for_a_process_to_start(batched_bundle: Path, lm: str, started: int) -> None:
    """Those that every utterance needs have opened what they need once the recogniser is open; the others cost nothing yet."""
    with Recognizer(batched_bundle, backend="onnxruntime-cpu", lm=lm, max_streams=2, search_processes=2) as recognizer:
        there = [each._worker for each in processes(recognizer) if each._worker]
        assert len(there) == started
        assert not any(worker._connection.poll() for worker in there), "what it says first is read"
        assert all(worker._is_ready for worker in there)
        recognizer.stream(hotwords=["timer"])
        assert len(processes(recognizer)) == (started or 1)


def refused(*_: object, **__: object) -> None:
    raise BlockingIOError(11, "no more")


def interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def program(folder: Path, does: str) -> str:
    """A program that takes Python's place and does this instead."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{does}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("does", "match"),
    [
        (
            "exit 3",
            "^expected a process that is ready for beam search within .* found its end with exit code 3; ",
        ),
        ("kill -9 $$", "found its end with exit code -9; "),
        ("exec sleep 60", "found none yet; free memory and cores, or ask for fewer search_processes$"),
        (refused, "^expected another process for beam search, found that none can be started: "),
        (interrupted, ""),
    ],
    ids=["ends", "killed", "hangs", "refused", "Ctrl-C"],
)
def test_a_recogniser_that_cannot_search_does_not_open(
    batched_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, does: str | Callable[..., Any], match: str
) -> None:
    """It says so, and leaves neither process nor backend, also while somebody keeps the error, as an interactive session does."""
    started: list[subprocess.Popen[bytes]] = []
    closed: list[Backend] = []

    def popen(*arguments: Any, **options: Any) -> "subprocess.Popen[bytes]":
        if started and not isinstance(does, str):
            does()
        started.append(subprocess.Popen(*arguments, **options))
        return started[-1]

    def closing(*arguments: Any) -> Backend:
        backend = open_backend(*arguments)
        monkeypatch.setattr(backend, "close", lambda: closed.append(backend))
        return backend

    monkeypatch.setattr("runtime.decoders.worker_process.Popen", popen)
    monkeypatch.setattr("runtime.decoders.worker_process.READY_S", 0.1)
    monkeypatch.setattr("runtime.recognizer.open_backend", closing)
    if isinstance(does, str):
        monkeypatch.setattr(sys, "executable", program(tmp_path, does))
    with pytest.raises(KeyboardInterrupt if does is interrupted else LostError, match=match) as kept:
        Recognizer(batched_bundle, backend="onnxruntime-cpu", max_streams=3, search_processes=3)
    assert started, kept
    assert None not in [process.poll() for process in started]
    assert len(closed) == (does is not interrupted)


def test_a_program_that_is_its_own_interpreter(batched_bundle: Path, tmp_path: Path) -> None:
    """It is not started by what it started, and so on."""
    count, here = tmp_path / "count", Path.cwd()
    opens = (
        f"from runtime import Recognizer; Recognizer({str(batched_bundle)!r}, backend='onnxruntime-cpu', max_streams=1)"
    )
    itself = program(
        tmp_path,
        f"echo >> {count}; PYTHONPATH={here} exec {sys.executable} -c \"import sys; sys.executable='$0'; {opens}\"",
    )
    run = subprocess.run([itself], capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    assert (run.returncode, len(count.read_text())) == (1, 2)
    assert "expected Python's program in sys.executable, found that" in run.stderr
    assert "LostError: expected a process that is ready for beam search" in run.stderr


def test_where_the_package_is(batched_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Python leaves out of its path is no harm, and neither is a working folder that has changed."""
    monkeypatch.setattr(
        sys, "path", [Path("nowhere"), "", *(folder for folder in sys.path if Path(folder) != Path.cwd())]
    )
    bundle = batched_bundle.absolute()
    monkeypatch.chdir(tmp_path)
    with Recognizer(bundle, backend="onnxruntime-cpu", max_streams=1) as recognizer:
        assert len(processes(recognizer)) == 1


def test_files_that_are_gone(batched_bundle: Path, tmp_path: Path) -> None:
    for name in ("bundle.json", "lm.kenlm", "lm_words.txt", "words.json"):
        (tmp_path / name).write_bytes((batched_bundle / name).read_bytes())
    opened = read_bundle(tmp_path)
    maker = DecoderMaker(tmp_path, opened, "ctc", "default")
    (tmp_path / "lm.kenlm").unlink()
    searching = SearchProcesses(maker, len(opened.vocabulary) + 1, 1)
    with pytest.raises(InputError, match=r"lm\.kenlm"):
        searching.wait()
    decoder = searching.new_decoder(0.0, None)
    with pytest.raises(InputError, match=r"lm\.kenlm"):
        decoder.finish()
    searching.close()


@pytest.mark.parametrize("started", range(3))
def test_too_few_threads(batched_bundle: Path, monkeypatch: pytest.MonkeyPatch, started: int) -> None:
    """It is said in one line, those that started end, and later there may be enough."""
    begun: list[threading.Thread] = []

    def start(thread: threading.Thread) -> None:
        if len(begun) == started:
            raise RuntimeError("can't start new thread")
        begun.append(thread)
        starts(thread)

    starts = threading.Thread.start
    with Recognizer(batched_bundle, backend="onnxruntime-cpu", lm="none", max_streams=2) as recognizer:
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", start)
            with pytest.raises(
                LostError, match=r"^expected room for the threads of many streams, found none: can't start"
            ):
                recognizer.scheduler  # noqa: B018
        for thread in begun:
            thread.join(TIMEOUT_S)
        assert [thread.is_alive() for thread in begun] == [False] * started
        assert recognizer.scheduler
