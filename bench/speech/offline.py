"""The reference: NeMo's own offline forward under the streaming mask, greedy CTC, on the same clips."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console

from bench.machine import collect
from bench.pages.terminal import report
from bench.process import peak_host_memory_mb
from bench.progress import Bar
from bench.results import DEFINITIONS, ResultFile, Row, UtteranceRecord, default_name, result_path, row
from bench.score.rates import error_rates
from bench.speech import clips
from runtime.audio import SAMPLE_RATE
from runtime.errors import InputError

Transcribe = Callable[[npt.NDArray[np.float32]], str]


@dataclass(frozen=True)
class OfflineOptions:
    """Which checkpoint, under which mask, on what."""

    model: str  # .nemo file or a published checkpoint's name
    lookahead: int  # ms
    eval: Path | None = None  # as for a run
    lang: str = "en"
    limit: int | None = None  # first clips of each data set; None: all
    name: str | None = None  # of the result file
    out: Path = Path("bench/results")


@dataclass(frozen=True)
class Reference:
    """NeMo's recogniser."""

    name: str
    on_gpu: bool
    transcribe: Transcribe  # float32 [samples] at 16 kHz -> text


def run_offline(options: OfflineOptions, argv: Sequence[str], console: Console) -> Path:
    """Recognise every clip as a whole, write the result file and return its path.

    Raises:
        InputError: bad options or data, or a checkpoint that is missing, corrupt or lacks the look-ahead.
    """
    folder = clips.eval_folder(options.eval, console.print)
    data_sets = clips.data_sets(folder, options.lang, options.limit)
    reference = load_reference(options.model, options.lookahead)
    parts = [reference.name, f"{options.lookahead}ms", "fp32", "torch"]
    name = options.name or default_name(parts, data=folder, lang=options.lang, limit=options.limit)
    path = result_path(options.out, name)
    rows, records = [], []
    for data_set in data_sets:
        made = _recognise(reference, data_set, options.lang, console)
        rows.append(_row(reference, data_set, made, options))
        records.extend(made)
    provenance = collect(argv, [clips.provenance(data_set) for data_set in data_sets])
    report(path, ResultFile(provenance=provenance, rows=rows, definitions=DEFINITIONS, utterances=records), console)
    return path


def load_reference(model: str, lookahead_ms: int) -> Reference:
    """NeMo's preprocessor, encoder and CTC head under the mask of a look-ahead, FP32, on a GPU where torch finds one.

    Raises:
        InputError: a checkpoint that is missing, corrupt, without a CTC head or a tokenizer, or not trained for the look-ahead.
    """
    import sentencepiece
    import torch

    from export.checkpoint import load_checkpoint
    from export.parity import nemo_offline

    checkpoint = load_checkpoint(model)
    if checkpoint.ctc_head is None:
        raise InputError(
            f"expected a checkpoint with a CTC head, found {model} with an RNN-T alone; measure its bundle with `bench run`"
        )
    if checkpoint.tokenizer is None:
        raise InputError(f"expected a trained checkpoint, found {model}; random weights have no error rate")
    right = checkpoint.architecture.lookahead_frames(lookahead_ms)
    tokenizer = sentencepiece.SentencePieceProcessor(model_proto=checkpoint.tokenizer)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.allow_tf32 = False  # FP32 means FP32
    for part in (checkpoint.preprocessor, checkpoint.encoder, checkpoint.ctc_head):
        part.to(device)

    def transcribe(samples: npt.NDArray[np.float32]) -> str:
        best = np.argmax(np.asarray(nemo_offline(checkpoint, right, samples).log_probs), -1).tolist()  # [T]
        blank = checkpoint.architecture.vocabulary
        return str(tokenizer.decode([token for token, _ in groupby(best) if token != blank]))

    return Reference(checkpoint.name, device.type == "cuda", transcribe)


def _recognise(reference: Reference, data_set: clips.DataSet, lang: str, console: Console) -> list[UtteranceRecord]:
    records: list[UtteranceRecord] = []
    done_s = 0.0
    with Bar(console, f"{data_set.name} offline", len(data_set.utterances), data_set.minutes * 60) as bar:
        for utterance in data_set.utterances:
            clip = clips.load(data_set, utterance, SAMPLE_RATE, mark_speech=False)
            records.append(
                UtteranceRecord(
                    data=data_set.name,
                    mode="offline",
                    audio=clip.name,
                    reference=clip.reference,
                    hypothesis=reference.transcribe(clip.samples),
                    audio_s=clip.audio_s,
                )
            )
            done_s += clip.audio_s
            bar.done(len(records), done_s, error_rates(*_texts(records), lang).wer)
    return records


def _row(reference: Reference, data_set: clips.DataSet, records: list[UtteranceRecord], options: OfflineOptions) -> Row:
    rates = error_rates(*_texts(records), options.lang)
    return row(
        model=reference.name,
        weights="trained",
        decoder="ctc",
        precision="fp32",
        backend="torch",
        lookahead_ms=options.lookahead,
        data=data_set.name,
        wer=rates.wer,
        cer=rates.cer,
        mode="offline",
        functional_check=not reference.on_gpu,
        clips=len(records),
        left_out=data_set.left_out,
        limit=options.limit,
        audio_minutes=sum(record.audio_s for record in records) / 60,
        peak_host_memory_mb=peak_host_memory_mb(),
    )


def _texts(records: list[UtteranceRecord]) -> tuple[list[str], list[str]]:
    return [record.reference for record in records], [record.hypothesis for record in records]
