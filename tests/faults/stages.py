"""Each stage that writes, at a toy size, in a process of its own: to be killed, or to find the disk full."""

import copy
import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import calibration.speech
import engines.__main__ as engines_main
from bench.__main__ import run as run_bench
from bench.results import read_results
from calibration.__main__ import parse_args as calibration_args
from calibration.__main__ import run as run_calibration
from calibration.record import calibration_path, read_calibration
from engines.target import turing_without_gpu
from runtime.bundle import checked_file, read_bundle, write_manifest
from runtime.errors import exit_code
from runtime.files import sha256
from runtime.stamp import check_stamp, plan_path, read_stamp
from tests.calibration.conftest import _write, toy_model, write_toy
from tests.forks import LIMIT_S, Ended, Server

if TYPE_CHECKING:
    from export.checkpoint import Checkpoint

EVENTS = {"open", "os.mkdir", "os.rename", "os.remove", "os.rmdir"}  # of Python's audit, before what they name is done


def _toy_checkpoint(_: str) -> "Checkpoint":
    from export.checkpoint import RANDOM_CONFIG, random_checkpoint

    sizes = {"n_layers": 1, "d_model": 32, "n_heads": 4, "subsampling_conv_channels": 8, "feat_out": -1}
    config = copy.deepcopy(RANDOM_CONFIG)
    config["encoder"] |= sizes
    config["decoder"]["prednet"]["pred_hidden"] = config["joint"]["jointnet"]["joint_hidden"] = 8
    made = random_checkpoint("toy", "0" * 64, config, 16)
    # A transducer's files are written as the others are, and take seconds more.
    architecture = replace(made.architecture, transducer=None)
    return replace(made, architecture=architecture, prediction=None, joint=None)


def _toy_bundle(root: Path) -> Path:
    return root / "bundles" / "toy-80ms"


def _export(root: Path) -> None:
    import export.__main__ as export_main
    import export.bundle
    import export.parity

    # In this process alone. A second of noise, as the time here is to go to what is written.
    vars(export.bundle)["load_checkpoint"] = _toy_checkpoint
    vars(export.parity)["seeded_noise"] = lambda: np.random.default_rng(0).normal(0, 0.1, 16_077).astype(np.float32)
    export_main.run(export_main.parse_args(["--model", "toy", "--out", str(root / "bundles")]))


def _outdated_export(root: Path) -> None:
    bundle = read_bundle(_toy_bundle(root))
    write_manifest(_toy_bundle(root), bundle.model_copy(update={"exporter": "1" * 64}))


def _read_export(root: Path) -> None:
    bundle = read_bundle(_toy_bundle(root))
    for each in (*bundle.steps.values(), *(bundle.rnnt or {}).values()):
        checked_file(_toy_bundle(root), each)
    assert set(bundle.parity) == {"fp32", "fp16"}


def _before_calibration(root: Path) -> None:
    write_toy(_toy_bundle(root), toy_model())
    (root / "asr_calib" / "noise").mkdir(parents=True)
    lines = [
        _write(root / "asr_calib" / "noise", number, seconds, speaker=f"speaker {number}")
        for number, seconds in enumerate((5, 5, 2))
    ]
    (root / "asr_calib" / "noise" / "manifest_en.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in lines))


def _calibrate(root: Path, *more: str) -> None:
    vars(calibration.speech)["MINIMUM_MINUTES"] = 0.15  # in this process alone
    words = ["--bundle", str(_toy_bundle(root)), "--data", str(root / "asr_calib"), *more]
    run_calibration(calibration_args(words))


def _outdated_calibration(root: Path) -> None:
    _calibrate(root, "--minutes", "0.15", "--method", "max")


def _read_calibration(root: Path) -> None:
    bundle = read_bundle(_toy_bundle(root))
    read_calibration(calibration_path(_toy_bundle(root)), bundle)
    checked_file(_toy_bundle(root), bundle.step("int8"))


def _before_build(root: Path) -> None:
    folder = write_toy(_toy_bundle(root), toy_model())
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT16, [1, 64]) for name in "xy")
    weight = numpy_helper.from_array(np.eye(64, dtype=np.float16), "w")
    graph = helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "step", [x], [y], [weight])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "half.onnx")
    bundle = read_bundle(folder)
    half = bundle.steps["fp16"].model_copy(update={"file": "half.onnx", "sha256": sha256(folder / "half.onnx")})
    write_manifest(folder, bundle.model_copy(update={"steps": {**bundle.steps, "fp16": half}}))


def _build(root: Path) -> None:
    words = ["--bundle", str(_toy_bundle(root)), "--precision", "fp16", "--for", "sm75", "--level", "0"]
    engines_main.run(engines_main.parse_args(words))


def _plan(root: Path) -> Path:
    return turing_without_gpu("fp16").named(plan_path(_toy_bundle(root), "fp16"))


def _outdated_build(root: Path) -> None:
    words = ["--bundle", str(_toy_bundle(root)), "--precision", "fp16", "--for", "sm75", "--level", "1"]
    engines_main.run(engines_main.parse_args(words))


