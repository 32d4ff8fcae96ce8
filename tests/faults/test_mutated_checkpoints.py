"""A small checkpoint that was damaged or made up, through NeMo: refused in one line, or whole modules; never a crash or a hang."""

import io
import re
import resource
import tarfile
import time
from pathlib import Path
from random import Random

import pytest
import torch
import yaml

from export import trial
from export.checkpoint import EMBEDDED, load_checkpoint
from runtime.errors import InputError

pytestmark = pytest.mark.nemo

SECONDS = 20.0  # of computing that one file may take
SIZES = {"n_layers": 1, "d_model": 16, "n_heads": 2, "subsampling_conv_channels": 4, "pos_emb_max_len": 50}
VALUES = [
    "null",
    "-1",
    "0",
    "1000000",
    "1e30",
    ".nan",
    "[]",
    "{}",
    "text",
    "[[70, 1]]",
    "nemo.core.Serialization",
    "os.system",
    "${encoder}",
    "'${oc.env:HOME}'",
]


@pytest.fixture(scope="module")
def members() -> dict[str, bytes]:
    """Of a checkpoint of one small layer, with the embedded one's tokenizer."""
    from nemo.collections.asr import modules

    with tarfile.open(EMBEDDED) as archive:
        opened = {each.name: archive.extractfile(each) for each in archive}
        found = {name: content.read() for name, content in opened.items() if content}
    config = yaml.safe_load(found["./model_config.yaml"])
    config["encoder"] |= SIZES
    config["decoder"]["feat_in"] = SIZES["d_model"]
    made = {
        "preprocessor": modules.AudioToMelSpectrogramPreprocessor,
        "encoder": modules.ConformerEncoder,
        "decoder": modules.ConvASRDecoder,
    }
    weights: dict[str, torch.Tensor] = {}
    for part, kind in made.items():
        of = {key: value for key, value in config[part].items() if key != "_target_"}
        weights |= {f"{part}.{key}": value for key, value in kind(**of).state_dict().items()}
    file = io.BytesIO()
    torch.save(weights, file)
    return found | {"./model_config.yaml": yaml.safe_dump(config).encode(), "./model_weights.ckpt": file.getvalue()}


def packed(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return file.getvalue()


def damaged_bytes(content: bytes, rng: Random) -> bytes:
    made = bytearray(content)
    for _ in range(rng.choice([1, 2, 8])):
        at = rng.randrange(len(made))
        made[at : at + rng.choice([1, 4])] = rng.randbytes(rng.choice([1, 4]))
    return bytes(made[: rng.randrange(len(made)) if rng.random() < 0.1 else None])


def damaged_config(content: bytes, rng: Random) -> bytes:
    """A few keys with other values, or gone."""
    lines = content.decode().splitlines()
    for _ in range(rng.choice([1, 1, 2, 4])):
        at = rng.randrange(len(lines))
        key = re.match(r"( *(?:- )?\w+:) ", lines[at])
        lines[at] = f"{key[1]} {rng.choice(VALUES)}" if key else rng.choice([lines[at], ""])
    return "\n".join(lines).encode()


def damaged(members: dict[str, bytes], rng: Random) -> bytes:
    name = rng.choice([name for name in members if "vocab" not in name])
    how = rng.choice(["bytes", "config", "config", "gone", "archive"])
    if how == "archive":
        return damaged_bytes(packed(members), rng)
    if how == "gone":
        return packed({each: content for each, content in members.items() if each != name})
    if how == "config":
        return packed(members | {"./model_config.yaml": damaged_config(members["./model_config.yaml"], rng)})
    return packed(members | {name: damaged_bytes(members[name], rng)})


def computed_s() -> float:
    """Seconds of computing, of trials too: by the clock others have their share."""
    trials = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + trials.ru_utime + trials.ru_stime


@pytest.mark.parametrize("files", [pytest.param(12, id="some"), pytest.param(300, id="many", marks=pytest.mark.soak)])
def test_checkpoints(members: dict[str, bytes], files: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trial, "CPU_S", 5)
    path, seen = tmp_path / "small.nemo", {True: 0, False: 0}
    path.write_bytes(packed(members))
    assert load_checkpoint(str(path)).architecture.width == 16
    for seed in range(files):
        path.write_bytes(damaged(members, Random(seed)))
        began, said = computed_s(), None
        try:
            load_checkpoint(str(path))
        except InputError as error:
            said = str(error)
        assert computed_s() - began < SECONDS, f"seed {seed}"
        assert said is None or (said.isprintable() and len(said) < 1500), repr(said)
        seen[said is not None] += 1
    print(f"{seen[True]} of {files} refused")
    assert min(seen.values()) >= files / 20
