"""bundle.json: the contract between export and everything after it, checked whole before anything is loaded."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from .entries import MAX_SYMBOLS, PROMPT, FileEntry, Hash, LanguageModelEntry, Positive, RnntEntry, StepEntry, Strict
from .errors import InputError
from .files import sha256
from .languages import find_language, known_language

MANIFEST = "bundle.json"
ADDED = ("plans", "calibration.json", "sensitivity.json", "words.json")
"""What engines and calibration add to the folder. Each has a stamp or hashes that say which bundle it is of."""

Precision = Literal["fp32", "fp16", "int8"]
Decoding = Literal["ctc", "rnnt"]
Graph = Literal["step", "rnnt", "batched"]
"""What a plan is built from: the step, the evaluation that RNN-T needs beside it, or the step over many streams."""


class CheckpointEntry(Strict):
    """Where the weights come from."""

    name: str
    sha256: Hash
    weights: Literal["trained", "random"]


class Parity(Strict):
    """Largest differences from NeMo's offline forward under the same mask, seen when the bundle was made."""

    frames: Positive
    """Encoder frames compared."""
    encoded: float
    log_probs: float | None
    """None without a CTC head, and so is `tokens_identical`."""
    tokens_identical: bool | None
    rnnt_tokens: Annotated[int, Field(ge=0)] | None = None
    """Tokens of NeMo's greedy RNN-T over its own encoded frames; None without a transducer."""
    rnnt_identical: bool | None = None
    """Whether the evaluation gives the same over the same frames."""
    rnnt_log_probs: float | None = None
    """Of those tokens' log-probabilities; None also where the evaluation gives other tokens."""
    batched: float | None = None
    """Of encoded frames, a row of the step over many streams from the step; None without one."""


class Quantisation(Strict):
    """How the INT8 step was made."""

    method: str
    """Of the activations' thresholds, as entropy."""
    calibration_sha256: Hash
    """Of the calibration file."""
    kept: list[str]
    """Products left in FP16: quantised, they cost more accuracy than they are worth."""
    sources: Hash
    """Of what put the Q/DQ into the step."""


