"""What travels in the bundle: which language model is the checkpoint's, that another one makes it again, and what an export keeps.

So do word models.
"""

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from export.bundle import export_bundle, is_current, write_bundle
from export.checkpoint import EMBEDDED, Checkpoint
from export.companions import Companions, beside, companions, words_beside
from runtime.bundle import read_bundle
from runtime.errors import InputError
from runtime.files import sha256
from runtime.word_models import WordModels, word_model

pytestmark = pytest.mark.nemo

NAME = Path(EMBEDDED).stem
LM = Path(EMBEDDED).with_name(f"{NAME}.lm_en_4gram.kenlm")


@pytest.mark.parametrize(
    ("there", "found"),
    [
        ([], None),
        (["a.lm.kenlm"], "a.lm.kenlm"),
        (["a.lm.kenlm", "a.lm_words.txt", "b.lm.kenlm", "lm.kenlm", "a.b.lm.kenlm", "aa.lm.kenlm"], "a.lm.kenlm"),
        (["a.lm.arpa", "b.lm.kenlm"], None),
    ],
)
def test_beside(tmp_path: Path, there: list[str], found: str | None) -> None:
    for name in there:
        (tmp_path / name).touch()
    assert beside(tmp_path / "a.nemo") == (tmp_path / found if found else None)
    assert beside(tmp_path / "a") is None, "a published name"
    assert beside(tmp_path / "none" / "a.nemo") is None


def test_two_beside_are_one_line(tmp_path: Path) -> None:
    for name in ("a.lm.kenlm", "a.other.kenlm"):
        (tmp_path / name).touch()
    with pytest.raises(
        InputError, match=r"^expected one .*, found a\.lm\.kenlm and a\.other\.kenlm; name one with --lm$"
    ):
        beside(tmp_path / "a.nemo")


def test_the_bundle_carries_them(bundle: Path) -> None:
    manifest = read_bundle(bundle)
    assert manifest.language_model is not None
    assert manifest.voice_activity is not None
    assert manifest.language_model.name == "lm_en_4gram"
    assert sha256(bundle / manifest.language_model.model.file) == sha256(LM)
    words = LM.with_name(f"{NAME}.lm_en_words.txt").read_bytes()
    assert (bundle / manifest.language_model.words.file).read_bytes() == words
    assert (bundle / manifest.voice_activity.file).stat().st_size > 1_000_000


@pytest.mark.parametrize(
    ("lm", "current"), [("default", True), (str(LM), True), (LM, True), ("none", False), ("{other}", False)]
)
def test_another_language_model_makes_it_again(bundle: Path, tmp_path: Path, lm: str | Path, current: bool) -> None:
    other = tmp_path / LM.name
    shutil.copy(LM.with_name(f"{NAME}.lm_en_words.txt"), tmp_path)
    other.write_bytes(LM.read_bytes() + b"\n")
    assert is_current(bundle, EMBEDDED, other if lm == "{other}" else lm) == current


@pytest.mark.parametrize("name", ["lm.kenlm", "lm_words.txt", "silero_vad_16k_op15.onnx", "tokenizer.model"])
def test_a_damaged_companion_makes_it_again(bundle: Path, tmp_path: Path, name: str) -> None:
    folder = shutil.copytree(bundle, tmp_path / "bundle")
    assert is_current(folder, EMBEDDED)
    (folder / name).write_bytes(b"")
    assert not is_current(folder, EMBEDDED)


def test_an_export_keeps_plans_and_calibration(checkpoint: Checkpoint, bundle: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(bundle, tmp_path / "bundle"))
    assert read_bundle(folder).language_model is not None
    (folder / "plans").mkdir(exist_ok=True)
    kept = {"plans/step.fp16.plan": b"plan", "plans/step.fp16.plan.json": b"{}", "calibration.json": b"1"}
    gone = {"plans/.step.fp16.plan.1.part": b"", "step.int8.onnx": b"", "accuracy.json": b""}
    for name, content in {**kept, **gone}.items():
        (folder / name).write_bytes(content)
    write_bundle(checkpoint, 80, folder, companions(EMBEDDED, NAME, "none"))
    assert read_bundle(folder).language_model is None
    assert {name: (folder / name).read_bytes() for name in kept} == kept
    assert not any((folder / name).exists() for name in gone)
    # What a stamp compares: the same checkpoint's graph is the same file, so that its plan stays good.
    assert read_bundle(folder).step("fp16").sha256 == read_bundle(bundle).step("fp16").sha256


