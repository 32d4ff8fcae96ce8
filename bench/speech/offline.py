"""`python -m bench offline`: the reference, NeMo's own offline forward under the streaming mask, decoded greedily, on the same clips."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from rich.console import Console

from bench.process import peak_host_memory_mb
from bench.progress import Bar
from bench.results import default_name, result_path
from bench.rows import SpeechRow, UtteranceRecord
from bench.session import DataOptions, Written
from bench.speech.clips import Audio, DataSet
from bench.speech.speech_session import read_data
from bench.summary import RunningWer, error_keys
from export.languages import USUAL
from runtime.audio import SAMPLE_RATE
from runtime.bundle import Decoding
from runtime.decoders.transcript import text_of
from runtime.errors import InputError, imported
from runtime.languages import known_language


@dataclass(frozen=True, kw_only=True)
class Options(DataOptions):
    """Which checkpoint, under which mask, on what."""

    model: str
    """.nemo file or a published checkpoint's name."""
    lookahead: int = 80
    """In ms."""


@dataclass(frozen=True)
class OfflineRecognizer:
    """NeMo's recogniser of whole clips."""

    name: str
    decoder: Decoding
    told: bool
    """Whether the checkpoint was told the language; else nothing is known of the one that it was trained for."""
    on_gpu: bool
    transcribe: Callable[[Audio], str]
    """float32 [samples] at 16 kHz -> text."""


def run(options: Options, argv: Sequence[str], console: Console) -> Written:
    """Recognise every clip as a whole and write the result file.

    Raises:
        InputError: bad options or data, or a checkpoint that is missing, corrupt or lacks the look-ahead; nothing is written then.
    """
    data = read_data(options, argv, console)
    recognizer = load_recognizer(options.model, options.lookahead, options.lang)
    parts = [recognizer.name, f"{options.lookahead}ms", "fp32", "torch"]
    parts += ["rnnt"] if recognizer.decoder == "rnnt" else []
    name = options.name or default_name(parts, data=data.folder, lang=options.lang, limit=options.limit)
    path = result_path(options.out, name)
    written = data.write(path, (measure(recognizer, options, data_set, console) for data_set in data.sets))
    if recognizer.told or options.lang == USUAL:
        return written
    return replace(written, notes=[f"{recognizer.name} does not say its language: see that it is {options.lang}"])


def load_recognizer(model: str, lookahead_ms: int, lang: str) -> OfflineRecognizer:
    """Return NeMo's preprocessor, encoder and CTC head under the mask of a look-ahead, FP32, on a GPU where torch finds one.

    A transducer alone is decoded by NeMo's greedy RNN-T, on the CPU. `lang`: what a checkpoint with prompts is told.

    Raises:
        InputError: a checkpoint that is missing, corrupt, without a tokenizer, or not trained for the look-ahead or the language.
    """
    remedy = "`make setup` without FOR=runtime installs them: run it with build/venv-VERSION-cpu/bin/python"
    torch = imported("torch", "torch and NeMo, which compute the reference", remedy)
    import sentencepiece

    from export.checkpoint import check_choice, load_checkpoint
    from export.parity import nemo_greedy_rnnt, nemo_offline

    check_choice(model, lookahead_ms, lang)
    checkpoint = load_checkpoint(model)
    prompt = (
        checkpoint.prompts[known_language(lang, checkpoint.prompts, checkpoint.name)] if checkpoint.prompts else None
    )
    if checkpoint.tokenizer is None:
        raise InputError(f"expected a trained checkpoint, found {model}; random weights have no error rate")
    right = checkpoint.architecture.lookahead_frames(lookahead_ms)
    tokenizer = sentencepiece.SentencePieceProcessor(model_proto=checkpoint.tokenizer)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cudnn.allow_tf32 = False  # FP32 means FP32
    for part in (checkpoint.preprocessor, checkpoint.encoder, checkpoint.prompt_kernel, checkpoint.ctc_head):
        if part is not None:
            part.to(device)
    blank, texts = checkpoint.architecture.vocabulary, text_of(checkpoint.vocabulary)

    def transcribe(samples: Audio) -> str:
        heard = nemo_offline(checkpoint, right, samples, prompt)
        if heard.log_probs is None:
            tokens = list(nemo_greedy_rnnt(checkpoint, heard.encoded).tokens)
        else:
            tokens = [token for token, _ in groupby(heard.log_probs.argmax(-1).tolist()) if token != blank]
        return str(tokenizer.decode([token for token in tokens if texts[token]]))

    decoder: Decoding = "rnnt" if checkpoint.ctc_head is None else "ctc"
    return OfflineRecognizer(checkpoint.name, decoder, prompt is not None, device.type == "cuda", transcribe)


def measure(
    recognizer: OfflineRecognizer, options: Options, data_set: DataSet, console: Console
) -> tuple[SpeechRow, list[UtteranceRecord]]:
    """Recognise a data set's clips; return the row and what it sums up."""
    records: list[UtteranceRecord] = []
    done_s, wer = 0.0, RunningWer()
    with Bar(console, f"{data_set.name} offline", len(data_set.utterances), data_set.minutes * 60) as bar:
        for clip in data_set.load(SAMPLE_RATE, mark_speech=False):
            records.append(data_set.record(clip, mode="offline", hypothesis=recognizer.transcribe(clip.samples)))
            done_s += clip.audio_s
            bar.done(len(records), done_s, wer.of(records))
    row = SpeechRow(
        model=recognizer.name,
        weights="trained",
        decoder=recognizer.decoder,
        precision="fp32",
        backend="torch",
        lookahead_ms=options.lookahead,
        data=data_set.name,
        lang=data_set.lang,
        mode="offline",
        functional_check=not recognizer.on_gpu,
        clips=len(records),
        left_out=data_set.left_out,
        limit=options.limit,
        audio_minutes=done_s / 60,
        peak_host_memory_mb=peak_host_memory_mb(),
        **error_keys(records),
    )
    return row, records
