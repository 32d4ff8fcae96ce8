"""Provenance: the commit as it is, no path of this machine, a GPU's words read right."""

import os
import subprocess
from pathlib import Path

import pytest

from bench import machine as provenance
from bench import process


def git(*words: str) -> None:
    subprocess.run(["git", "-c", "user.name=t", "-c", "user.email=t@t", *words], check=True, capture_output=True)


def test_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert provenance.commit() is None
    git("init")
    assert provenance.commit() is None
    Path("a.py").write_text("a")
    git("add", ".")
    git("commit", "-m", "a")
    clean = provenance.commit()
    assert clean is not None
    assert len(clean) == 40
    Path("bench/results").mkdir(parents=True)
    Path("bench/results/a.json").write_text("{}")
    Path("RESULTS.md").write_text("new")
    assert provenance.commit() == clean
    Path("a.py").write_text("b")
    assert provenance.commit() == f"{clean}-dirty"
    git("commit", "-am", "b")
    assert not str(provenance.commit()).endswith("-dirty")
    with monkeypatch.context() as patch:
        patch.setattr(provenance, "output", lambda *words: process.output(*words) if "rev-parse" in words else None)
        assert str(provenance.commit()).endswith("-dirty"), "git did not say what it found"
    Path("new.py").write_text("not added")
    assert str(provenance.commit()).endswith("-dirty")


def test_the_commit_is_read_without_a_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bench that is killed, or finds the disk full, must not leave the repository locked: it does not write there."""
    monkeypatch.chdir(tmp_path)
    git("init")
    Path("a.py").write_text("a")
    git("add", ".")
    git("commit", "-m", "a")
    index = Path(".git/index").read_bytes()
    os.utime("a.py", (1_000_000_000, 1_000_000_000))  # which a status would note in the index
    assert not str(provenance.commit()).endswith("-dirty")
    assert Path(".git/index").read_bytes() == index


def test_the_command_names_no_place_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    command = provenance.command(["run", "--eval", str(tmp_path / "my data"), "--limit", "3"])
    assert command == "python -m bench run --eval 'my data' --limit 3"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{here}/build/bundles/small/bundle.json: broken", "build/bundles/small/bundle.json: broken"),
        ("build/a.json and data/b.json", "build/a.json and data/b.json"),
        ("cannot start /opt/alice/venv/bin/python", "cannot start python"),
        ("expected to write /home/alice/out/a.json, found: none", "expected to write a.json, found: none"),
        ("{home}/speech/manifest_en.jsonl:3: no", "manifest_en.jsonl:3: no"),
        ("no room in {home}", "no room in ~"),
        ("../../alice/speech", "speech"),
        ("--eval=/home/alice/speech", "--eval=speech"),
        ("'/home/alice/a', \"/b/c\"", "'a', \"c\""),
        ("p50 / p95 of 3/4 from https://example.org/a/b", "p50 / p95 of 3/4 from https://example.org/a/b"),
    ],
)
def test_no_folder_outside_the_checkout_is_told(
    text: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "checkout").mkdir()
    monkeypatch.chdir(tmp_path / "checkout")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert provenance.without_folders(text.format(here=Path.cwd(), home=tmp_path)) == said
    monkeypatch.setenv("HOME", "/")
    assert provenance.without_folders("no room in build/a") == "no room in build/a"


def fake_smi(answers: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (process, provenance):
        monkeypatch.setattr(
            module, "output", lambda *words: next((answers[key] for key in answers if key in words[1]), None)
        )


def test_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_smi({"--query-gpu": "NVIDIA H100, 580.1, 1980, 700.00\nNVIDIA H100, 580.1, 345, 700.00"}, monkeypatch)
    found = provenance.collect([], [])
    assert (found.gpu, found.driver, found.sm_clock_mhz, found.power_w) == ("NVIDIA H100", "580.1", 1980, 700)
    fake_smi({"--query-gpu": "Tesla T4, 580.1, [N/A], [N/A]"}, monkeypatch)
    found = provenance.collect([], [])
    assert (found.gpu, found.sm_clock_mhz, found.power_w) == ("Tesla T4", None, None)


def test_no_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_smi({}, monkeypatch)
    found = provenance.collect(["run"], [])
    assert (found.gpu, found.driver, found.sm_clock_mhz, found.power_w) == (None, None, None, None)
    assert found.command == "python -m bench run"
    assert "cores" in found.cpu
    assert process.gpu_memory_mb() is None


@pytest.mark.parametrize(
    ("answer", "expected"),
    [("1, 10\n{pid}, 512", 536.870912), ("1, 10", None), ("{pid}, [N/A]", None), ("", None)],
)
def test_gpu_memory(answer: str, expected: float | None, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_smi({"--query-compute-apps": answer.format(pid=os.getpid())}, monkeypatch)
    assert process.gpu_memory_mb() == expected


def test_host_memory() -> None:
    assert 10 < process.peak_host_memory_mb() < 1e6
