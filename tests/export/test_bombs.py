"""A `.nemo` that is small and would become large, slow or a crash: one line in seconds and bounded memory, nothing written."""

import io
import os
import resource
import signal
import tarfile
import time
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
import yaml

from export import trial
from export.__main__ import parse_args, run
from export.bombs import MOST_DEPTH, MOST_YAML_BYTES, check_weights, checked_yaml
from export.checkpoint import EMBEDDED
from export.trial import tried
from runtime.errors import InputError, exit_code

pytestmark = pytest.mark.nemo


def read(content: bytes) -> object:
    return checked_yaml(io.BytesIO(content), Path("a.nemo"))


def laughs(levels: int) -> bytes:
    """Each level holds the one before ten times."""
    lines = ["a0: &a0 [lol]"]
    lines += [f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 10)}]" for level in range(1, levels)]
    return "\n".join(lines).encode()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (laughs(10), "larger once its aliases are followed"),
        (
            b"base: &b {"
            + b", ".join(b"k%d: %d" % (each, each) for each in range(1000))
            + b"}\n"
            + b"\n".join(b"m%d: {<<: [*b, *b]}" % each for each in range(300)),
            "larger once",
        ),
        (b"a: &a [*a]", "the alias 'a' to what holds it"),
        (b"a: *b", "the alias 'b' to what holds it, or to nothing"),
        (b"[" * 200_000, "larger once"),
        (b"a: {" * (MOST_DEPTH + 1), "larger once"),
        (b"- " * 100_000, "larger once"),
        (b"a: " + b"b" * MOST_YAML_BYTES, f"more than {MOST_YAML_BYTES} bytes"),
        (b"[1]\n", "a configuration of keys, found list"),
        (b"", "a configuration of keys, found NoneType"),
        (b"a: [", "a configuration in YAML, found none"),
        (b"\xff\xfe\x00", "a configuration in YAML, found none"),
        (b"a: 2020-99-99", "a configuration in YAML, found none"),
        (b"a: !!python/object/apply:os.system [id]", "a configuration in YAML, found none"),
        (b"a: 1\n---\nb: 2", "a configuration in YAML, found none"),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else value,
)
def test_configurations(content: bytes, message: str) -> None:
    began = time.process_time()
    with pytest.raises(InputError) as refused:
        read(content)
    assert message in str(refused.value)
    assert str(refused.value).isprintable()
    assert time.process_time() - began < 2


def test_whole_configurations_are_read() -> None:
    shared = b"a: &x {b: 1}\nc: *x\nd: [*x, *x]\ng: {<<: {h: 1}}"
    assert read(shared) == yaml.safe_load(shared)
    assert len(str(read(laughs(4)))) > 1000


def zipped(path: Path, compression: int = zipfile.ZIP_STORED, size: int = 1000) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("weights/data.pkl", bytes(size))
    return path


def overlapping(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("weights/data/0", bytes(100_000))
        archive.filelist += archive.filelist * 1000  # the directory names the same bytes again


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (
            lambda path: zipped(path, zipfile.ZIP_DEFLATED, 300_000_000),
            "compressed ones that unpack to 300000000 bytes",
        ),
        (lambda path: zipped(path, zipfile.ZIP_LZMA), "compressed ones"),
        (overlapping, "records of 100100000 bytes in "),
        (lambda path: path.write_bytes(b""), "File is not a zip file"),
        (lambda path: path.write_bytes(zipped(path).read_bytes()[:-30]), "File is not a zip file"),
        (lambda path: torch.save({}, path, _use_new_zipfile_serialization=False), "File is not a zip file"),
    ],
)
def test_weights(write: Callable[[Path], object], message: str, tmp_path: Path) -> None:
    path = tmp_path / "model_weights.ckpt"
    write(path)
    with pytest.raises(InputError) as refused:
        check_weights(path, Path("a.nemo"))
    assert message in str(refused.value)
    torch.save({"a": torch.zeros(10)}, path)
    check_weights(path, Path("a.nemo"))


