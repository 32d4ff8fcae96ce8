"""Writing a bundle: the step in each precision, the tokenizer, what goes with them, bundle.json."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from export.architecture import ENCODER_FRAME_MS
from export.checkpoint import Checkpoint, checkpoint_hash, checkpoint_name, load_checkpoint
from export.companions import LANGUAGE_MODEL_FILES, NO_COMPANIONS, Companions, companions, words_beside
from export.geometry import Geometry
from export.graph import Floating, GraphSizeError, write_graph
from export.languages import chosen_language
from export.parity import expectations, measure_parity
from export.rnnt import build_evaluation
from export.rows import rows_from_step
from export.step import build_step
from runtime.bundle import (
    ADDED,
    MANIFEST,
    Bundle,
    CheckpointEntry,
    Precision,
    checked_file,
    read_bundle,
    write_manifest,
)
from runtime.decoders.ngram import LmChoice, open_language_model
from runtime.entries import FileEntry, RnntEntry, StepEntry
from runtime.errors import InputError
from runtime.files import carry, sha256, sources_hash, written_whole
from runtime.word_models import FILE as WORD_MODELS

PRECISIONS: dict[Precision, Floating] = {"fp32": np.float32, "fp16": np.float16}
# Of encoded frames, step against NeMo: far above what rounding gives (5e-6 and 3e-3), below what an error in the exporter does.
TOLERANCES: dict[Precision, float] = {"fp32": 1e-3, "fp16": 0.1}


def bundle_folder(out: Path, model: str, lookahead_ms: int) -> Path:
    """`out`/NAME-LOOKAHEADms."""
    return out / f"{checkpoint_name(model)}-{lookahead_ms}ms"


def exporter_hash() -> str:
    """Hash of this package's sources: another exporter makes the bundle again."""
    return sources_hash(Path(__file__).parent.glob("*.py"))


def is_current(
    folder: Path, model: str, lm: LmChoice | None = None, *, language: str | None = None, batched: bool = False
) -> bool:
    """Whether `folder` holds a whole bundle that this exporter made from this checkpoint, with this language model; None: with any.

    `language`: what its streams hear by default; None: any. `batched`: whether the step over many streams must be in it.

    Raises InputError for a language that a checkpoint with prompts does not have.
    """
    wanted, carried = checkpoint_hash(model), companions(model, checkpoint_name(model), "default" if lm is None else lm)
    try:
        bundle = read_bundle(folder)
        for each in bundle.files:
            if each != bundle.steps.get("int8"):  # which `make calibrate` writes and looks after
                checked_file(folder, each)
    except InputError:
        return False
    same = (bundle.exporter, bundle.voice_activity) == (exporter_hash(), carried.voice_activity)
    asked = lm is None or bundle.language_model == carried.language_model
    asked &= bundle.batched is not None or not batched
    asked &= bundle.language == chosen_language(bundle.checkpoint.name, bundle.prompts, language, bundle.language)
    return same and asked and wanted in (None, bundle.checkpoint.sha256)


def export_bundle(
    model: str,
    lookahead_ms: int,
    out: Path,
    lm: LmChoice | None = None,
    *,
    language: str | None = None,
    batched: bool = False,
) -> Path:
    """Export `model` for one look-ahead in ms; return the bundle's folder.

    `lm`: see `companions`; `language`: see `chosen_language`. None leaves a bundle its own, and is the default for a new one. Where these
    alone are others, they alone are replaced.
    `batched`: whether the step over many streams is in it, which makes the bundle twice as large.

    Raises InputError for a checkpoint that is missing, corrupt, no streaming Conformer or not trained for that look-ahead or language.
    """
    folder = bundle_folder(out, model, lookahead_ms)
    carried = companions(model, checkpoint_name(model), "default" if lm is None else lm)
    if lm is None:
        carried = carried.with_language_model_of(folder, checkpoint_hash(model))
    if (lm is not None or language is not None) and is_current(folder, model, batched=batched):
        return _with_companions(folder, carried, language)
    if not carried.voice_activity:
        print("export: silero-vad is not installed: the bundle will know neither endpoints nor barge-in")
    print(f"export: loading {model} through NeMo")
    carried = replace(carried, words=words_beside(Path(model), lookahead_ms))
    language = language or _language_of(folder, checkpoint_hash(model))
    write_bundle(load_checkpoint(model), lookahead_ms, folder, carried, language=language, batched=batched)
    return folder


