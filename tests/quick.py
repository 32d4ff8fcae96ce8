"""`pytest --quick`: what needs neither torch nor NeMo, whose modules are not even imported; the run fails if something imports them.

What makes environments of packages is left out, too.
It may be run by several processes (pytest-xdist), each of which says what imported them there.
"""

import sys
from pathlib import Path

import pytest

FIXTURES = {
    "bundle_of",
    "bundle_at",
    "bundle",
    "batched_bundle",
    "shallow_bundle",
    "checkpoint",
}  # they load checkpoints
MARKED = "pytestmark = pytest.mark.nemo"  # a module that imports torch or NeMo
HEAVY = ("torch", "nemo")

importers: list[str] = []


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--quick", action="store_true", help="leave out what needs torch or NeMo")


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "nemo: needs torch or NeMo; left out by --quick")
    config.addinivalue_line("markers", "environments: makes or resolves environments of packages; left out by --quick")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    quick = config.option.quick and collection_path.suffix == ".py"
    return True if quick and MARKED in collection_path.read_text("utf-8").splitlines() else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if FIXTURES.intersection(getattr(item, "fixturenames", ())):
            item.add_marker("nemo")
    if config.option.quick:
        left = {item for item in items if any(map(item.get_closest_marker, ("nemo", "environments")))}
        config.hook.pytest_deselected(items=list(left))
        items[:] = [item for item in items if item not in left]


def pytest_collectreport(report: pytest.CollectReport) -> None:
    _watch(report.nodeid)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _watch(report.nodeid)


def _watch(nodeid: str) -> None:
    if not importers and not sys.modules.keys().isdisjoint(HEAVY):
        importers.append(nodeid)


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    if session.config.option.quick and importers:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
    getattr(session.config, "workeroutput", {})["importers"] = importers


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object) -> None:
    importers.extend(vars(node)["workeroutput"]["importers"])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if config.option.quick and importers:
        terminalreporter.write_line(
            f"FAILED the quick run: {importers[0]} imported torch or NeMo; mark it with {MARKED.removeprefix('pytestmark = ')}",
            red=True,
        )
