"""Bundles and NeMo's modules that several tests share; each is made once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    import numpy as np

    from export.checkpoint import Checkpoint
    from export.parity import Reference

pytest_plugins = ["tests.browser", "tests.collector", "tests.own_process", "tests.quick", "tests.sharing"]

# Before anything heavy is imported, which is why nothing is here: pools of threads that wait by spinning cost more than they compute.
os.environ["OMP_NUM_THREADS"] = "1"

# A shell without job control leaves what it starts in the background deaf to Ctrl-C, and all that this starts in turn.
signal.signal(signal.SIGINT, signal.default_int_handler)

BUNDLES = Path("build/bundles")
LAYERS = 2  # of the shallow bundle, out of 14


@pytest.fixture(scope="session", autouse=True)
def _cheap() -> Iterator[None]:
    from tests.collector import nothing_more_spared
    from tests.remembering import remember_hashes, remember_sessions, remember_steps
    from tests.threads import one_thread_a_session

    with pytest.MonkeyPatch.context() as patch:
        one_thread_a_session(patch)
        remember_steps(patch)
        remember_sessions(patch)
        remember_hashes(patch)
        nothing_more_spared(patch)
        yield


@pytest.fixture
def every_step_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of onnxruntime itself, such as of what its steps leave behind or of threads, which remembered results would pass."""
    monkeypatch.setattr("tests.remembering.KEPT_BYTES", 0)


@cache
def exported(model: str, lookahead_ms: int, *, batched: bool = False) -> Path:
    """The bundle's folder, as `make export` leaves it; in a place of its own where the step over many streams is in it."""
    from export.bundle import bundle_folder, export_bundle, is_current
    from runtime.files import alone

    bundles = BUNDLES.with_name("batched") if batched else BUNDLES
    folder = bundle_folder(bundles, model, lookahead_ms)
    if not is_current(folder, model, batched=batched):
        with alone(bundles):
            if not is_current(folder, model, batched=batched):  # another process of this run made it meanwhile
                export_bundle(model, lookahead_ms, bundles, batched=batched)
    return folder


@pytest.fixture(scope="session")
def bundle_of() -> Callable[[str, int], Path]:
    """Model and look-ahead in ms to the bundle's folder."""
    return exported


@pytest.fixture(scope="session")
def bundle_at() -> Callable[[int], Path]:
    """Look-ahead in ms to the embedded checkpoint's bundle."""
    from export.checkpoint import EMBEDDED

    return lambda lookahead_ms: exported(EMBEDDED, lookahead_ms)


@pytest.fixture(scope="session")
def bundle(bundle_at: Callable[[int], Path]) -> Path:
    """The embedded checkpoint's bundle at 80 ms."""
    return bundle_at(80)


@pytest.fixture
def manifest_of_one(bundle: Path, tmp_path: Path) -> Path:
    """Folder with a manifest as an export writes it where nothing more is asked for; the shared bundle may have been given more steps."""
    from runtime.bundle import read_bundle, write_manifest

    made = read_bundle(bundle)
    steps = {precision: step for precision, step in made.steps.items() if precision != "int8"}
    folder = tmp_path / "manifest"
    folder.mkdir()
    write_manifest(folder, made.model_copy(update={"batched": None, "quantisation": None, "steps": steps}))
    return folder


@pytest.fixture(scope="session")
def batched_bundle() -> Path:
    """The same, with the step over many streams in it."""
    from export.checkpoint import EMBEDDED

    return exported(EMBEDDED, 80, batched=True)


@pytest.fixture(scope="session")
def shallow_bundle(request: pytest.FixtureRequest) -> Path:
    """The same of its first layers alone: for what is done to every layer alike, in a seventh of the time."""
    from copy import deepcopy
    from dataclasses import replace

    from export.bundle import bundle_folder, is_current, write_bundle
    from export.checkpoint import EMBEDDED
    from export.companions import companions
    from runtime.files import alone

    folder = bundle_folder(BUNDLES.with_name(f"layers-{LAYERS}"), EMBEDDED, 80)
    with alone(folder.parent):
        if not is_current(folder, EMBEDDED, batched=True):
            checkpoint: Checkpoint = request.getfixturevalue("checkpoint")
            encoder = deepcopy(checkpoint.encoder)
            encoder.layers = encoder.layers[:LAYERS]
            architecture = replace(checkpoint.architecture, layers=LAYERS)
            shallow = replace(checkpoint, encoder=encoder, architecture=architecture)
            write_bundle(shallow, 80, folder, companions(EMBEDDED, checkpoint.name, "none"), batched=True)
    return folder


@pytest.fixture(scope="session")
def rounding() -> None:
    """Skips where onnxruntime cannot run INT8."""
    from runtime.backends.onnxruntime import check_rounding
    from runtime.errors import InputError

    try:
        check_rounding()
    except InputError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def checkpoint() -> Checkpoint:
    """The embedded checkpoint in NeMo."""
    from export.checkpoint import EMBEDDED, load_checkpoint

    return load_checkpoint(EMBEDDED)


@pytest.fixture(scope="session")
def sample() -> list[tuple[str, np.ndarray]]:
    """Transcript and samples of each clip of data/sample."""
    from data.manifest import read_manifest
    from runtime.audio import load_audio

    return [(each.text, load_audio(each.audio)) for each in read_manifest(Path("data/sample/manifest_en.jsonl"))]


@pytest.fixture(scope="session")
def streamed(
    bundle: Path, sample: list[tuple[str, np.ndarray]], tmp_path_factory: pytest.TempPathFactory
) -> list[Reference]:
    """Frames of the sample's clips through the FP32 step of the embedded checkpoint's bundle at 80 ms.

    Of the processes that share the tests one computes them.
    """
    import numpy as np

    from export.parity import Recorder, Reference, stream_frames
    from runtime import Recognizer
    from runtime.backends import open_backend
    from runtime.bundle import read_bundle
    from runtime.files import alone

    own = tmp_path_factory.getbasetemp()
    folder = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "streamed"
    with alone(folder):
        if not (folder / "whole").exists():
            recorder = Recorder(open_backend(bundle, read_bundle(bundle), "onnxruntime-cpu", "fp32"))
            with Recognizer(bundle, backend=recorder, lm=None) as recognizer:
                for number, (_, audio) in enumerate(sample):
                    found = stream_frames(recognizer, recorder, audio, 320)
                    assert found.log_probs is not None
                    np.savez(folder / f"{number}.npz", encoded=found.encoded, log_probs=found.log_probs)
            (folder / "whole").touch()
    clips = [np.load(folder / f"{number}.npz") for number in range(len(sample))]
    return [Reference(clip["encoded"], clip["log_probs"]) for clip in clips]
