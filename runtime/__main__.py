"""`python -m runtime FILE...`, or `streaming-conformer FILE...` where it is installed: partials as they come and the final text.

`-` reads raw 16-bit PCM from standard input, `--mic` listens.
"""

import argparse
import io
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import cast

import numpy as np
from rich.console import Console

from .audio import Pcm, Samples, load_audio
from .endpoint import EndpointRules
from .errors import InputError, exit_code
from .live import UntilInterrupted, display, loaded_spared, microphone, paced
from .recognizer import Recognizer

PROGRAM = "python -m runtime" if __package__ == "runtime" else "streaming-conformer"


def parse_args(argv: Sequence[str]) -> argparse.Namespace:
    """Command line of the recogniser."""
    parser = argparse.ArgumentParser(prog=PROGRAM, description="Recognise speech, streaming.")
    parser.add_argument(
        "files",
        nargs="*",
        metavar="FILE",
        help="audio file of any format at 8 to 192 kHz; - for raw mono 16-bit PCM on stdin",
    )
    parser.add_argument("--mic", action="store_true", help="listen to the microphone until Ctrl-C; needs sounddevice")
    parser.add_argument(
        "--realtime", action="store_true", help="files at the pace of speech, as a microphone gives them"
    )
    parser.add_argument("--bundle", type=Path, required=True, help="folder made by `make export`, or a copy")
    parser.add_argument("--precision", help="a precision of the bundle (default: fp16 in TensorRT, else its widest)")
    parser.add_argument(
        "--backend", help="tensorrt, onnxruntime-cuda or onnxruntime-cpu (default: TensorRT where there is a GPU)"
    )
    parser.add_argument("--decoder", help="ctc or rnnt (default: the bundle's best)")
    parser.add_argument(
        "--lm",
        default="default",
        metavar="FILE|none",
        help="KenLM file with its word list beside it (default: the bundle's own, if any)",
    )
    parser.add_argument("--frame-ms", type=int, default=20, help="length of the pushed frames in ms (default: 20)")
    parser.add_argument(
        "--endpoints", action="store_true", help="end an utterance where its speaker does, and begin the next"
    )
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> None:
    """Stream each input through one recogniser and print its events."""
    if not 1 <= args.frame_ms <= 1000:
        raise InputError(f"expected --frame-ms in 1..1000, found {args.frame_ms}; 20 is usual")
    if bool(args.files) == args.mic:
        raise InputError(f"expected files or --mic, found {'both' if args.mic else 'neither'}; give one of them")
    with (
        Recognizer(
            args.bundle, precision=args.precision, backend=args.backend, lm=args.lm, decoder=args.decoder
        ) as recognizer,
        loaded_spared(),
        display(Console()) as show,
    ):
        for source in ["--mic"] if args.mic else args.files:
            frames = UntilInterrupted(_frames(source, recognizer.bundle.sample_rate, args.frame_ms, args.realtime))
            stream = recognizer.stream(EndpointRules() if args.endpoints else None)
            for samples in frames:
                for event in stream.push(samples):
                    show(event)
            show(stream.end_utterance())
            if frames.interrupted:
                break


def _frames(source: str, sample_rate: int, frame_ms: int, realtime: bool) -> Iterable[Samples | Pcm]:
    frame = sample_rate * frame_ms // 1000
    if source == "--mic":
        return microphone(sample_rate, frame, lambda line: print(line, file=sys.stderr))
    if source == "-":
        return _pcm_frames(frame)
    frames = _file_frames(Path(source), sample_rate, frame)
    return paced(frames, frame_ms / 1e3) if realtime else frames


def _file_frames(path: Path, sample_rate: int, frame: int) -> Iterator[Samples]:
    samples = load_audio(path, sample_rate)
    for start in range(0, len(samples), frame):
        yield samples[start : start + frame]


def _pcm_frames(frame: int) -> Iterator[Pcm]:
    if sys.stdin is None:
        raise InputError("expected samples on standard input, found it closed; send raw mono PCM, s16le, 16 kHz")
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


def main() -> int:
    """Run the command line; return its exit code."""
    return exit_code(lambda: run(parse_args(sys.argv[1:])))


if __name__ == "__main__":
    sys.exit(main())
