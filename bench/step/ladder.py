"""The ladder: the step from NeMo's own encoder to the runtime on one GPU, each variant in a fresh process, one result file."""

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from bench.child import run_child
from bench.figures import definitions, shown
from bench.machine import collect
from bench.results import ResultFile, StepRow, result_path, write_result
from bench.session import FileOptions, Written
from bench.step.encoder_config import encoder_config
from bench.step.step_times import check_steps, read_measurement, step_rows
from bench.step.variants import RUNTIME, VARIANTS, Variant
from runtime.backends import default_backend
from runtime.bundle import Bundle, read_bundle
from runtime.errors import InputError

LOAD_S = 300.0
"""Seconds that a variant's process may take beside its steps."""


@dataclass(frozen=True, kw_only=True)
class Options(FileOptions):
    """What to measure and with what."""

    bundle: Path
    """Folder made by `make export`."""
    steps: int = 1000
    """Steps back to back; a fifth of them at the pace of speech."""
    peer_python: str | None = None
    """Command of an interpreter with torch, NeMo's encoder and onnxruntime-gpu, such as python3.11 or
    env -u PYTHONHOME python3 (default: this one)."""
    encoder_config: Path | None = None
    """JSON of NeMo's encoder, made by `python -m bench.step.encoder_config` (default: read with NeMo)."""


@dataclass(frozen=True)
class Ladder:
    """A bundle's ladder, and where its processes leave what they measured."""

    options: Options
    bundle: Bundle
    folder: Path

    @property
    def chunk_s(self) -> float:
        """Seconds of audio in a step."""
        return self.bundle.chunk_samples / self.bundle.sample_rate

    def command(self, variant: Variant, out: Path) -> list[str]:
        """Return what runs a variant. Raises InputError where NeMo's encoder has no configuration."""
        options, bundle = self.options, self.bundle
        measure = ["--precision", variant.precision, "--steps", str(options.steps), "--out", str(out)]
        measure += ["--graph"] if variant.graph else []
        python = [sys.executable]
        if options.peer_python is not None and variant.backend != "tensorrt":
            python = shlex.split(options.peer_python)
        if variant.backend == "torch":
            shape = ["--lookahead-frames", str(bundle.lookahead_ms // bundle.encoder_frame_ms)]
            shape += ["--chunk-s", str(self.chunk_s)]
            return [*python, "-m", "bench.step.nemo_peer", "--config", str(self._encoder_config()), *shape, *measure]
        measure += ["--host-state"] if variant.host_state else []
        measure += ["--pinned"] if variant.pinned else []
        opened = ["--bundle", str(options.bundle), "--backend", variant.backend]
        return [*python, "-m", "bench.step.worker", *opened, *measure]

    def measure(self, variant: Variant) -> list[StepRow]:
        """Run a variant in its process. Raises InputError where that fails."""
        out = self.folder / f"{VARIANTS.index(variant)}.json"
        limit_s = LOAD_S + 2 * self.options.steps * self.chunk_s  # a step that takes longer than its chunk is of no use
        run_child(self.command(variant, out), limit_s, graph=variant.graph)
        measured = read_measurement(out)
        rows = step_rows(self.options.bundle, self.bundle, variant.precision, variant.backend, measured)
        labels = {"rung": variant.label, "what": variant.what}
        labels |= {"weights": "random"} if variant.backend == "torch" else {}
        return [row.with_(**labels) for row in rows]

    def _encoder_config(self) -> Path:
        if self.options.encoder_config is not None:
            return self.options.encoder_config
        path = self.folder / "encoder.json"
        if not path.exists():
            path.write_text(json.dumps(encoder_config(self.bundle.checkpoint.name)), encoding="utf-8")
        return path


def run(options: Options, argv: Sequence[str], console: Console) -> Written:
    """Measure variant by variant and write the result file; a variant that fails is in its `left_out`.

    Raises:
        InputError: bad options or bundle, no GPU, or no variant that ran; nothing is written then.
    """
    check_steps(options.steps)
    bundle = read_bundle(options.bundle)
    bundle.check_ctc("the ladder")
    path = result_path(options.out, options.name or f"{bundle.checkpoint.name}-{bundle.lookahead_ms}ms-ladder")
    if options.encoder_config is not None and not options.encoder_config.is_file():
        raise InputError(f"--encoder-config: expected a JSON file, found none at {options.encoder_config}")
    if default_backend() != "tensorrt":
        raise InputError("expected an NVIDIA GPU that nvidia-smi lists, found none; the ladder is measured on one")
    rows: list[StepRow] = []
    left_out: dict[str, str] = {}
    with TemporaryDirectory() as folder:
        ladder = Ladder(options, bundle, Path(folder))
        for number, variant in enumerate(VARIANTS, 1):
            place = f"{number}/{len(VARIANTS)} {variant.name}"
            with console.status(place):
                try:
                    measured = ladder.measure(variant)
                except InputError as error:
                    measured, left_out[variant.name] = [], str(error)
                    console.print(f"{place}: left out: {error}", highlight=False, markup=False)
            rows += measured
            for row in measured:
                step = shown([row.step_ms_p50, row.step_ms_p95, row.step_ms_p99], 3)
                console.print(f"{place}, {row.pace}: step {step} ms (p50 / p95 / p99)", highlight=False, markup=False)
        provenance = collect(argv, [])
    if not rows:
        raise InputError(f"no rung of the ladder ran; the last, {VARIANTS[-1].name}: {left_out[VARIANTS[-1].name]}")
    rows = _compared(rows)
    result = ResultFile(provenance=provenance, rows=[*rows], definitions=definitions(rows), left_out=left_out)
    write_result(path, result)
    return Written(path, result)


def _compared(rows: list[StepRow]) -> list[StepRow]:
    """Return the rows with what others of them say: kernels of the same plan, times the runtime's p50."""
    kernels = {row.precision: row.launches_per_step for row in rows if row.backend == "tensorrt" and row.cuda_graph}
    runtime = {
        row.pace: row.step_ms_p50 for row in rows if (row.rung, row.precision) == (RUNTIME.label, RUNTIME.precision)
    }
    compared = []
    for row in rows:
        launches, reference = row.launches_per_step, runtime.get(row.pace)
        if row.backend == "tensorrt" and launches is None:
            launches = kernels.get(row.precision)
        times = round(row.step_ms_p50 / reference, 3) if row.step_ms_p50 and reference else None
        compared.append(row.with_(launches_per_step=launches, times_runtime=times))
    return compared
