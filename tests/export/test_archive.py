"""A `.nemo` of someone else's: refused in one line before NeMo sees it, and its weights are never more than weights."""

import io
import os
import pickle
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
import torch

from export import archive
from export.__main__ import parse_args, run
from export.archive import check_archive, guarded_connector
from export.checkpoint import EMBEDDED
from runtime.errors import InputError, exit_code

pytestmark = pytest.mark.nemo


def entry(name: str, kind: bytes = tarfile.REGTYPE, content: bytes = b"", **fields: object) -> bytes:
    """A member as it lies in an archive."""
    info = tarfile.TarInfo(name)
    info.type, info.size = kind, len(content)
    for key, value in fields.items():
        setattr(info, key, value)
    return info.tobuf(tarfile.GNU_FORMAT) + content + b"\0" * (-len(content) % tarfile.BLOCKSIZE)


def negative(name: str, kind: bytes = tarfile.REGTYPE) -> bytes:
    """A member whose size is -512: read on, an archive of it would have no end."""
    header = bytearray(entry(name, kind))
    header[124:136] = (-512).to_bytes(12, "big", signed=True)
    checksum = sum(header[:148]) + 8 * ord(" ") + sum(header[156:512])
    header[148:156] = b"%06o\0 " % checksum
    return bytes(header)


END = b"\0" * 1024
GOOD = entry("./", tarfile.DIRTYPE) + entry("./model_config.yaml", content=b"target: none\n")