def write_bundle(
    checkpoint: Checkpoint,
    lookahead_ms: int,
    folder: Path,
    carried: Companions = NO_COMPANIONS,
    *,
    batched: bool = False,
    language: str | None = None,
) -> Bundle:
    """Write a loaded checkpoint's bundle for one look-ahead in ms into `folder`, with its parity against NeMo.

    `batched`: with the step over many streams. `language`: what its streams hear by default, see `chosen_language`.

    Plans and calibration that the folder holds stay there: they say themselves whether they still fit. So do word models that fit.

    Raises InputError, and writes nothing, for a look-ahead or a language that it lacks, a step that differs from NeMo or is too large in
    every precision, and for a language model that does not go with the checkpoint.
    """
    language = chosen_language(checkpoint.name, checkpoint.prompts, language, None)
    lookahead = checkpoint.architecture.lookahead_frames(lookahead_ms)
    left = checkpoint.architecture.left_context_frames
    geometry = Geometry(
        lookahead, left, hop_samples=checkpoint.mel.hop_samples, fft_window_samples=len(checkpoint.mel.window)
    )
    with written_whole(folder) as partial:
        partial.mkdir()
        bundle = _describe(checkpoint, geometry, lookahead_ms, carried, language)
        _copy_companions(carried, partial, bundle)
        for name in ADDED:
            carry(folder / name, partial / name)
        carried.add_words(partial, bundle)
        if checkpoint.tokenizer:
            tokenizer = partial / "tokenizer.model"
            tokenizer.write_bytes(checkpoint.tokenizer)
            bundle = bundle.model_copy(update={"tokenizer": FileEntry(file=tokenizer.name, sha256=sha256(tokenizer))})
        expected = expectations(checkpoint, bundle, lookahead)
        for precision, compute in PRECISIONS.items():
            try:
                model = build_step(checkpoint.architecture, geometry, checkpoint.mel, checkpoint.weights, compute)
            except GraphSizeError as error:
                print(f"export: step.{precision}.onnx is left out: {error}")
                continue
            step = write_graph(partial / f"step.{precision}.onnx", model, StepEntry)
            bundle = bundle.model_copy(update={"steps": {**bundle.steps, precision: step}})
            if checkpoint.architecture.transducer:
                model = build_evaluation(checkpoint.architecture, geometry.chunk_frames, checkpoint.weights, compute)
                evaluation = write_graph(partial / f"rnnt.{precision}.onnx", model, RnntEntry)
                bundle = bundle.model_copy(update={"rnnt": {**(bundle.rnnt or {}), precision: evaluation}})
            write_manifest(partial, bundle)
            parity = measure_parity(expected, partial, precision)
            head = "" if parity.log_probs is None else f", log-probabilities within {parity.log_probs:.1e}"
            print(
                f"export: step.{precision}.onnx: {step.parameters / 1e6:.2f} M numbers; from NeMo's offline forward over {parity.frames} "
                f"frames: encoded within {parity.encoded:.1e}{head}"
            )
            if not parity.encoded <= TOLERANCES[precision]:
                raise InputError(
                    f"expected the {precision} step within {TOLERANCES[precision]} of NeMo's offline forward, found {parity.encoded:.1e} "
                    f"for {checkpoint.name}; this checkpoint has something that the exporter does not know: please report it"
                )
            if checkpoint.architecture.transducer:
                same = "the same" if parity.rnnt_identical else "not the same"
                close = (
                    "" if parity.rnnt_log_probs is None else f", log-probabilities within {parity.rnnt_log_probs:.1e}"
                )
                print(
                    f"export: rnnt.{precision}.onnx: {same} tokens as NeMo's greedy RNN-T, which gives {parity.rnnt_tokens}{close}"
                )
                if precision == "fp32" and not parity.rnnt_identical:
                    raise InputError(
                        f"expected the tokens of NeMo's greedy RNN-T, found others for {checkpoint.name}; "
                        f"this transducer has something that the exporter does not know: please report it"
                    )
            if batched:
                bundle = _with_batched(checkpoint, geometry, partial, bundle, precision)
                parity = parity.model_copy(update={"batched": _checked_rows(partial, bundle, precision)})
            bundle = bundle.model_copy(update={"parity": {**bundle.parity, precision: parity}})
        if not bundle.steps:
            raise InputError(
                f"expected a step that an ONNX file holds, found {checkpoint.name} too large in {' and '.join(PRECISIONS)}; "
                f"choose a smaller one"
            )
        write_manifest(partial, bundle)
    return bundle