def _read_build(root: Path) -> None:
    entry, target = read_bundle(_toy_bundle(root)).step("fp16"), turing_without_gpu("fp16")
    check_stamp(read_stamp(_plan(root)), _plan(root), entry, "fp16", target.platform)


def _before_bench(root: Path) -> None:
    write_toy(_toy_bundle(root), toy_model())


def _bench(root: Path) -> None:
    words = ["--bundle", str(_toy_bundle(root)), "--eval", "data/sample", "--limit", "1", "--mode", "utterance"]
    words += ["--backend", "onnxruntime-cpu", "--name", "toy", "--out", str(root / "results")]
    run_bench(words)


def _read_bench(root: Path) -> None:
    assert list(read_results(root / "results")) in ([], ["toy"])


@dataclass(frozen=True)
class Stage:
    """How a stage is run and what it leaves is read. Each takes the folder that all of it lies in."""

    before: Callable[[Path], None]
    """Make what the stage starts from."""
    run: Callable[[Path], None]
    """As `make` runs it."""
    outdate: Callable[[Path], None]
    """Make what it left something that the next run makes again."""
    read: Callable[[Path], None]
    """As what comes after it reads; raises InputError for what is not there or not whole."""
    rooms: tuple[int, ...]
    """Bytes that a file may have on a disk that is full."""


STAGES = {
    "export": Stage(lambda root: None, _export, _outdated_export, _read_export, (1, 5000, 100_000)),  # noqa: ARG005
    "calibration": Stage(_before_calibration, _calibrate, _outdated_calibration, _read_calibration, (1, 1000)),
    "build": Stage(_before_build, _build, _outdated_build, _read_build, (1, 5000)),
    "bench": Stage(_before_bench, _bench, lambda root: None, _read_bench, (1, 1000)),  # noqa: ARG005
}


@dataclass(frozen=True)
class Done:
    """A stage's process at its end."""

    code: int
    """Exit code; negative: the signal that killed it."""
    said: str
    """On stdout and stderr."""
    moments: int
    """Changes to files and folders of its own, until it ended."""


def act(name: str, action: str, folder: str, kill_at: int, room: int, number: int) -> int:  # noqa: PLR0917
    """Do a stage's action; see `Processes.run`. Prints, at the end, the moments."""
    moments = 0

    def hook(event: str, of: tuple[object, ...]) -> None:
        nonlocal moments
        if event not in EVENTS or not str(of[0]).startswith(folder) or (event == "open" and "w" not in str(of[1])):
            return
        moments += 1
        if moments == kill_at:
            os.kill(os.getpid(), number)

    sys.addaudithook(hook)
    if room:
        resource.setrlimit(resource.RLIMIT_FSIZE, (room, room))  # a write beyond it fails, as on a full disk
    code = exit_code(lambda: getattr(STAGES[name], action)(Path(folder)))
    print(f"\0{moments}", end="")
    return code


IMPORTED = ("soxr", "bench.pages.terminal", "engines.build", "tensorrt_rtx", __name__)
"""What a stage imports, some of it as it runs."""


class Processes:
    """Makes processes of stages, of which the first takes the seconds that the imports take."""

    def __init__(self) -> None:
        self._server = Server(*IMPORTED)

    @cached_property
    def _exporting(self) -> Server:
        return Server("nemo.collections.asr.modules", "librosa.filters", "export.bundle", *IMPORTED)

    def run(  # noqa: PLR0917
        self,
        stage: str,
        action: str,
        root: Path,
        kill_at: int = 0,
        kill_after_s: float | None = None,
        room: int = 0,
        number: int = signal.SIGKILL,
    ) -> Done:
        """Do a stage's action in a process of its own.

        Args:
            stage: of STAGES.
            action: the name of one of its functions.
            root: the folder that all of it lies in.
            kill_at: kill it before that change to a file or folder; 0: never.
            kill_after_s: kill -9 after so many seconds; None: never.
            room: bytes that no file may be longer than; 0: any.
            number: of the signal at `kill_at`.
        """
        limit_s = LIMIT_S if kill_after_s is None else kill_after_s
        server, call = self._server_of(stage, action), (f"{__name__}:act", stage, action, str(root))
        ended = server.run(*call, kill_at, room, int(number), limit_s=limit_s)
        assert kill_after_s is not None or not ended.late, f"{stage} {action}: not done after {LIMIT_S:.0f} s"
        return _done(ended)

    def run_twice_at_once(self, stage: str, root: Path) -> list[Done]:
        """Run a stage in two processes at the same time."""
        call = (f"{__name__}:act", stage, "run", str(root), 0, 0, int(signal.SIGKILL))
        return [_done(each) for each in self._server_of(stage, "run").run_at_once(2, *call)]

    def _server_of(self, stage: str, action: str) -> Server:
        return self._exporting if (stage, action) == ("export", "run") else self._server


def _done(ended: Ended) -> Done:
    said, _, moments = ended.out.partition("\0")
    return Done(ended.code, said + ended.err, int(moments or 0))
