"""Processes that share streams: one that ends is told in a line, and Ctrl-C is for the one that started them."""

import os
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing import active_children
from multiprocessing.connection import Connection
from pathlib import Path
from subprocess import PIPE, Popen
from typing import Any

import pytest

from bench.process import cpu_s
from bench.speech.share import feed_in_processes
from bench.speech.streams import Options
from runtime.errors import InputError, LostError

OPTIONS = Options(bundle=Path("none"), processes=2)
ASLEEP_S = 60
"""A process that would only end by itself."""


def ends_once_ready(end: Connection, options: Options, *_: object) -> None:
    if options.seed == OPTIONS.seed:
        end.send(None)
        os._exit(3)
    time.sleep(0.5)
    end.send(None)
    end.recv()


def ends_before_it_hears_to_begin(end: Connection, options: Options, *_: object) -> None:
    end.send(None)
    time.sleep(0.5 if options.seed == OPTIONS.seed else ASLEEP_S)
    os._exit(3)


def ends_while_it_feeds(end: Connection, *_: object) -> None:
    end.send(None)
    end.recv()
    os._exit(3)


@pytest.mark.parametrize("child", [ends_once_ready, ends_before_it_hears_to_begin, ends_while_it_feeds])
def test_a_process_that_ends(child: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.speech.share._feed", child)
    begun = time.monotonic()
    with pytest.raises(InputError, match="expected a process of streams to tell what it measured, found that it ended"):
        feed_in_processes(OPTIONS, [], 2, {})
    assert active_children() == []
    assert time.monotonic() - begun < ASLEEP_S, "the other one was waited for"


def cannot_open(*_: object) -> Any:  # noqa: ANN401
    raise LostError("expected the process of a search to go on, found it ended")


def has_no_room(end: Connection, options: Options, *_: object) -> None:
    from bench.speech import share

    vars(share)["opened"] = cannot_open
    share._feed(end, options, [], 1, {})


def test_what_a_process_fails_with(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("bench.speech.share._feed", has_no_room)
        with pytest.raises(LostError, match="found it ended"):
            feed_in_processes(OPTIONS, [], 2, {})


def tells_what_it_blocks(end: Connection, *_: object) -> None:
    end.send(None)
    end.recv()
    end.send(signal.pthread_sigmask(signal.SIG_BLOCK, []))


def test_an_interrupt_is_for_the_first_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal sends it to all: others would show where it struck them."""
    monkeypatch.setattr("bench.speech.share._feed", tells_what_it_blocks)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    blocked: list[Any] = feed_in_processes(OPTIONS, [], 2, {})
    assert all(signal.SIGINT in each for each in blocked)
    assert signal.SIGTERM not in blocked[0]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


def test_cores_of_processes_that_it_started() -> None:
    """Of searches too, which multiprocessing knows nothing of."""
    busy = "import time\nwhile time.process_time() < 0.5: pass\nprint(flush=True), input()"
    before = cpu_s()
    with Popen([sys.executable, "-c", busy], stdin=PIPE, stdout=PIPE) as child:
        assert child.stdout
        child.stdout.readline()
        took = cpu_s() - before
        child.communicate(b"\n")
    print(f"{took:.2f} s, of which the other process 0.5 s")
    assert took >= 0.48  # the kernel counts in hundredths
