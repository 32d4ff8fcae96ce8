"""The ladder: the step from NeMo's own encoder to the runtime on one GPU, each rung in a fresh process, one result file."""

import json
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import TypeAdapter
from rich.console import Console

from bench.child import run_child
from bench.machine import collect
from bench.results import DEFINITIONS, ResultFile, Row, result_path, write_result
from bench.step.encoder_config import encoder_config
from bench.step.rungs import RUNGS, RUNTIME, Rung
from bench.step.steps import check_steps, line, step_rows
from bench.step.timing import Measured
from runtime.backends import default_backend
from runtime.bundle import Bundle, read_bundle
from runtime.errors import InputError

LADDER_DEFINITIONS = DEFINITIONS | {
    "rung": "how the step was run, in a fresh process of its own; `what`: what that step computes and copies",
    "times_runtime": f"the row's step p50 over that of `{RUNTIME.name}` at the same pace",
    "launches_per_step": "kernels in the step: in the captured graph, or the same plan's; for PyTorch in its profiler",
    "left_out": "rungs that were not measured, and why",
}
LOAD_S = 300.0  # a rung's process may take, beside its steps


@dataclass(frozen=True)
class LadderOptions:
    """What to measure and with what."""

    bundle: Path
    encoder_config: Path | None = None  # JSON; None: read with NeMo from the model that the bundle names
    peer_python: str | None = None  # command of an interpreter with the peers; None: this one
    steps: int = 1000  # back to back; a fifth of them at the pace of speech
    name: str | None = None  # of the result file; None: made of what is measured
    out: Path = Path("bench/results")


@dataclass(frozen=True)
class Climb:
    """A bundle's ladder, and where its processes leave what they measured."""

    options: LadderOptions
    bundle: Bundle
    folder: Path

    def command(self, rung: Rung, out: Path) -> list[str]:
        """What runs a rung. Raises InputError where NeMo's encoder has no configuration."""
        options, bundle = self.options, self.bundle
        measure = ["--precision", rung.precision, "--steps", str(options.steps), "--out", str(out)]
        measure += ["--graph"] if rung.graph else []
        python = [sys.executable]
        if options.peer_python is not None and rung.backend != "tensorrt":
            python = shlex.split(options.peer_python)
        if rung.backend == "torch":
            chunk_s = bundle.chunk_samples / bundle.sample_rate
            lookahead = bundle.lookahead_ms // bundle.encoder_frame_ms
            shape = ["--lookahead-frames", str(lookahead), "--chunk-s", str(chunk_s)]
            return [*python, "-m", "bench.step.nemo_peer", "--config", str(self._encoder_config()), *shape, *measure]
        measure += ["--host-state"] if rung.host_state else []
        measure += ["--pinned"] if rung.pinned else []
        opened = ["--bundle", str(options.bundle), "--backend", rung.backend]
        return [*python, "-m", "bench.step.worker", *opened, *measure]

    def measure(self, rung: Rung) -> Measured:
        """Run a rung in its process. Raises InputError where that fails."""
        out = self.folder / f"{RUNGS.index(rung)}.json"
        chunk_s = self.bundle.chunk_samples / self.bundle.sample_rate
        limit_s = LOAD_S + 2 * self.options.steps * chunk_s  # a step that takes longer than its chunk is of no use
        run_child(self.command(rung, out), limit_s, graph=rung.graph)
        return TypeAdapter(Measured).validate_json(out.read_bytes())

    def _encoder_config(self) -> Path:
        if self.options.encoder_config is not None:
            return self.options.encoder_config
        made = self.folder / "encoder.json"
        if not made.exists():
            made.write_text(json.dumps(encoder_config(self.bundle.checkpoint.name)), encoding="utf-8")
        return made


def run_ladder(options: LadderOptions, argv: Sequence[str], console: Console) -> Path:
    """Measure rung by rung, write the result file and return its path; a rung that fails is in its `left_out`.

    Raises:
        InputError: bad options or bundle, no GPU, or no rung that ran; nothing is written then.
    """
    check_steps(options.steps)
    bundle = read_bundle(options.bundle)
    bundle.check_ctc("the ladder")
    path = result_path(options.out, options.name or f"{bundle.checkpoint.name}-{bundle.lookahead_ms}ms-ladder")
    if options.encoder_config is not None and not options.encoder_config.is_file():
        raise InputError(f"--encoder-config: expected a JSON file, found none at {options.encoder_config}")
    if default_backend() != "tensorrt":
        raise InputError("expected an NVIDIA GPU that nvidia-smi lists, found none; the ladder is measured on one")
    rows: list[Row] = []
    left_out: dict[str, str] = {}
    with TemporaryDirectory() as folder:
        climb = Climb(options, bundle, Path(folder))
        for number, rung in enumerate(RUNGS, 1):
            with console.status(f"{number}/{len(RUNGS)} {rung.name}"):
                try:
                    measured = climb.measure(rung)
                except InputError as error:
                    left_out[rung.name] = str(error)
                    console.print(
                        f"{number}/{len(RUNGS)} {rung.name}: left out: {error}", highlight=False, markup=False
                    )
                    continue
            update = {"rung": rung.label, "what": rung.what}
            if rung.backend == "torch":
                update["weights"] = "random"
            made = step_rows(options.bundle, bundle, rung.precision, rung.backend, measured)
            rows += [each.model_copy(update=update) for each in made]
            for each in made:
                console.print(f"{number}/{len(RUNGS)} {rung.label}: {line(each)}", highlight=False, markup=False)
        provenance = collect(argv, [])
    if not rows:
        raise InputError(f"no rung of the ladder ran; the last, {RUNGS[-1].name}: {left_out[RUNGS[-1].name]}")
    result = ResultFile(provenance=provenance, rows=_compared(rows), definitions=LADDER_DEFINITIONS, left_out=left_out)
    write_result(path, result)
    console.print(f"wrote {path}", highlight=False)
    return path


def _compared(rows: list[Row]) -> list[Row]:
    """The rows with what others of them say: kernels of the same plan, times the runtime's p50."""
    kernels = {row.precision: row.launches_per_step for row in rows if row.backend == "tensorrt" and row.cuda_graph}
    runtime = {
        row.pace: row.step_ms_p50 for row in rows if (row.rung, row.precision) == (RUNTIME.label, RUNTIME.precision)
    }
    compared = []
    for row in rows:
        update: dict[str, float | None] = {}
        if row.backend == "tensorrt" and row.launches_per_step is None:
            update["launches_per_step"] = kernels.get(row.precision)
        reference = runtime.get(row.pace)
        if reference and row.step_ms_p50:
            update["times_runtime"] = round(row.step_ms_p50 / reference, 3)
        compared.append(row.model_copy(update=update))
    return compared