def test_a_language_model_that_does_not_go_with_it_is_one_line(checkpoint: Checkpoint, tmp_path: Path) -> None:
    shouting = dataclasses.replace(checkpoint, vocabulary=tuple(each.upper() for each in checkpoint.vocabulary))
    with pytest.raises(InputError, match=r"can spell, found 0% of those of lm_en_4gram; take one of its language"):
        write_bundle(shouting, 80, tmp_path / "bundle", companions(EMBEDDED, NAME, "default"))
    assert not list(tmp_path.iterdir())


def test_another_language_model_alone_is_replaced_and_unasked_none_is(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("export.bundle.load_checkpoint", None)  # nothing is exported again
    folder = Path(shutil.copytree(bundle, tmp_path / f"{NAME}-80ms"))
    (folder / "plans").mkdir(exist_ok=True)
    (folder / "plans" / "step.fp16.plan").write_text("a plan")
    before = {path.name: sha256(path) for path in folder.iterdir() if path.is_file()}
    export_bundle(EMBEDDED, 80, tmp_path, "none")
    assert read_bundle(folder).language_model is None
    assert not (folder / "lm.kenlm").exists()
    assert (folder / "plans" / "step.fp16.plan").read_text() == "a plan"
    assert is_current(folder, EMBEDDED), "without a word of a language model it stays as it is"
    export_bundle(EMBEDDED, 80, tmp_path, "default")
    assert {path.name: sha256(path) for path in folder.iterdir() if path.is_file()} == before


def test_an_export_anew_keeps_the_language_model_that_was_chosen(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(bundle, tmp_path / f"{NAME}-80ms"))
    export_bundle(EMBEDDED, 80, tmp_path, "none")
    written: list[Companions] = []
    monkeypatch.setattr("export.bundle.load_checkpoint", lambda model: model)
    monkeypatch.setattr("export.bundle.write_bundle", lambda *given, **_: written.append(given[-1]))
    export_bundle(EMBEDDED, 80, tmp_path)
    shutil.rmtree(folder)
    export_bundle(EMBEDDED, 80, tmp_path)
    assert [each.language_model is None for each in written] == [True, False], "a new bundle has the checkpoint's own"


def test_words_beside(tmp_path: Path) -> None:
    (tmp_path / "a.words-80ms.json").touch()
    assert words_beside(tmp_path / "a.nemo", 80) == tmp_path / "a.words-80ms.json"
    assert words_beside(tmp_path / "a.nemo", 480) is None
    assert words_beside(tmp_path / "a", 80) is None, "a published name"


@pytest.mark.parametrize("lookahead_ms", [0, 80, 480, 1040])
def test_the_bundle_carries_the_word_models_of_its_look_ahead(
    bundle_at: Callable[[int], Path], lookahead_ms: int
) -> None:
    beside = words_beside(Path(EMBEDDED), lookahead_ms)
    assert beside is not None
    folder = bundle_at(lookahead_ms)
    found = word_model(folder, read_bundle(folder), "ctc")
    assert found == WordModels.model_validate_json(beside.read_bytes()).searches["ctc"]


def changed(content: bytes, **keys: object) -> bytes:
    return json.dumps(json.loads(content) | keys).encode()


@pytest.mark.parametrize(
    ("own", "kept"),
    [({"clips": 7}, True), ({"checkpoint_sha256": "0" * 64}, False), ({"lookahead_ms": 480}, False), (None, False)],
)
def test_an_export_keeps_a_bundle_s_own_word_models_that_fit(
    bundle: Path, tmp_path: Path, own: dict[str, object] | None, kept: bool
) -> None:
    beside = Path(EMBEDDED).with_suffix(".words-80ms.json")
    content = changed(beside.read_bytes(), **own) if own else b"{"
    (tmp_path / "words.json").write_bytes(content)
    Companions(words=beside).add_words(tmp_path, read_bundle(bundle))
    assert (tmp_path / "words.json").read_bytes() == (content if kept else beside.read_bytes())


def test_word_models_that_do_not_go_with_it_are_one_line(bundle: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.json"
    other.write_bytes(changed(Path(EMBEDDED).with_suffix(".words-80ms.json").read_bytes(), lookahead_ms=0))
    with pytest.raises(InputError, match=r"^expected .* measured with .* at 80 ms, found it of another checkpoint or"):
        Companions(words=other).add_words(tmp_path, read_bundle(bundle))
    Companions().add_words(tmp_path, read_bundle(bundle))
    assert not (tmp_path / "words.json").exists(), "and without any the plain model counts"
