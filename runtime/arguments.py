"""Command lines whose mistakes are one line, as all others are, and what those that recognise have in common."""

import argparse
from pathlib import Path
from typing import Any, NoReturn

from .errors import InputError


class Arguments(argparse.ArgumentParser):
    """An ArgumentParser that raises InputError where it would print the usage and exit."""

    def error(self, message: str) -> NoReturn:
        """Raise InputError."""
        raise InputError(f"{message}; see {self.prog} --help")


def add_recognizer(parser: argparse.ArgumentParser) -> None:
    """Add what opens a recogniser: the bundle, and `recognizer_choices`."""
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
    parser.add_argument(
        "--language",
        metavar="CODE",
        help="what is spoken, such as de, or auto where the checkpoint has it (default: the bundle's own)",
    )


def recognizer_choices(args: argparse.Namespace) -> dict[str, Any]:
    """Return what a Recognizer is opened with beside the bundle."""
    return {name: getattr(args, name) for name in ("precision", "backend", "lm", "decoder", "language")}
