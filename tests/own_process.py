"""Forks of pytest's own process, which have its imports already.

`own_process` marks a test whose call runs in one, with a time limit, its fixtures made and undone in pytest's. It is for TensorRT-RTX:
that was once seen to wait for itself for ever, and says at its process's exit what it did not free.
"""

import faulthandler
import gc
import os
import sys
import warnings
from collections.abc import Callable
from tempfile import TemporaryFile

import pytest

LIMIT_S = 300.0
FAILED, SKIPPED = 1, 2  # exit codes


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"own_process: run in a process of its own, for at most {LIMIT_S:.0f} s")


def forked(call: Callable[[], int], traces: int) -> int:
    """Return the exit code of a process that makes this call and ends; after the limit, where its threads stand is in the file `traces`.

    A fork is safe here because pools of threads are not there: see conftest.py.
    """
    faulthandler.cancel_dump_traceback_later()  # pytest's: its thread would be missing in the fork, and waited for
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python 3.12's of any thread that there is
        child = os.fork()
    if not child:
        code = FAILED
        try:
            faulthandler.dump_traceback_later(LIMIT_S, exit=True, file=traces)
            gc.freeze()  # a collection of what pytest's process made would copy its pages
            code = call()
            for stream in (sys.stdout, sys.stderr):
                stream.flush()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if pyfuncitem.get_closest_marker("own_process") is None:
        return None
    with TemporaryFile("w+", encoding="utf-8", errors="replace") as file:

        def call() -> int:
            try:
                pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in pyfuncitem._fixtureinfo.argnames})
            except pytest.skip.Exception as skipped:
                print(skipped, end="", file=file, flush=True)
                return SKIPPED
            except BaseException:  # noqa: BLE001 -- all of it is the test's
                print(pyfuncitem.repr_failure(pytest.ExceptionInfo.from_current()), file=file, flush=True)
                return FAILED
            return 0

        code = forked(call, file.fileno())
        file.seek(0)
        said = file.read()
    if code == SKIPPED:
        raise pytest.skip.Exception(said, _use_item_location=True)
    if code:
        pytest.fail(said or f"its process ended with {code}", pytrace=False)
    return True
