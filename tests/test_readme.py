"""The README's Python runs as it stands, and every link and make verb in the documents is there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

DOCUMENTS = ["README.md", "DESIGN.md", "RESULTS.md", "data/sample/README.md"]


BLOCKS = re.findall(r"```python\n(.*?)```", Path("README.md").read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("block", BLOCKS, ids=["stream", "conversation"])
def test_python_block_runs(bundle: Path, block: str) -> None:
    assert bundle.is_dir()
    done = subprocess.run(
        [sys.executable, "-c", block], capture_output=True, text=True, check=False, env={}
    )  # no PATH: no GPU is found
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) > 3
    assert len(lines[-1]) >= len(lines[0]) > 0


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_and_verbs_exist(document: str) -> None:
    text = Path(document).read_text()
    for target in re.findall(r"\]\(([^)#]+)\)", text):
        assert (Path(document).parent / target).exists(), target
    verbs = set(re.findall(r"^([a-z]+):", Path("Makefile").read_text(), re.MULTILINE))
    for verb in re.findall(r"`make ([a-z]+)|^    make ([a-z]+)", text, re.MULTILINE):
        assert "".join(verb) in verbs, verb
