"""Members of a `.nemo` that are small and would become large: refused by what their headers and events say, before they are loaded."""

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import yaml

from runtime.errors import InputError

MOST_YAML_BYTES = 1 << 20
"""A configuration of a thousand tokens has 60 KB."""
MOST_NODES = 200_000
"""Of a configuration, each counted as often as aliases repeat it."""
MOST_DEPTH = 50


def checked_yaml(file: IO[bytes], path: Path) -> Mapping[str, Any]:
    """Return the mapping in a YAML member of the archive `path`.

    Raises InputError for one that is too large, too deep or no mapping; also where it is so only once its aliases are followed.
    """
    content = file.read(MOST_YAML_BYTES + 1)
    if len(content) > MOST_YAML_BYTES:
        raise _refusal(path, "a configuration", f"one of more than {MOST_YAML_BYTES} bytes")
    try:
        _check_nodes(content, path)
        config = yaml.load(content, yaml.CSafeLoader)
    except InputError:
        raise
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date or a number that is none
        reason = " ".join(str(error).split())[:200]
        raise _refusal(path, "a configuration in YAML", f"none: {reason}") from error
    if not isinstance(config, dict):
        raise _refusal(path, "a configuration of keys", f"{type(config).__name__}")
    return config


def _check_nodes(content: bytes, path: Path) -> None:
    """Count nodes as events come, which takes neither recursion nor the memory that they would become."""
    sizes: dict[str, int] = {}  # by anchor
    stack: list[tuple[str | None, int]] = [(None, 0)]  # of each collection that is open its anchor and nodes so far
    for event in yaml.parse(io.BytesIO(content), yaml.CSafeLoader):
        anchor, size = None, 0
        if isinstance(event, yaml.AliasEvent):
            if event.anchor not in sizes:
                raise _refusal(
                    path, "a configuration", f"the alias {event.anchor!r:.50} to what holds it, or to nothing"
                )
            size = sizes[event.anchor]
        elif isinstance(event, yaml.ScalarEvent):
            anchor, size = event.anchor, 1
        elif isinstance(event, yaml.CollectionStartEvent):
            sizes.pop(event.anchor, None)  # a second one of that name
            stack.append((event.anchor, 1))
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, size = stack.pop()
        if anchor:
            sizes[anchor] = size
        stack[-1] = (stack[-1][0], stack[-1][1] + size)
        if stack[-1][1] > MOST_NODES or len(stack) > MOST_DEPTH:
            raise _refusal(
                path,
                f"a configuration of at most {MOST_NODES} values, {MOST_DEPTH} levels deep",
                "one that is larger once its aliases are followed",
            )


def check_weights(path: Path, archive: Path) -> None:
    """Raise InputError unless a file out of `archive` is a zip file as torch writes it: nothing compressed, nothing held twice."""
    expected, size = "weights as torch writes them, a zip file of uncompressed tensors", path.stat().st_size
    try:
        with zipfile.ZipFile(path) as weights:
            records = weights.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise _refusal(archive, expected, f"none: {error}") from error
    held = sum(record.file_size for record in records)
    if any(
        record.compress_type != zipfile.ZIP_STORED or record.file_size != record.compress_size for record in records
    ):
        raise _refusal(archive, expected, f"compressed ones that unpack to {held} bytes")
    if held > size:
        raise _refusal(archive, expected, f"records of {held} bytes in {size}")


def _refusal(path: Path, expected: str, found: str) -> InputError:
    return InputError(
        f"expected {expected}, found {found} in {path}; do not use this file, fetch the checkpoint from its publisher"
    )
