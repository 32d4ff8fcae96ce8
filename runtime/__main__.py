"""`python -m runtime FILE...`, or `streaming-conformer FILE...` where it is installed: partials as they come and the final text.

`-` reads standard input: raw 16-bit PCM as it comes, or an audio file to its end. `--mic` listens.
"""

from .command import begin

if __name__ == "__main__":
    begin()

import argparse
import io
import sys
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import cast, get_args

from rich.console import Console

from .arguments import Arguments, add_recognizer, recognizer_choices
from .audio import Pcm, Samples
from .early import DEFAULT, Early
from .endpoint import EndpointRules
from .errors import InputError, exit_code
from .hotword_list import read_hotwords
from .inputs import Framing, file_frames, stdin_frames
from .live import UntilInterrupted, loaded_spared, microphone
from .recognizer import Recognizer
from .show import display, print_json

PROGRAM = "python -m runtime" if __package__ == "runtime" else "streaming-conformer"


def parse_args(argv: Sequence[str]) -> argparse.Namespace:
    """Command line of the recogniser."""
    parser = Arguments(prog=PROGRAM, description="Recognise speech, streaming.")
    parser.add_argument(
        "files",
        nargs="*",
        metavar="FILE",
        help="audio file of any format at 8 to 192 kHz; - for standard input: raw mono 16-bit PCM as it comes, or such a file",
    )
    parser.add_argument(
        "--rate",
        type=int,
        metavar="HZ",
        help="standard input is raw PCM at this rate (default: at the bundle's, or a file)",
    )
    parser.add_argument("--mic", action="store_true", help="listen to the microphone until Ctrl-C; needs sounddevice")
    parser.add_argument(
        "--realtime", action="store_true", help="files at the pace of speech, as a microphone gives them"
    )
    add_recognizer(parser)
    parser.add_argument("--frame-ms", type=int, default=20, help="length of the pushed frames in ms (default: 20)")
    parser.add_argument(
        "--endpoints", action="store_true", help="end an utterance where its speaker does, and begin the next"
    )
    parser.add_argument(
        "--hotwords", type=Path, metavar="FILE", help="phrases to favour, one a line; a tab and a weight may follow"
    )
    parser.add_argument(
        "--early",
        choices=get_args(Early),
        help="text shown before its look-ahead has arrived: off, steady (where it is likely to stay) or eager (all of it); default: "
        "steady where audio is live, off for a file, whose partials are then the same each time",
    )
    parser.add_argument(
        "--json", action="store_true", help="a JSON object per event and line: words, times, confidence"
    )
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> None:
    """Stream each input through one recogniser and print its events."""
    if not 1 <= args.frame_ms <= 1000:
        raise InputError(f"expected --frame-ms in 1..1000, found {args.frame_ms}; 20 is usual")
    if bool(args.files) == args.mic:
        raise InputError(f"expected files or --mic, found {'both' if args.mic else 'neither'}; give one of them")
    if args.rate is not None and "-" not in args.files:
        raise InputError(f"expected - among the files with --rate, found {args.files}; files state their rate")
    hotwords = read_hotwords(args.hotwords) if args.hotwords else {}
    sources = ["--mic"] if args.mic else args.files
    with (
        Recognizer(args.bundle, **recognizer_choices(args)) as recognizer,
        loaded_spared(),
        nullcontext(print_json) if args.json else display(Console(), named=len(sources) > 1) as show,
    ):
        framing = Framing(recognizer.bundle.sample_rate, args.frame_ms, args.realtime)
        failed = 0
        for source in sources:
            frames = UntilInterrupted(_frames(source, args.rate, framing))
            rules, is_live = EndpointRules() if args.endpoints else None, args.realtime or source in ("--mic", "-")
            early = args.early or (DEFAULT if is_live else "off")
            stream = recognizer.stream(rules, hotwords=hotwords, early=early)
            try:
                for samples in frames:
                    for event in stream.push(samples):
                        show(source, event)
            except InputError as error:
                if len(sources) == 1:
                    raise
                _warn(f"error: {error}")
                failed += 1
                continue
            show(source, stream.end_utterance())
            if frames.interrupted:
                raise KeyboardInterrupt
        if failed:
            raise InputError(
                f"expected audio in {len(sources)} files, found none in {failed} of them, which are named above"
            )


def _frames(source: str, rate: int | None, framing: Framing) -> Iterable[Samples | Pcm]:
    if source == "--mic":
        return microphone(framing.sample_rate, framing.samples, _warn)
    if source != "-":
        return file_frames(source, framing, _warn)
    if sys.stdin is None:
        raise InputError("expected samples on standard input, found it closed; send raw mono PCM, s16le, 16 kHz")
    return stdin_frames(cast("io.BufferedReader", sys.stdin.buffer), rate, framing, _warn)


def _warn(line: str) -> None:
    print(line, file=sys.stderr)


def main() -> int:
    """Run the command line; return its exit code."""
    return exit_code(lambda: run(parse_args(sys.argv[1:])))


if __name__ == "__main__":
    sys.exit(main())
