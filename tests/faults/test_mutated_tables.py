"""Tables of a Common Voice release that were damaged: refused in one line, or the manifests that come of them are read back."""

import random
from pathlib import Path
from random import Random

import numpy as np
import pytest
import soundfile

from data.common_voice import Selection, make_manifests
from data.manifest import read_manifest
from tests.faults.test_mutated_files import FILES, TEXTS, refused

CLIPS, COLUMNS = 12, ["client_id", "path", "sentence", "up_votes", "locale"]
CELLS = ["", " ", '"', '"a', "a\tb", "a\nb", "a\r", "\0", "﻿", "../x.mp3", "/etc/passwd", "no.mp3", "0.wav", "de", "-1"]


@pytest.fixture
def release(tmp_path: Path) -> Path:
    folder = tmp_path / "en"
    (folder / "clips").mkdir(parents=True)
    for number in range(CLIPS):
        soundfile.write(folder / "clips" / f"{number}.wav", np.full(3200, 0.1), 16_000)
    return folder


def damaged_table(rng: Random) -> bytes:
    """The release's table with cells, columns, rows or bytes that are others, are gone or are there twice."""
    rows = [COLUMNS, *([f"s{each}", f"{each}.wav", f"Sentence {each}.", "2", "en"] for each in range(CLIPS))]
    rows = [[*row] for row in rows]
    for _ in range(rng.choice([0, 1, 1, 2, 5])):
        row = rng.choice(rows)
        how = rng.choice(["cell", "cell", "cell", "remove", "double", "row", "rows", "column"])
        if how == "cell" and row:
            row[rng.randrange(len(row))] = rng.choice([*CELLS, *(text for text in TEXTS if text.isascii())])
        elif how == "remove" and row:
            del row[rng.randrange(len(row))]
        elif how == "double":
            rows.append([*row])
        elif how == "row" and len(rows) > 1:
            rows.remove(row)
        elif how == "rows":
            rng.shuffle(rows)
        elif how == "column":
            place = rng.randrange(len(COLUMNS))
            rows = [each[:place] + each[place + 1 :] for each in rows]
    content = "\n".join("\t".join(row) for row in rows).encode()
    how, at = rng.choice(["whole"] * 6 + ["cut", "bytes", "mark", "utf-16", "crlf"]), rng.randint(0, len(content))
    return {
        "whole": content,
        "cut": content[:at],
        "bytes": content[:at] + rng.randbytes(rng.randint(0, 4)) + content[at + rng.randint(0, 4) :],
        "mark": b"\xef\xbb\xbf" + content,
        "utf-16": content.decode().encode("utf-16"),
        "crlf": content.replace(b"\n", b"\r\n"),
    }[how]


@FILES
def test_tables(release: Path, tmp_path: Path, files: int) -> None:
    seen, out = {True: 0, False: 0}, tmp_path / "out"

    def use() -> None:
        for manifest in make_manifests(release, "en", out, Selection(eval_clips=4, calib_clips=2, allow=0.5)):
            assert all(each.audio.resolve().is_relative_to(release) for each in read_manifest(manifest))

    for seed in range(files):
        (release / "validated.tsv").write_bytes(damaged_table(random.Random(seed)))
        seen[refused(use)] += 1
    print(f"{seen[True]} of {sum(seen.values())} refused")
    assert min(seen.values()) >= files / 20
