"""A `.nemo` file is a tar archive of someone else's: looked through before NeMo unpacks it."""

import stat
import tarfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from export.bombs import check_weights, checked_yaml
from runtime.errors import InputError

MOST_MEMBERS = 1000
"""NeMo writes a configuration, the weights and a few files of the tokenizer."""
MOST_BYTES = 32 << 30
"""Of all members; the largest published recognisers have some 5 GB."""
CONFIG = "model_config.yaml"


def check_archive(path: Path) -> None:
    """Raise InputError, one line, unless `path` is an uncompressed tar archive of plain files and folders that stay in their folder.

    Refused are absolute names and names with `..`, links, devices and pipes, sparse files, more than MOST_MEMBERS members and more than
    MOST_BYTES. Compressed ones, which NeMo wrote up to 1.6 and no cache-aware checkpoint is, are refused unseen: a few kilobytes of them
    may unpack to any size. Nothing is unpacked, nothing but the headers is read.
    """
    if (size := path.stat().st_size) > MOST_BYTES:
        raise _refusal(path, f"{size} bytes")
    total = 0
    try:
        with tarfile.open(path, "r:") as archive:
            # One header at a time: what is refused is not skipped over, for its size may be a lie.
            for count, member in enumerate(archive, 1):
                total += member.size
                if fault := _fault(member, count, total):
                    raise _refusal(path, fault)
    except InputError:
        raise
    except (tarfile.TarError, ValueError, OverflowError, RecursionError, OSError) as error:
        raise InputError(
            f"expected a .nemo archive, found no tar file in {path} that can be read to its end; fetch the checkpoint again"
        ) from error


def read_config(path: Path) -> Mapping[str, Any]:
    """Return the configuration in an archive, unpacked nowhere.

    Raises InputError as `check_archive` does, and for a configuration that is missing, or holds more than it seems to.
    """
    check_archive(path)
    with tarfile.open(path, "r:") as archive:
        members = (archive.extractfile(member) for member in archive if PurePosixPath(member.name).name == CONFIG)
        config = next(members, None)
        if config is None:
            raise InputError(
                f"expected a checkpoint that NeMo restores, found no {CONFIG} in {path}; fetch the checkpoint again"
            )
        return checked_yaml(config, path)


def guarded_connector() -> Any:  # noqa: ANN401 -- NeMo's, untyped
    """NeMo's way to restore, which looks through each archive first and unpickles weights alone, whatever the environment says.

    To be given to `restore_from` and `from_pretrained`, which unpack with it what they fetched.
    """
    from nemo.core.connectors.save_restore_connector import SaveRestoreConnector

    archives: list[Path] = []

    class Guarded(SaveRestoreConnector):  # type: ignore[misc]  # untyped
        @staticmethod
        def _unpack_nemo_file(path2file: str, out_folder: str, members: list[str] | None = None) -> str:
            archives.append(Path(path2file))
            read_config(archives[-1])
            return str(SaveRestoreConnector._unpack_nemo_file(path2file, out_folder, members))  # noqa: SLF001 -- its own base

        @staticmethod
        def _load_state_dict_from_disk(model_weights: str, map_location: Any = "cpu") -> Any:  # noqa: ANN401
            import torch

            check_weights(Path(model_weights), archives[-1] if archives else Path(model_weights))
            # NeMo leaves weights_only to torch's default, which TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD turns off.
            return torch.load(model_weights, map_location=map_location, weights_only=True)

    return Guarded()


def _fault(member: tarfile.TarInfo, count: int, total: int) -> str | None:
    """What is wrong with the archive's member number `count`, up to which all have `total` bytes."""
    name = f"the member {member.name!r:.100}"
    path = PurePosixPath(member.name)
    elsewhere = path.is_absolute() or ".." in path.parts or "\\" in member.name or "\0" in member.name
    faults = (
        (elsewhere, f"{name}, which would be unpacked elsewhere"),
        (member.issym() or member.islnk(), f"{name}, which is a link"),
        (
            member.issparse() or not (member.isreg() or member.isdir()),
            f"{name}, which is neither a plain file nor a folder",
        ),
        (member.mode & (stat.S_ISUID | stat.S_ISGID), f"{name}, which would run with its owner's rights"),
        (not 0 <= member.size <= MOST_BYTES, f"{name} of {member.size} bytes"),
        (count > MOST_MEMBERS, f"more than {MOST_MEMBERS} members"),
        (total > MOST_BYTES, f"members of more than {MOST_BYTES} bytes"),
    )
    return next((fault for found, fault in faults if found), None)


def _refusal(path: Path, fault: str) -> InputError:
    return InputError(
        f"expected a .nemo archive of at most {MOST_MEMBERS} plain files and {MOST_BYTES >> 30} GiB, found {fault} in {path}; "
        f"do not use this file, fetch the checkpoint from its publisher"
    )
