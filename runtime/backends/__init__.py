"""Engines that run the streaming step, by the names that result files carry."""

import shutil
import subprocess
from pathlib import Path

from ..bundle import Bundle, Decoding, Precision
from ..errors import InputError
from .base import ALL_VALID, Backend, Launches, Step, StepResult, Wrapped
from .batched_onnxruntime import BatchedOnnxRuntimeBackend
from .batched_tensorrt import BatchedTensorRtBackend
from .onnxruntime import PROVIDERS, OnnxRuntimeBackend
from .slots import check_number
from .tensorrt import TensorRtBackend

__all__ = [
    "ALL_VALID",
    "Backend",
    "Launches",
    "Step",
    "StepResult",
    "Wrapped",
    "check_number",
    "default_backend",
    "default_precision",
    "open_backend",
]

SMI_S = 30  # nvidia-smi may take to answer: a first call may have to start the driver


def default_backend() -> str:
    """The name tensorrt where an NVIDIA GPU answers, else onnxruntime-cpu. Raises InputError where none says whether there is one."""
    smi = shutil.which("nvidia-smi")
    if smi is None:
        return "onnxruntime-cpu"
    try:
        listed = subprocess.run([smi, "-L"], capture_output=True, check=False, timeout=SMI_S)
    except subprocess.TimeoutExpired as error:
        raise InputError(
            f"expected nvidia-smi to answer within {SMI_S} s, found it hanging; check the driver, or name a backend"
        ) from error
    return "tensorrt" if listed.returncode == 0 else "onnxruntime-cpu"


def default_precision(backend: str, bundle: Bundle) -> Precision:
    """fp16 in TensorRT, as `make engines` builds it, else the bundle's widest."""
    return "fp16" if backend == "tensorrt" else bundle.widest


def open_backend(  # noqa: PLR0917
    folder: Path,
    bundle: Bundle,
    name: str | None = None,
    precision: str | None = None,
    decoder: Decoding = "ctc",
    most_streams: int | None = None,
) -> Backend:
    """The backend of that name on the step of the bundle in `folder`, and on what `decoder` needs beside it.

    Without a name it is this machine's best, without a precision the backend's usual one. With `most_streams` it runs the steps of so many
    streams together, see Backend.run. Raises InputError for an unknown name or a bundle it cannot run.
    """
    name = name or default_backend()
    precision = precision or default_precision(name, bundle)
    if name not in {"tensorrt", *PROVIDERS}:
        raise InputError(
            f"expected a backend out of tensorrt, {', '.join(PROVIDERS)}, found {name}; choose one of them"
        )
    if most_streams is not None:
        check_number(most_streams)
        _check_together(precision, decoder)
        if name == "tensorrt":
            return BatchedTensorRtBackend(folder, bundle, precision, most_streams)
        return BatchedOnnxRuntimeBackend(folder, bundle, precision, name, most_streams)
    if name == "tensorrt":
        return TensorRtBackend(folder, bundle, precision, decoder=decoder)
    return OnnxRuntimeBackend(folder, bundle, precision, name, decoder)


def _check_together(precision: str, decoder: Decoding) -> None:
    """Raise InputError for what no step over many streams is made for."""
    for expected, found, refused in (("ctc", decoder, "rnnt"), ("fp32 or fp16", precision, "int8")):
        if found == refused:
            raise InputError(
                f"expected {expected} for steps of many streams together, found {found}; choose that, or leave the number of streams open"
            )
