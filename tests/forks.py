"""Processes that have their imports already: forks of a server, which holds what they import and nothing else.

A fork of pytest's own process copies, page by page, what it touches of NeMo's modules and of all tests: that takes ten times as long.
"""

import atexit
import gc
import json
import os
import runpy
import select
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest

from tests.threads import one_thread_a_session

ROOT = Path(__file__).parents[1]
LIMIT_S = 120.0
FAILED = 1  # exit code


@dataclass(frozen=True)
class Ended:
    """A process at its end."""

    code: int
    """Exit code; negative: the signal that killed it."""
    late: bool
    """Whether it was killed because its time was up."""
    out: str
    err: str


class Server:
    """Forks processes that have imported these modules."""

    def __init__(self, *modules: str) -> None:
        program = f"import {', '.join([*modules, __name__])}; {__name__}._serve()"
        self._process = subprocess.Popen(
            [sys.executable, "-c", program], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        atexit.register(self._process.communicate)  # it ends where its input does

    def run(self, function: str, *arguments: object, limit_s: float = LIMIT_S) -> Ended:
        """Call `function`, as `module:name`, with arguments that JSON has, in a process whose exit code is what it returns.

        It has the working folder and the environment of this one, and `limit_s` seconds.
        """
        (ended,) = self.run_at_once(1, function, *arguments, limit_s=limit_s)
        return ended

    def run_at_once(self, processes: int, function: str, *arguments: object, limit_s: float = LIMIT_S) -> list[Ended]:
        """Do the same in so many processes at once."""
        request = {"function": function, "arguments": arguments, "limit_s": limit_s, "processes": processes}
        request |= {"cwd": str(Path.cwd()), "environment": dict(os.environ)}
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{json.dumps(request)}\n")
        self._process.stdin.flush()
        return [Ended(**each) for each in json.loads(self._process.stdout.readline())]


def _serve() -> None:
    one_thread_a_session(pytest.MonkeyPatch())
    gc.collect()
    gc.freeze()  # a collection would copy the pages of what was imported
    for line in sys.stdin:
        request = json.loads(line)
        with ThreadPoolExecutor(request["processes"]) as threads:
            started = [_started(request) for _ in range(request["processes"])]
            print(json.dumps(list(threads.map(_ended, started))), flush=True)
    os._exit(0)  # taking apart what was imported would take a second


@dataclass(frozen=True)
class _Child:
    """A process that was begun, the ends of its pipes, and when its time is up."""

    process: int
    out: int
    err: int
    deadline: float


def _started(request: dict[str, Any]) -> _Child:
    (out, out_end), (err, err_end) = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        _become(request, out_end, err_end)
    os.close(out_end)
    os.close(err_end)
    return _Child(child, out, err, time.monotonic() + request["limit_s"])


def _ended(child: _Child) -> dict[str, object]:
    said, open_ends = {child.out: b"", child.err: b""}, [child.out, child.err]
    late, deadline = False, child.deadline
    while open_ends:
        ready = select.select(open_ends, [], [], max(0.0, deadline - time.monotonic()))[0]
        if not ready and not late:
            late = True
            os.kill(child.process, signal.SIGKILL)
            deadline += LIMIT_S
        for end in ready:
            piece = os.read(end, 1 << 16)
            said[end] += piece
            if not piece:
                open_ends.remove(end)
                os.close(end)
    code = os.waitstatus_to_exitcode(os.waitpid(child.process, 0)[1])
    return {"code": code, "late": late, "out": said[child.out].decode(), "err": said[child.err].decode()}


def _become(request: dict[str, Any], out: int, err: int) -> None:
    code = FAILED
    try:
        for number, end in enumerate((os.open(os.devnull, os.O_RDONLY), out, err)):
            os.dup2(end, number)
            os.close(end)
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["environment"])
        call: Callable[..., int] = resolve_name(request["function"])
        code = call(*request["arguments"])
    except BaseException:  # noqa: BLE001 -- as the interpreter would
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os._exit(code)


def _module(name: str, *words: str) -> int:
    sys.argv = ["", *words]
    sys.modules.pop(_main(name), None)  # it is to be run, not only imported
    try:
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    except SystemExit as ended:
        if isinstance(ended.code, str):  # as the interpreter would
            print(ended.code, file=sys.stderr)
            return FAILED
        return ended.code or 0
    return 0


def _code(text: str) -> int:
    exec(text, {"__name__": "__main__"})  # noqa: S102 -- a test's
    return 0


def _main(module: str) -> str:
    """What `python -m MODULE` runs."""
    return f"{module}.__main__" if (ROOT / module.replace(".", "/")).is_dir() else module


@cache
def _server_of(module: str) -> Server:
    return Server(_main(module))


def command(module: str, *arguments: object) -> "subprocess.CompletedProcess[str]":
    """Do what `python -m MODULE ARGUMENTS` does."""
    words = list(map(str, arguments))
    return _completed(_server_of(module).run(f"{__name__}:_module", module, *words), module, *words)


def code(module: str, text: str) -> "subprocess.CompletedProcess[str]":
    """Do what `python -c TEXT` does, where the text imports what this module does."""
    return _completed(_server_of(module).run(f"{__name__}:_code", text), text)


def _completed(ended: Ended, *words: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.CompletedProcess(list(words), ended.code, ended.out, ended.err)
