"""The encoder's configuration of a model, as JSON for the ladder's `--encoder-config` on a machine without NeMo.

`python -m bench.step.encoder_config MODEL > FILE.json`; MODEL is a .nemo file or large-random.
"""

import json
import sys
import tarfile
from pathlib import Path
from typing import Any

from runtime.errors import InputError, exit_code

CONFIG = "model_config.yaml"
"""Its name in a .nemo archive."""


def encoder_config(model: str) -> dict[str, Any]:
    """Return the `encoder` part of a model's NeMo configuration: of a .nemo file, large-random, or a name in data/checkpoint.

    Raises InputError where NeMo, the file or what it should hold is missing.
    """
    try:
        from omegaconf import OmegaConf

        from export.checkpoint import EMBEDDED, RANDOM, RANDOM_CONFIG
    except ImportError as error:
        raise InputError(
            f"expected NeMo to read the encoder's configuration with, found {error}; where it is, run "
            f"`python -m bench.step.encoder_config {model} > FILE.json`, and give that file as --encoder-config"
        ) from error
    if model == RANDOM:
        return RANDOM_CONFIG["encoder"]
    path = Path(model) if model.endswith(".nemo") else Path(EMBEDDED).with_name(f"{model}.nemo")
    if not path.is_file() or not tarfile.is_tarfile(path):
        raise InputError(
            f"expected large-random or a .nemo archive, found {model}; the encoder's configuration can be given as --encoder-config"
        )
    try:
        with tarfile.open(path) as archive:
            file = archive.extractfile(next(member for member in archive if Path(member.name).name == CONFIG))
            config = OmegaConf.create(file.read().decode())  # type: ignore[union-attr]  # None: no plain file
        return {str(key): value for key, value in OmegaConf.to_container(config, resolve=True)["encoder"].items()}  # type: ignore[call-overload, index, union-attr]
    except Exception as error:  # whatever the archive, YAML, OmegaConf or a value within trips over
        raise InputError(
            f"expected {CONFIG} with an encoder in {model}, found none that can be read; fetch the checkpoint again"
        ) from error


def run(argv: list[str]) -> None:
    """Print a model's configuration. Raises InputError as `encoder_config` does, and without a model."""
    if len(argv) != 1:
        raise InputError("expected one model, a .nemo file or large-random: python -m bench.step.encoder_config MODEL")
    print(json.dumps(encoder_config(argv[0]), indent=1))


if __name__ == "__main__":
    sys.exit(exit_code(lambda: run(sys.argv[1:])))
