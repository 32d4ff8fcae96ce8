"""kill -9 in the midst of export, calibration, build and bench: nothing half is ever read, and the next run makes it whole.

Ctrl-C and SIGTERM leave nothing half either.
"""

import random
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.faults.stages import STAGES, Processes

pytestmark = pytest.mark.nemo

# How many of the moments before a change to a file or folder, by stage and start.
MOMENTS = pytest.mark.parametrize(
    "most", [pytest.param(3, id="some moments"), pytest.param(1000, id="every moment", marks=pytest.mark.soak)]
)


def leftovers(root: Path) -> list[str]:
    return sorted(str(each.relative_to(root)) for each in root.rglob("*.part"))


@MOMENTS
@pytest.mark.parametrize("start", ["nothing", "an earlier run"])
@pytest.mark.parametrize("stage", STAGES)
def test_killed(  # noqa: PLR0917 -- fixtures
    stage: str, start: str, most: int, processes: Processes, base_of: Callable[[str, str], Path], tmp_path: Path
) -> None:
    seeded = random.Random(f"{stage} {start}")
    base = base_of(stage, start)
    root = Path(shutil.copytree(base, tmp_path / "whole"))
    whole = processes.run(stage, "run", root)
    assert whole.code == 0, whole.said
    assert whole.moments >= 3
    for moment in sorted(seeded.sample(range(1, whole.moments + 1), min(most, whole.moments))):
        root = Path(shutil.copytree(base, tmp_path / str(moment)))
        assert processes.run(stage, "run", root, kill_at=moment).code == -9
        left = leftovers(root)
        read = processes.run(stage, "read", root)
        print(
            f"{stage} over {start}, killed before change {moment} of {whole.moments}: left {left}; {read.said.strip()}"
        )
        assert read.code in (0, 2), read.said  # whole, or refused in one line
        assert read.said.count("\n") == (read.code == 2)
        again = processes.run(stage, "run", root)
        assert again.code == 0, again.said
        assert processes.run(stage, "read", root).code == 0
        # Killed once the new one was there, before the old one was gone: there is nothing to make, the next one made removes it.
        assert [each for each in leftovers(root) if not each.endswith(".old.part")] == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
@pytest.mark.parametrize("stage", STAGES)
def test_stopped(
    stage: str, number: signal.Signals, processes: Processes, base_of: Callable[[str, str], Path], tmp_path: Path
) -> None:
    base = base_of(stage, "nothing")
    for moment in (1, 2, 4):
        root = Path(shutil.copytree(base, tmp_path / str(moment)))
        done = processes.run(stage, "run", root, kill_at=moment, number=number)
        assert done.code == 128 + number, done.said
        assert "error" not in done.said
        assert "Traceback" not in done.said
        assert leftovers(root) == []
        read = processes.run(stage, "read", root)
        assert read.code in (0, 2), read.said


@pytest.mark.parametrize("stage", STAGES)
def test_killed_at_any_time(stage: str, processes: Processes, tmp_path: Path) -> None:
    seeded = random.Random(stage)
    assert processes.run(stage, "before", tmp_path).code == 0
    for _ in range(3):  # over what the one before left
        done = processes.run(stage, "run", tmp_path, kill_after_s=seeded.uniform(0.02, 0.4))
        assert done.code in (-9, 0), done.said
        read = processes.run(stage, "read", tmp_path)
        assert read.code in (0, 2), read.said
        assert read.said.count("\n") == (read.code == 2)
    assert processes.run(stage, "run", tmp_path).code == 0
    assert processes.run(stage, "read", tmp_path).code == 0
    assert [each for each in leftovers(tmp_path) if not each.endswith(".old.part")] == []