class Bundle(Strict):
    """What a runtime must know of an exported checkpoint. Lengths in samples at `sample_rate`, or in frames where the name says so."""

    schema_version: Literal[2] = 2
    exporter: Hash
    """Hash of the exporter's sources."""
    checkpoint: CheckpointEntry
    language: Annotated[str, Field(min_length=1)] = "en"
    """What a stream hears unless it asks for another: the checkpoint's one language, such as de, or a key of `prompts`."""
    prompts: Annotated[dict[str, Annotated[int, Field(ge=0)]], Field(min_length=1)] | None = None
    """Of a checkpoint that is told the language, by language the number that the step takes as `prompt`; None for one language."""
    lookahead_ms: Annotated[int, Field(ge=0)]
    sample_rate: Positive
    hop_samples: Positive
    """Samples between mel frames."""
    encoder_frame_ms: Positive
    subsampling_stages: Annotated[int, Field(gt=0, le=8)]
    """Stride-2 convolutions: n frames in, n // 2 + 1 out, each."""
    chunk_frames: Positive
    """Encoder frames out per step."""
    chunk_samples: Positive
    """New samples per step."""
    window_samples: Positive
    """Samples fed per step; it overlaps the previous step's window."""
    first_step_samples: Positive
    """Samples of an utterance that must have arrived before its first step."""
    preemphasis: Annotated[float, Field(ge=0, lt=1)]
    """The flush continues the audio as x[n] = preemphasis * x[n-1], which the front end sees as silence."""
    vocabulary: Annotated[list[str], Field(min_length=1)]
    """SentencePiece pieces by token id."""
    blank: Annotated[int, Field(ge=0)]
    decoders: Annotated[list[Decoding], Field(min_length=1)]
    """Those that the checkpoint was trained for, the best first."""
    tokenizer: FileEntry | None
    """The SentencePiece model, where the checkpoint has one."""
    language_model: LanguageModelEntry | None = None
    """What CTC decoding takes by default; None for greedy decoding."""
    voice_activity: FileEntry | None = None
    """Silero VAD's model, for endpoints and barge-in; None where it was not installed at export."""
    steps: dict[Precision, StepEntry]
    parity: dict[Precision, Parity]
    """Of what `make export` made, by precision; empty only while the bundle is being made."""
    quantisation: Quantisation | None = None
    """None until `make calibrate` adds the INT8 step."""
    rnnt: dict[Precision, RnntEntry] | None = None
    """A transducer's evaluation by precision; None without one. The INT8 step has that of FP16."""
    batched: dict[Precision, StepEntry] | None = None
    """The step over many streams by precision, its shapes those of one stream, where `make export` was asked for it."""

    @model_validator(mode="after")
    def _language_known(self) -> "Bundle":
        if self.prompts and self.language not in self.prompts:
            raise ValueError(f"language {self.language} is none of the {len(self.prompts)} that have prompts")
        return self

    @model_validator(mode="after")
    def _consistent(self) -> "Bundle":
        if self.blank != len(self.vocabulary):
            raise ValueError(f"blank {self.blank} is not the id after the {len(self.vocabulary)} vocabulary pieces")
        frame_samples = self.hop_samples << self.subsampling_stages
        if self.sample_rate * self.encoder_frame_ms != 1000 * frame_samples:
            raise ValueError(
                f"{frame_samples} samples at {self.sample_rate} Hz are no encoder frame of {self.encoder_frame_ms} ms"
            )
        if self.chunk_samples != self.chunk_frames * frame_samples:
            raise ValueError(f"{self.chunk_samples} samples are no chunk of {self.chunk_frames} encoder frames")
        if self.window_samples < max(self.chunk_samples, self.first_step_samples):
            raise ValueError(f"a window of {self.window_samples} samples is shorter than what a step waits for")
        decoders, ctc = ", ".join(self.decoders), "ctc" in self.decoders
        shapes = {
            "audio": [1, self.window_samples],
            PROMPT: [1] if self.prompts else None,
            "tokens": [1, self.chunk_frames] if ctc else None,
            "log_probs": [1, self.chunk_frames, self.blank + 1] if ctc else None,
        }
        for precision, step in self.steps.items():
            found = {spec.name: spec.shape for spec in step.tensors}
            for name, expected in shapes.items():
                if found.get(name) != expected:
                    raise ValueError(
                        f"step {precision} with the decoders {decoders} has {name} {found.get(name)}, not {expected}"
                    )
        if ("rnnt" in self.decoders) != bool(self.rnnt) and self.steps:
            raise ValueError(f"decoders {decoders} with {len(self.rnnt or {})} evaluations of RNN-T")
        for precision, evaluation in (self.rnnt or {}).items():
            frames = evaluation.input("encoded").shape[1]
            symbols, scores = (evaluation.input(name).shape for name in ("symbols", "scores"))
            if frames != self.chunk_frames or not symbols == scores == [1, frames, MAX_SYMBOLS]:
                raise ValueError(
                    f"rnnt {precision} takes {frames} frames, symbols {symbols} and scores {scores}, not {self.chunk_frames}"
                )
        for precision, batched in (self.batched or {}).items():
            if precision not in self.steps or batched.tensors != self.steps[precision].tensors:
                raise ValueError(f"batched {precision} has other inputs or outputs than the step")
        return self

    @property
    def files(self) -> list[FileEntry]:
        """All that the manifest names."""
        lm = self.language_model
        companions = [self.tokenizer, self.voice_activity, *((lm.model, lm.words) if lm else ())]
        graphs = [graph for kind in (self.steps, self.rnnt, self.batched) for graph in (kind or {}).values()]
        return [*graphs, *(entry for entry in companions if entry)]

    def decoder(self, asked: str | None) -> Decoding:
        """The decoder of that name, or the best one for None; raises InputError for one that the bundle lacks."""
        for decoder in self.decoders:
            if asked in (decoder, None):
                return decoder
        raise InputError(
            f"expected a decoder of the bundle ({', '.join(self.decoders)}), found {asked}; choose one of them"
        )

    def language_of(self, asked: str | None) -> str:
        """The bundle's name for a language asked for, its own for None. Raises InputError for one that the checkpoint does not have."""
        if self.prompts and asked is not None:
            return known_language(asked, self.prompts, self.checkpoint.name)
        if asked is not None and find_language(asked, [self.language]) is None:
            raise InputError(
                f"expected {self.language}, the one language of {self.checkpoint.name}, found {asked}; choose a checkpoint for it or, if "
                f"this is one, say so with `make export LANGUAGE={asked}`"
            )
        return self.language

    def prompt(self, asked: str | None) -> int | None:
        """The number that tells the step a language, None for the bundle's own; None for a checkpoint of one. Raises as `language_of`."""
        name = self.language_of(asked)
        return self.prompts[name] if self.prompts else None

    @property
    def step_decoder(self) -> Decoding:
        """The decoder that needs least beside the step: ctc where there is a CTC head."""
        return "ctc" if "ctc" in self.decoders else "rnnt"

    def check_ctc(self, use: str) -> None:
        """Raise InputError unless there is a CTC head, whose log-probabilities `use` needs."""
        if "ctc" not in self.decoders:
            raise InputError(
                f"expected a bundle with a CTC head for {use}, found {self.checkpoint.name} with {', '.join(self.decoders)} alone; "
                f"do without, or choose a CTC or hybrid checkpoint"
            )

    def step(self, precision: str) -> StepEntry:
        """The step of `precision`; raises InputError for one that the bundle lacks."""
        entry = {str(key): each for key, each in self.steps.items()}.get(precision)
        if entry is None:
            found = f"expected a precision of the bundle ({', '.join(self.steps)}), found {precision}"
            raise InputError(
                f"{found}; {'make it with `make calibrate`' if precision == 'int8' else 'choose one of them'}"
            )
        return entry

    @property
    def widest(self) -> Precision:
        """The precision closest to the checkpoint: fp16 where the FP32 weights exceed what an ONNX file holds, else fp32."""
        return "fp32" if "fp32" in self.steps else "fp16"

    def graph(self, precision: str, graph: Graph) -> tuple[Precision, StepEntry | RnntEntry]:
        """The step of `precision`, the evaluation that goes with it, or that step over many streams, and that graph's own precision.

        Raises InputError for a precision, a decoder or a graph that the bundle lacks.
        """
        self.step(precision)
        own = next(key for key in self.steps if key == precision)
        if graph == "rnnt":
            self.decoder("rnnt")
            own = "fp32" if precision == "fp32" else "fp16"
        kinds: dict[Graph, tuple[str, Mapping[Precision, StepEntry | RnntEntry] | None]] = {
            "step": ("the step", self.steps),
            "rnnt": ("the RNN-T evaluation", self.rnnt),
            "batched": ("the step over many streams", self.batched),
        }
        what, graphs = kinds[graph]
        entry = (graphs or {}).get(own)
        if entry is None:
            make = f"make the bundle again with `make export{' BATCH=1' if graph == 'batched' else ''}`"
            if graph == "batched" and graphs:
                make = f"choose one of {', '.join(graphs)}"
            raise InputError(f"expected {what} in {own}, found none; {make}")
        return own, entry

    def encoder_frames(self, samples: int) -> int:
        """Encoder frames of an utterance of `samples` samples, as NeMo counts them."""
        frames = samples // self.hop_samples
        for _ in range(self.subsampling_stages):
            frames = frames // 2 + 1
        return frames if samples else 0


def read_bundle(folder: Path) -> Bundle:
    """Read and check `folder`/bundle.json; raises InputError for what is missing, broken, of another schema or unknown."""
    return Bundle.read(folder / MANIFEST, "a bundle", "`make export`")


def step_file(folder: Path, bundle: Bundle, precision: str) -> tuple[Path, StepEntry]:
    """The step graph of `precision`, its hash checked; raises InputError for a missing precision, file or a wrong hash."""
    step = bundle.step(precision)
    return checked_file(folder, step), step


def checked_file(folder: Path, entry: FileEntry) -> Path:
    """Path of a bundle's file; raises InputError where it is missing or its hash is another."""
    path = folder / entry.file
    if not path.is_file():
        raise InputError(f"expected {entry.file} in the bundle {folder}, found none; make it again with `make export`")
    if (found := sha256(path)) != entry.sha256:
        raise InputError(
            f"expected {path} with sha256 {entry.sha256[:12]}..., found {found[:12]}...; make it again with `make export`"
        )
    return path


def write_manifest(folder: Path, bundle: Bundle) -> None:
    """Write bundle.json whole or not at all."""
    bundle.write(folder / MANIFEST)
