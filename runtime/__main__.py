"""`python -m runtime FILE...`: partials as they come and the final text; `-` reads raw 16-bit PCM from standard input."""

import argparse
import io
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt

from data.audio import load_audio
from runtime.errors import InputError, exit_code
from runtime.recognizer import Recognizer

Samples = npt.NDArray[np.float32] | npt.NDArray[np.int16]


def parse_args(argv: Sequence[str]) -> argparse.Namespace:
    """Command line of the recogniser."""
    parser = argparse.ArgumentParser(prog="python -m runtime", description="Recognise speech, streaming.")
    parser.add_argument(
        "files", nargs="+", metavar="FILE", help="audio file of any format and rate; - for raw mono 16-bit PCM on stdin"
    )
    parser.add_argument("--bundle", type=Path, required=True, help="folder made by `make export`")
    parser.add_argument("--precision", help="a precision of the bundle (default: fp16 in TensorRT, else fp32)")
    parser.add_argument(
        "--backend", help="tensorrt, onnxruntime-cuda or onnxruntime-cpu (default: TensorRT where there is a GPU)"
    )
    parser.add_argument("--decoder", help="ctc or rnnt (default: the bundle's best)")
    parser.add_argument("--frame-ms", type=int, default=20, help="length of the pushed frames in ms (default: 20)")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> None:
    """Stream each input through one recogniser and print its events."""
    if not 1 <= args.frame_ms <= 1000:
        raise InputError(f"expected --frame-ms in 1..1000, found {args.frame_ms}; 20 is usual")
    with Recognizer(args.bundle, args.precision, args.backend, args.decoder) as recognizer:
        frame = recognizer.bundle.sample_rate * args.frame_ms // 1000
        for file in args.files:
            stream = recognizer.stream()
            for samples in (
                _pcm_frames(frame) if file == "-" else _file_frames(Path(file), recognizer.bundle.sample_rate, frame)
            ):
                for partial in stream.push(samples):
                    print(f"{partial.audio_s:8.2f} s  {partial.text}", flush=True)
            final = stream.end_utterance()
            print(f"{final.audio_s:8.2f} s  final: {final.text}", flush=True)


def _file_frames(path: Path, sample_rate: int, frame: int) -> Iterator[Samples]:
    samples = load_audio(path, sample_rate)
    for start in range(0, len(samples), frame):
        yield samples[start : start + frame]


def _pcm_frames(frame: int) -> Iterator[Samples]:
    rest = b""
    source = cast("io.BufferedReader", sys.stdin.buffer)
    while read := source.read1(2 * frame):  # as it comes: a live source is not held back until a frame is full
        piece = rest + read
        whole = len(piece) // 2 * 2
        rest = piece[whole:]
        yield np.frombuffer(piece[:whole], "<i2").astype(np.int16)
    if rest:
        raise InputError(
            "expected 16-bit samples on standard input, found an odd number of bytes; send raw mono PCM, s16le, 16 kHz"
        )


if __name__ == "__main__":
    sys.exit(exit_code(lambda: run(parse_args(sys.argv[1:]))))
