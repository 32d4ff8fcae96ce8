"""The encoder's configuration of a model, as JSON for the ladder's `--encoder-config` on a machine without NeMo.

`python -m bench.step.encoder_config MODEL > FILE.json`; MODEL is a .nemo file or large-random.
"""

from runtime.command import begin

if __name__ == "__main__":
    begin()

import argparse
import json
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from runtime.arguments import Arguments
from runtime.errors import InputError, exit_code

CONFIG = "model_config.yaml"
"""Its name in a .nemo archive."""


def encoder_config(model: str) -> dict[str, Any]:
    """Return the `encoder` part of a model's NeMo configuration: of a .nemo file, large-random, or a name in data/checkpoint.

    Raises InputError where NeMo, the file or what it should hold is missing.
    """
    try:
        from omegaconf import OmegaConf

        from export.checkpoint import EMBEDDED, RANDOMS
    except ImportError as error:
        raise InputError(
            f"expected NeMo to read the encoder's configuration with, found {error}; where it is, run "
            f"`python -m bench.step.encoder_config {model} > FILE.json`, and give that file as --encoder-config"
        ) from error
    if model in RANDOMS:
        encoder: dict[str, Any] = RANDOMS[model][0]["encoder"]
        return encoder
    path = Path(model) if model.endswith(".nemo") else Path(EMBEDDED).with_name(f"{model}.nemo")
    if not path.is_file() or not tarfile.is_tarfile(path):
        raise InputError(
            f"expected large-random or a .nemo archive, found {model}; the encoder's configuration can be given as --encoder-config"
        )
    try:
        with tarfile.open(path) as archive:
            file = archive.extractfile(next(member for member in archive if Path(member.name).name == CONFIG))
            text = file.read().decode()  # type: ignore[union-attr]  # None: no plain file
        config: Any = OmegaConf.to_container(OmegaConf.create(text), resolve=True)
        return {str(key): value for key, value in config["encoder"].items()}
    except Exception as error:  # whatever the archive, YAML, OmegaConf or a value within trips over
        raise InputError(
            f"expected {CONFIG} with an encoder in {model}, found none that can be read; fetch the checkpoint again"
        ) from error


def parse_args(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line: a model."""
    parser = Arguments(prog="python -m bench.step.encoder_config", description=__doc__)
    parser.add_argument("model", metavar="MODEL")
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> None:
    """Print a model's configuration. Raises InputError as `encoder_config` does."""
    print(json.dumps(encoder_config(args.model), indent=1))


if __name__ == "__main__":
    sys.exit(exit_code(lambda: run(parse_args(sys.argv[1:]))))