def _with_batched(
    checkpoint: Checkpoint, geometry: Geometry, folder: Path, bundle: Bundle, precision: Precision
) -> Bundle:
    """Write the step over many streams into `folder`; return the bundle with it."""
    parts = (checkpoint.architecture, geometry, checkpoint.mel, checkpoint.weights)
    model = build_step(*parts, PRECISIONS[precision], many=True)
    entry = write_graph(folder / f"batched.{precision}.onnx", model, StepEntry)
    return bundle.model_copy(update={"batched": {**(bundle.batched or {}), precision: entry}})


def _checked_rows(folder: Path, bundle: Bundle, precision: Precision) -> float:
    """How far the rows of the step over many streams are from the step. Raises InputError beyond the tolerance."""
    difference = rows_from_step(folder, bundle, precision)
    print(f"export: batched.{precision}.onnx: rows from the step of one stream: encoded within {difference:.1e}")
    if not difference <= TOLERANCES[precision]:
        raise InputError(
            f"expected rows of the {precision} step over many streams within {TOLERANCES[precision]} of the step, found {difference:.1e} "
            f"for {bundle.checkpoint.name}; this is an error of the exporter: please report it"
        )
    return difference


def _language_of(folder: Path, checkpoint_sha256: str | None) -> str | None:
    """What the bundle in `folder` hears by default, where it is of this checkpoint, else None."""
    try:
        bundle = read_bundle(folder)
    except InputError:
        return None
    return bundle.language if checkpoint_sha256 in (None, bundle.checkpoint.sha256) else None


def _with_companions(folder: Path, carried: Companions, language: str | None) -> Path:
    """Give a bundle other companions and another language, unless it is None; all else stays as it is.

    Raises InputError for a language model that does not go with it.
    """
    bundle = read_bundle(folder)
    if bundle.language_model != carried.language_model and (folder / WORD_MODELS).is_file():
        print("export: words.json stays; `make words` measures words' confidence with the bundle as it is now")
    companions = {"language_model": carried.language_model, "voice_activity": carried.voice_activity}
    language = chosen_language(bundle.checkpoint.name, bundle.prompts, language, bundle.language)
    bundle = bundle.model_copy(update={**companions, "language": language})
    with written_whole(folder) as partial:
        partial.mkdir()
        for path in folder.iterdir():
            if path.name not in (MANIFEST, *LANGUAGE_MODEL_FILES, *carried.sources):
                carry(path, partial / path.name)
        _copy_companions(carried, partial, bundle)
        write_manifest(partial, bundle)
    return folder


def _copy_companions(carried: Companions, folder: Path, bundle: Bundle) -> None:
    carried.copy_to(folder)
    if carried.language_model:
        bundle.check_ctc(f"the language model {carried.language_model.name}")
        open_language_model("default", folder, bundle)


def _describe(
    checkpoint: Checkpoint, geometry: Geometry, lookahead_ms: int, carried: Companions, language: str
) -> Bundle:
    return Bundle(
        exporter=exporter_hash(),
        checkpoint=CheckpointEntry(
            name=checkpoint.name, sha256=checkpoint.sha256, weights="trained" if checkpoint.trained else "random"
        ),
        language=language,
        prompts=None if checkpoint.prompts is None else dict(checkpoint.prompts),
        lookahead_ms=lookahead_ms,
        sample_rate=1000 * geometry.hop_samples * geometry.subsampling // ENCODER_FRAME_MS,
        hop_samples=geometry.hop_samples,
        encoder_frame_ms=ENCODER_FRAME_MS,
        subsampling_stages=geometry.stages,
        chunk_frames=geometry.chunk_frames,
        chunk_samples=geometry.chunk_samples,
        window_samples=geometry.window_samples,
        first_step_samples=geometry.first_step_samples,
        preemphasis=checkpoint.mel.preemphasis,
        vocabulary=list(checkpoint.vocabulary),
        blank=len(checkpoint.vocabulary),
        decoders=checkpoint.decoders,
        tokenizer=None,
        language_model=carried.language_model,
        voice_activity=carried.voice_activity,
        steps={},
        parity={},
    )
