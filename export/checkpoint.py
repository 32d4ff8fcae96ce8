"""From a `.nemo` file, a published checkpoint's name or `large-random` to weights, vocabulary and NeMo's own modules."""

import contextlib
import hashlib
import io
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from export.architecture import Architecture, read_architecture, read_transducer
from export.archive import guarded_connector, read_config
from export.conformer import Weights
from export.mel import MelFrontEnd
from export.trial import tried
from runtime.bundle import Decoding
from runtime.errors import InputError
from runtime.files import sha256

if TYPE_CHECKING:
    import torch  # takes seconds: what is refused or up to date does not wait for it

EMBEDDED = "data/checkpoint/streaming_fastconformer_ctc_en_small.nemo"
RANDOM = "large-random"
RANDOM_SEED = 0
RANDOM_CONFIG: dict[str, dict[str, Any]] = json.loads(Path(__file__).with_name("large_random.json").read_bytes())
"""NeMo's configuration of RANDOM: stt_en_fastconformer_hybrid_large_streaming_multi's sizes (114 M parameters with its transducer)."""
RANDOM_VOCABULARY = 1024
RANDOM_BLANK_BIAS = 0.7  # added to the joint's blank: random weights then emit a token at some frames, as speech does


@dataclass(frozen=True)
class Checkpoint:
    """A streaming FastConformer with a CTC head, a transducer or, a hybrid, both: NeMo's modules, and what the exporter takes of them."""

    name: str
    sha256: str
    """Of the `.nemo` file; of the configuration and the seed for `large-random`."""
    trained: bool
    architecture: Architecture
    vocabulary: tuple[str, ...]
    """SentencePiece pieces by token id, without the blank."""
    tokenizer: bytes | None
    """The SentencePiece model; None for `large-random`."""
    preprocessor: Any
    """NeMo's module, as `encoder` and `ctc_head`; NeMo is untyped."""
    encoder: Any
    ctc_head: Any = None
    """None where the checkpoint is a transducer alone."""
    prediction: Any = None
    """NeMo's RNNTDecoder, and `joint` its RNNTJoint: None where the architecture has no transducer."""
    joint: Any = None

    @property
    def decoders(self) -> list[Decoding]:
        """Those that it was trained for, the best first: as NeMo, for which a hybrid's CTC head is auxiliary."""
        transducer: list[Decoding] = ["rnnt"] if self.architecture.transducer else []
        return transducer if self.ctc_head is None else [*transducer, "ctc"]

    @cached_property
    def mel(self) -> MelFrontEnd:
        """What the preprocessor computes."""
        featurizer = self.preprocessor.featurizer
        return MelFrontEnd(
            window=featurizer.window.double().numpy(),
            filterbank=featurizer.fb[0].double().numpy(),
            hop_samples=featurizer.hop_length,
            preemphasis=featurizer.preemph,
            log_guard=featurizer.log_zero_guard_value_fn(featurizer.fb),
        )

    @cached_property
    def weights(self) -> Weights:
        """State dicts of encoder, CTC head and transducer as float64, under `encoder.`, `ctc.`, `decoder.` and `joint.`."""
        modules = {"encoder": self.encoder, "ctc": self.ctc_head, "decoder": self.prediction, "joint": self.joint}
        return {
            f"{part}.{key}": value.numpy().astype(np.float64)
            for part, module in modules.items()
            if module is not None
            for key, value in module.state_dict().items()
        }


def checkpoint_name(model: str) -> str:
    """The name a bundle carries: the file's stem, or the published name without its owner's."""
    return Path(model).stem if model.endswith(".nemo") else model.rpartition("/")[2]


def checkpoint_hash(model: str) -> str | None:
    """What `load_checkpoint(model).sha256` will be, without loading; None for a published name, which NeMo resolves.

    Raises InputError for a missing file.
    """
    if model == RANDOM:
        return hashlib.sha256(repr((RANDOM_CONFIG, RANDOM_VOCABULARY, RANDOM_SEED)).encode()).hexdigest()
    return sha256(_file(model)) if model.endswith(".nemo") else None


def check_lookahead(model: str, lookahead_ms: int) -> None:
    """Raise InputError in the first second for what a file's configuration tells; of a published name nothing is known before NeMo.

    That is a file that is missing or no `.nemo`, another architecture, and a look-ahead that it was not trained for.
    """
    if model != RANDOM and not model.endswith(".nemo") and Path(model).exists():
        kind = "folder" if Path(model).is_dir() else "file"
        raise InputError(
            f"expected a .nemo file or the name of a published checkpoint, found the {kind} {model}; check MODEL="
        )
    config = RANDOM_CONFIG if model == RANDOM else read_config(_file(model)) if model.endswith(".nemo") else {}
    if config and "${" not in str(config):  # references to other values are NeMo's to follow
        read_architecture(checkpoint_name(model), config, 0).lookahead_frames(lookahead_ms)


def _file(model: str) -> Path:
    if not Path(model).is_file():
        raise InputError(f"expected a .nemo file at {model}, found none; check MODEL=")
    return Path(model)


