"""What the parts of a `.nemo` unpack to, bounded before NeMo reads them: a few kilobytes of YAML or zip may stand for any amount."""

import zipfile
from pathlib import Path

import yaml

from runtime.errors import InputError

CONFIGURATION = "model_config.yaml"  # in the archive
MOST_CONFIGURATION_BYTES = 4 << 20
"""NeMo's have some 10 kB, with a vocabulary some 100."""
MOST_VALUES = 100_000
"""Of a configuration, each counted wherever an alias repeats it, as OmegaConf copies it there."""


def check_configuration(content: bytes, where: str) -> None:
    """Raise InputError, one line, for YAML that stands for more than MOST_VALUES values, or is more than MOST_CONFIGURATION_BYTES.

    YAML that cannot be read is left to who reads it.
    """
    if len(content) > MOST_CONFIGURATION_BYTES:
        raise _refusal(f"{len(content)} bytes", where)
    try:
        root = yaml.compose(content, Loader=yaml.CSafeLoader)
        if root is not None and _values(root, {}) > MOST_VALUES:
            raise _refusal(f"one of more than {MOST_VALUES}", where)
    except (yaml.YAMLError, RecursionError, UnicodeDecodeError):
        return


def check_weights(path: Path) -> None:
    """Raise InputError, one line, for a zip file whose members are larger than it is: torch writes them as they are.

    Weights of before torch 1.6 are no zip file, and cannot stand for more than they are.
    """
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as members:
        unpacked = sum(each.file_size for each in members.infolist())
    if unpacked > path.stat().st_size:
        raise InputError(
            f"expected weights as torch writes them, uncompressed, found {path.stat().st_size} bytes of zip that stand for {unpacked} in "
            f"{path.name}; do not use this file, fetch the checkpoint from its publisher"
        )


def _values(node: yaml.Node, counted: dict[int, int]) -> int:
    """Values of a node and all within it; `counted` by identity, so that each is visited once."""
    if id(node) not in counted:
        counted[id(node)] = MOST_VALUES + 1  # until it is known: a node within itself has no end
        pairs = node.value if isinstance(node, yaml.MappingNode) else []
        children = node.value if isinstance(node, yaml.SequenceNode) else [each for pair in pairs for each in pair]
        counted[id(node)] = 1 + sum(_values(each, counted) for each in children)
    return counted[id(node)]


def _refusal(found: str, where: str) -> InputError:
    return InputError(
        f"expected a configuration of at most {MOST_VALUES} values and {MOST_CONFIGURATION_BYTES >> 20} MiB, found {found} in {where}; "
        f"do not use this file, fetch the checkpoint from its publisher"
    )