@cache
def members() -> dict[str, bytes]:
    with tarfile.open(EMBEDDED) as archive:
        opened = {each.name: archive.extractfile(each) for each in archive}
        return {name: content.read() for name, content in opened.items() if content}


def crafted(path: Path, **changes: bytes) -> Path:
    """The embedded checkpoint with other members, named by the ends of their names."""
    with tarfile.open(path, "w") as archive:
        for name, content in members().items():
            made = next((each for end, each in changes.items() if name.endswith(f".{end}")), content)
            info = tarfile.TarInfo(name)
            info.size = len(made)
            archive.addfile(info, io.BytesIO(made))
    return path


def configured(**changes: object) -> bytes:
    config = yaml.safe_load(members()["./model_config.yaml"])
    config["encoder"] |= changes
    return str(yaml.safe_dump(config)).encode()


def lying_weights() -> bytes:
    """A pickle that asks for more of a record than it holds."""
    held = io.BytesIO()
    torch.save({"a": torch.zeros(1 << 20)}, held)
    source, made = zipfile.ZipFile(held), io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        for record in source.infolist():
            content = source.read(record)
            archive.writestr(record.filename, content[:16] if record.filename.endswith("data/0") else content)
    return made.getvalue()


REFERENCES = b"\n".join([b"r0: x", *(b"r%d: ${r%d}${r%d}" % (each, each - 1, each - 1) for each in range(1, 60))])
"""Each twice the one before, once NeMo has followed them."""


@pytest.mark.parametrize(
    ("member", "content", "message"),
    [
        ("yaml", lambda: laughs(12), "larger once its aliases are followed"),
        ("ckpt", lambda: b"PK", "File is not a zip file in "),
        ("ckpt", lying_weights, "expected a checkpoint that NeMo restores"),
        ("yaml", lambda: configured(d_model=1 << 20), "expected a checkpoint that "),
        ("yaml", lambda: configured(n_layers=1 << 20), "it was still loading then"),
        ("yaml", lambda: configured(pos_emb_max_len=1 << 40), "expected a checkpoint that NeMo restores"),
        ("yaml", lambda: members()["./model_config.yaml"] + REFERENCES, "it was still loading then"),
    ],
    ids=["aliases", "no zip", "a short record", "a wide model", "a deep model", "a long table", "references"],
)
def test_checkpoints(  # noqa: PLR0917 -- fixtures
    member: str,
    content: Callable[[], bytes],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    endless = message == "it was still loading then"
    for name, value in (("CPU_S", 1 if endless else 4), ("CPU_S_PER_GB", 0), ("MEMORY_BYTES", 1 << 30)):
        monkeypatch.setattr(trial, name, value)
    path = crafted(tmp_path / "crafted.nemo", **{member: content()})
    words = ["--model", str(path), "--out", str(tmp_path / "bundles")]
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    code = exit_code(lambda: run(parse_args(words)))
    took, grown = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    error = capsys.readouterr().err
    print(f"{took:.1f} s, {grown / 1e3:.0f} MB more: {error}")
    assert code == 2
    assert message in error
    assert str(path) in error
    assert (error.count("\n"), error.rstrip("\n").isprintable()) == (1, True)
    assert [each.name for each in tmp_path.iterdir()] == ["crafted.nemo"]


def hold(size: int) -> None:
    assert len(bytearray(size)) == size


def spin() -> None:
    while True:
        pass


def refuse() -> None:
    raise InputError("expected a, found b")


@pytest.mark.parametrize(
    ("load", "message"),
    [
        (refuse, "expected a, found b"),
        (spin, "it was still loading then"),
        (lambda: signal.raise_signal(signal.SIGKILL), "it ended with SIGKILL"),
        (lambda: hold(1 << 40), "it failed without a reason"),
        (lambda: os._exit(3), "it failed without a reason"),
    ],
    ids=["refused", "slow", "crashed", "large", "gone"],
)
def test_tried(load: Callable[[], object], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "CPU_S", 1)
    file = tmp_path / "a.nemo"
    file.write_bytes(b"a")
    with pytest.raises(InputError) as refused:
        tried(load, file)
    assert message in str(refused.value)
    tried(lambda: hold(1 << 20), file)