def load_checkpoint(model: str) -> Checkpoint:
    """Load through NeMo; raises InputError for what is missing, corrupt or no streaming Conformer with a CTC head or an RNN-T."""
    digest = checkpoint_hash(model)
    with quiet_nemo():
        if model == RANDOM:
            return random_checkpoint(RANDOM, str(digest), RANDOM_CONFIG, RANDOM_VOCABULARY)
        return _restored(model, digest)


@contextlib.contextmanager
def quiet_nemo() -> Iterator[None]:
    """Keep NeMo's import and restore chatter from the terminal; errors are raised all the same."""
    previous = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logging.disable(previous)


def _restored(model: str, digest: str | None) -> Checkpoint:
    name = checkpoint_name(model)
    if digest is not None:
        read_config(Path(model))  # before NeMo, which takes seconds to import
    from nemo.collections.asr.models import ASRModel

    def restore() -> Any:  # noqa: ANN401 -- NeMo's
        by = ASRModel.restore_from if digest else ASRModel.from_pretrained
        try:
            return by(model, map_location="cpu", save_restore_connector=guarded_connector())
        except InputError:
            raise
        except Exception as error:  # NeMo raises whatever the archive's part it trips over raises
            reason = " ".join(str(error).split())[:200] or type(error).__name__
            hint = "fetch the checkpoint again" if digest else "check the name and the network, or give a .nemo file"
            raise InputError(f"expected a checkpoint that NeMo restores, found {model}: {reason}; {hint}") from error

    if digest is not None:
        tried(restore, Path(model))
    restored = restore()
    restored.eval()
    config = restored.cfg
    head = getattr(restored, "ctc_decoder", None) or getattr(restored, "decoder", None)
    if not hasattr(head, "decoder_layers"):
        head = None
    tokenizer = getattr(getattr(restored, "tokenizer", None), "tokenizer", None)
    if tokenizer is None or (head is None and read_transducer(config) is None):
        raise InputError(
            f"expected a checkpoint of SentencePiece tokens with a CTC head or an RNN-T with an LSTM, found {type(restored).__name__} "
            f"in {name}; choose one such as stt_en_fastconformer_hybrid_large_streaming_multi"
        )
    vocabulary = tuple(tokenizer.id_to_piece(index) for index in range(tokenizer.get_piece_size()))
    architecture = read_architecture(name, config, len(vocabulary))
    transducer = {"prediction": restored.decoder, "joint": restored.joint} if architecture.transducer else {}
    return Checkpoint(
        name=name,
        sha256=digest or _state_hash(restored.state_dict()),
        trained=True,
        architecture=architecture,
        vocabulary=vocabulary,
        tokenizer=tokenizer.serialized_model_proto(),
        preprocessor=restored.preprocessor,
        encoder=restored.encoder,
        ctc_head=head,
        **transducer,
    )


def random_checkpoint(name: str, digest: str, config: Mapping[str, dict[str, Any]], vocabulary_size: int) -> Checkpoint:
    """NeMo's modules of a configuration (`preprocessor`, `encoder`, `decoder` and `joint` parts), with weights from a fixed seed."""
    import torch
    from nemo.collections.asr import modules

    vocabulary = tuple(f"▁{index}" for index in range(vocabulary_size))
    architecture = read_architecture(name, config, vocabulary_size)
    torch.manual_seed(RANDOM_SEED)
    preprocessor = modules.AudioToMelSpectrogramPreprocessor(**config["preprocessor"]).eval()
    encoder = modules.ConformerEncoder(
        **{key: value for key, value in config["encoder"].items() if key != "_target_"}
    ).eval()
    head = modules.ConvASRDecoder(
        feat_in=architecture.width, num_classes=vocabulary_size, vocabulary=list(vocabulary)
    ).eval()
    # After the others, whose weights stay what they were before there was a transducer.
    network, joint_sizes = config["decoder"]["prednet"], config["joint"]["jointnet"]
    prediction = modules.RNNTDecoder(prednet=network, vocab_size=vocabulary_size).eval()
    hidden = {"encoder_hidden": architecture.width, "pred_hidden": network["pred_hidden"]}
    joint = modules.RNNTJoint(jointnet=joint_sizes | hidden, num_classes=vocabulary_size).eval()
    with torch.no_grad():
        joint.joint_net[-1].bias[vocabulary_size] += RANDOM_BLANK_BIAS
    return Checkpoint(
        name=name,
        sha256=digest,
        trained=False,
        architecture=architecture,
        vocabulary=vocabulary,
        tokenizer=None,
        preprocessor=preprocessor,
        encoder=encoder,
        ctc_head=head,
        prediction=prediction,
        joint=joint,
    )


def _state_hash(state: Mapping[str, "torch.Tensor"]) -> str:
    digest = hashlib.sha256()
    for key in sorted(state):
        digest.update(key.encode() + state[key].numpy().tobytes())
    return digest.hexdigest()