@pytest.mark.parametrize(
    ("member", "message"),
    [
        (entry("../evil"), "'../evil', which would be unpacked elsewhere"),
        (entry("a/../../evil"), "which would be unpacked elsewhere"),
        (entry("/etc/cron.d/evil"), "'/etc/cron.d/evil', which would be unpacked elsewhere"),
        (entry("..\\evil"), "which would be unpacked elsewhere"),
        (entry("x" * 90 + "\n\x1b[31m/../evil"), "which would be unpacked elsewhere"),
        (entry("link", tarfile.SYMTYPE, linkname="/etc/passwd"), "'link', which is a link"),
        (entry("link", tarfile.LNKTYPE, linkname="model_config.yaml"), "'link', which is a link"),
        (entry("null", tarfile.CHRTYPE, devmajor=1, devminor=3), "neither a plain file nor a folder"),
        (entry("disk", tarfile.BLKTYPE, devmajor=8), "neither a plain file nor a folder"),
        (entry("pipe", tarfile.FIFOTYPE), "neither a plain file nor a folder"),
        (entry("odd", b"Z"), "neither a plain file nor a folder"),
        (entry("root", mode=0o4755), "its owner's rights"),
        (entry("big", size=40 << 30), "'big' of 42949672960 bytes"),
        (entry("big", size=20 << 30) + entry("big", size=20 << 30), "no tar file in"),  # it ends before
        (negative("endless"), "'endless' of -512 bytes"),
        (negative("endless", tarfile.XHDTYPE), "no tar file in"),
        (b"".join(entry(f"{number}") for number in range(1001)), "more than 1000 members"),
        (b"".join(entry("h", tarfile.XHDTYPE, b"5 a=\n") for _ in range(2000)), "no tar file in"),  # headers of headers
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refused(member: bytes, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, begin = tmp_path / "crafted.nemo", time.perf_counter()
    path.write_bytes(GOOD + member + END)
    words = ["--model", str(path), "--out", str(tmp_path / "bundles")]
    assert exit_code(lambda: run(parse_args(words))) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.startswith("error: expected a .nemo archive")
    assert error.count("\n") == 1
    assert error.rstrip("\n").isprintable()
    assert [each.name for each in tmp_path.iterdir()] == ["crafted.nemo"]
    assert time.perf_counter() - begin < 5


def test_size_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.nemo"
    path.write_bytes(GOOD + entry("a", content=bytes(3000)) + END)
    monkeypatch.setattr(archive, "MOST_BYTES", path.stat().st_size)
    check_archive(path)
    monkeypatch.setattr(archive, "MOST_BYTES", path.stat().st_size - 1)
    with pytest.raises(InputError, match=f"found {path.stat().st_size} bytes in"):
        check_archive(path)


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_compressed_archives_are_not_unpacked_to_be_looked_at(mode: str, tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "bomb.nemo", mode) as made:  # type: ignore[call-overload]
        info = tarfile.TarInfo("model_weights.ckpt")
        info.size = 50_000_000
        made.addfile(info, io.BytesIO(bytes(info.size)))
    with pytest.raises(InputError, match="found no tar file in"):
        check_archive(tmp_path / "bomb.nemo")


def test_checkpoints_are_accepted() -> None:
    check_archive(Path(EMBEDDED))


def test_damaged_headers(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.nemo", "w", format=tarfile.PAX_FORMAT) as made:
        for name, content in (("model_config.yaml", b"a: 1"), ("ä" * 60 + "/model_weights.ckpt", bytes(1000))):
            info = tarfile.TarInfo(name)
            info.size = len(content)
            made.addfile(info, io.BytesIO(content))
    whole, begin, said = (tmp_path / "a.nemo").read_bytes()[:6000], time.perf_counter(), []
    for number in range(1000):
        rng = Random(number)
        damaged = bytearray(whole)
        for _ in range(rng.choice([1, 2, 8])):
            start = rng.randrange(len(damaged))
            damaged[start : start + rng.choice([1, 12])] = rng.randbytes(rng.choice([1, 12]))
        header = rng.randrange(0, len(damaged) - 512, 512)
        if rng.random() < 0.7:  # so that it is not the checksum that is wrong
            block = damaged[header : header + 512]
            damaged[header + 148 : header + 156] = b"%06o\0 " % (sum(block[:148]) + 256 + sum(block[156:]))
        (tmp_path / "b.nemo").write_bytes(damaged)
        try:
            check_archive(tmp_path / "b.nemo")
        except InputError as error:
            said.append(str(error))
    seconds = time.perf_counter() - begin
    print(f"{len(said)} of 1000 refused in {seconds:.1f} s")
    assert 50 < len(said) < 1000
    assert [each for each in said if not each.isprintable()] == []
    assert seconds < 20


class Evil:
    """What a pickle may hold: a call of anything, here one that leaves a folder."""

    def __init__(self, mark: Path) -> None:
        self._mark = str(mark)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return os.mkdir, (self._mark,)


@pytest.mark.parametrize("forced", [False, True])
def test_weights_are_never_more_than_weights(tmp_path: Path, forced: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither when the environment asks torch for it, which NeMo would follow."""
    if forced:
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", "1")
    torch.save({"weight": torch.zeros(1), "more": Evil(tmp_path / "mark")}, tmp_path / "evil.ckpt")
    with tarfile.open(EMBEDDED) as good, tarfile.open(tmp_path / "evil.nemo", "w") as made:
        for member in good.getmembers():
            if member.name.endswith(".ckpt"):
                made.add(tmp_path / "evil.ckpt", member.name)
            else:
                made.addfile(member, good.extractfile(member))
    words = ["--model", str(tmp_path / "evil.nemo"), "--out", str(tmp_path / "bundles")]
    with pytest.raises(
        InputError, match=r"expected a checkpoint that NeMo restores, found .*: Weights only load failed"
    ) as error:
        run(parse_args(words))
    assert "\n" not in str(error.value)
    assert not (tmp_path / "mark").exists()
    assert not (tmp_path / "bundles").exists()
    with pytest.raises(pickle.UnpicklingError, match="Weights only load failed"):
        guarded_connector()._load_state_dict_from_disk(tmp_path / "evil.ckpt")
    assert not (tmp_path / "mark").exists()
    torch.load(tmp_path / "evil.ckpt", weights_only=False)
    assert (tmp_path / "mark").exists(), "it would have been run"


def test_what_nemo_fetches_is_looked_through_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from nemo.collections.asr.models import ASRModel, EncDecCTCModelBPE

    path = tmp_path / "fetched.nemo"
    path.write_bytes(GOOD + entry("../evil") + END)
    monkeypatch.setattr(ASRModel, "_get_ngc_pretrained_model_info", lambda **_: (EncDecCTCModelBPE, str(path)))
    with pytest.raises(InputError, match="unpacked elsewhere"):
        run(parse_args(["--model", "stt_en_published", "--out", str(tmp_path / "bundles")]))
