"""A full disk under export, calibration, build and bench: one line, exit code 2, no partial file, and what was whole stays so."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.stages import STAGES, Processes

pytestmark = pytest.mark.nemo


def contents(root: Path) -> dict[Path, bytes]:
    return {each.relative_to(root): each.read_bytes() for each in root.rglob("*") if each.is_file()}


@pytest.mark.parametrize("start", ["nothing", "an earlier run"])
@pytest.mark.parametrize("stage", STAGES)
def test_disk_full(
    stage: str, start: str, processes: Processes, base_of: Callable[[str, str], Path], tmp_path: Path
) -> None:
    base = base_of(stage, start)
    was = contents(base)
    for room in STAGES[stage].rooms:
        root = Path(shutil.copytree(base, tmp_path / str(room)))
        done = processes.run(stage, "run", root, room=room)
        assert done.code == 2, done.said
        assert "Traceback" not in done.said
        *_, error = done.said.splitlines()
        print(error)
        assert error.startswith("error: expected to write ")
        assert "found: File too large; make room there" in error
        found = contents(root)
        assert sorted(found) == sorted(was)
        assert found == was
    assert processes.run(stage, "run", root).code == 0
    assert processes.run(stage, "read", root).code == 0
