"""NeMo's own encoder beside the runtime: which interpreter runs it, what its process is told, and whether it is there at all."""

import json
import shlex
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bench.child import run_child
from bench.session import FileOptions
from bench.step.encoder_config import encoder_config
from bench.step.step_times import LOAD_S
from bench.step.timing import Variant
from runtime.bundle import Bundle
from runtime.errors import InputError
from setup.environments import EXPORT, Part
from setup.machine import CPU

ENCODER = "NeMo's cache_aware_stream_step alone, random weights, TF32 off: from log-mel to encoded frames and caches, all on the GPU"
COPIED = "new caches copied over the old"
HAS_PEER = "import sys, torch, nemo; sys.exit(not torch.cuda.is_available())"
"""A program that succeeds where NeMo's encoder can be measured."""


@dataclass(frozen=True, kw_only=True)
class PeerOptions(FileOptions):
    """What is measured beside NeMo's encoder, and what runs that."""

    bundle: Path
    """Folder made by `make export`."""
    steps: int = 1000
    """Steps back to back of each variant."""
    peer_python: str | None = None
    """Command of an interpreter with torch, NeMo's encoder and, for the ladder, onnxruntime-gpu, such as python3.11 or
    env -u PYTHONHOME python3 (default: this one, and for NeMo the CPU environment's, where torch is)."""
    encoder_config: Path | None = None
    """JSON of NeMo's encoder, made by `python -m bench.step.encoder_config` (default: read with NeMo)."""

    def read_encoder(self) -> dict[str, Any] | None:
        """Return the encoder's configuration that was given; None: none was. Raises InputError for a file that is no JSON."""
        if self.encoder_config is None:
            return None
        try:
            return dict(json.loads(self.encoder_config.read_bytes()))
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"--encoder-config: expected a JSON file, found none at {self.encoder_config}") from error


def child_of(
    options: PeerOptions, bundle: Bundle, encoder: dict[str, Any] | None, variant: Variant
) -> tuple[Variant, list[str]]:
    """Return what a variant's process is told, and the command of its interpreter.

    `encoder`: the configuration of NeMo's encoder, None: to be read with NeMo. Raises InputError where it cannot be read.
    """
    on_torch = variant.backend == "torch"
    python = [sys.executable]
    if options.peer_python is not None and variant.backend != "tensorrt":
        python = shlex.split(options.peer_python)
    elif on_torch:
        python = nemo_python()
    told = replace(
        variant,
        bundle=str(options.bundle),
        steps=options.steps,
        encoder=(encoder or _encoder_config(options, bundle)) if on_torch else None,
        lookahead_frames=bundle.lookahead_ms // bundle.encoder_frame_ms,
        chunk_s=bundle.chunk_samples / bundle.sample_rate,
    )
    return told, python


def nemo_python() -> list[str]:
    """Return the command of the interpreter with torch and NeMo: the CPU environment's where they are set up, otherwise this one."""
    export = Part(CPU, EXPORT)
    return [str(export.python.absolute())] if export.stamp.exists() else [sys.executable]


def has_peer(options: PeerOptions) -> bool:
    """Return whether NeMo's encoder is asked for, or found: torch and NeMo where they are set up, with a GPU that torch can use."""
    if options.peer_python is not None or options.encoder_config is not None:
        return True
    try:
        run_child([*nemo_python(), "-c", HAS_PEER], LOAD_S)
    except InputError:
        return False
    return True


def _encoder_config(options: PeerOptions, bundle: Bundle) -> dict[str, Any]:
    """Read the configuration of NeMo's encoder where NeMo is. Raises InputError where it cannot be read."""
    name, python = bundle.checkpoint.name, nemo_python()
    if options.peer_python is not None or python == [sys.executable]:
        return encoder_config(name)
    return dict(json.loads(run_child([*python, "-m", "bench.step.encoder_config", name], LOAD_S)))
