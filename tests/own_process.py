"""`own_process`: a test whose call runs in a process of its own, with a time limit; its fixtures are made and undone in pytest's.

For TensorRT-RTX: it was once seen to wait for itself for ever, and says at its process's exit what it did not free.
"""

import faulthandler
import os
import sys
import traceback
import warnings
from typing import NoReturn

import pytest

LIMIT_S = 120.0
FAILED, SKIPPED = 1, 2  # exit codes


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", f"own_process: run in a process of its own, for at most {LIMIT_S:.0f} s")


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    if pyfuncitem.get_closest_marker("own_process") is None:
        return None
    faulthandler.cancel_dump_traceback_later()  # pytest's: its thread would be missing in the fork, and waited for
    reads, writes = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Python 3.12's of threads: those of onnxruntime's pools, which hold no lock
        child = os.fork()
    if not child:
        _call(pyfuncitem, writes)
    os.close(writes)
    with os.fdopen(reads, "r", encoding="utf-8", errors="replace") as pipe:
        said = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code == SKIPPED:
        pytest.skip(said)
    if code:
        pytest.fail(said or f"its process ended with {code}", pytrace=False)
    return True


def _call(item: pytest.Function, writes: int) -> NoReturn:
    """Do the test; say on the pipe what went wrong. After the limit: where each thread stands."""
    code, said = FAILED, ""
    try:
        faulthandler.dump_traceback_later(LIMIT_S, exit=True, file=writes)
        item.obj(**{name: item.funcargs[name] for name in item._fixtureinfo.argnames})
        code = 0
    except pytest.skip.Exception as skipped:
        code, said = SKIPPED, str(skipped)
    except BaseException:  # noqa: BLE001 -- all of it is the test's
        said = str(item.repr_failure(pytest.ExceptionInfo.from_current())) or traceback.format_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        os.write(writes, said.encode("utf-8", "replace"))
        os._exit(code)
