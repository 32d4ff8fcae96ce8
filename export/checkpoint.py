"""From a `.nemo` file, a published checkpoint's name or one of RANDOMS to weights, vocabulary and NeMo's own modules."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from export.architecture import Architecture, read_architecture, read_transducer
from export.archive import guarded_connector, read_config
from export.conformer import Weights
from export.graph import Array
from export.languages import chosen_language, read_prompts
from export.mel import MelFrontEnd
from export.quiet import errors_of_nemo, quiet_nemo
from export.trial import tried
from runtime.bundle import Decoding
from runtime.errors import InputError
from runtime.files import sha256

if TYPE_CHECKING:
    import torch  # takes seconds: what is refused or up to date does not wait for it

EMBEDDED = "data/checkpoint/streaming_fastconformer_ctc_en_small.nemo"
RANDOM = "large-random"
RANDOM_SEED = 0


def _random(name: str) -> dict[str, Any]:
    config: dict[str, Any] = json.loads(Path(__file__).with_name(f"{name}_random.json").read_bytes())
    return config


RANDOM_CONFIG = _random("large")
"""NeMo's configuration of RANDOM: stt_en_fastconformer_hybrid_large_streaming_multi's sizes (114 M parameters with its transducer)."""
RANDOMS = {RANDOM: (RANDOM_CONFIG, 1024), "multilingual-random": (_random("multilingual"), 13087)}
"""Published architectures whose weights are seeded here: NeMo's configuration and the vocabulary's size, by the name of MODEL=.

The second is nemotron-3.5-asr-streaming-0.6b's, without a CTC head as its `target` has none. What its card does not say, such as the left
context and the numbers of the prompts, is as others found it in the checkpoint.
"""
# Added to the joint's blank: random weights then emit a token at some frames, as speech does. What a prompt kernel gives is smaller.
RANDOM_BLANK_BIAS, TOLD_BLANK_BIAS = 0.7, 0.2


@dataclass(frozen=True)
class Float64(Mapping[str, Array]):
    """Tensors as float64, each when it is asked for: all together would be twice the checkpoint."""

    tensors: Mapping[str, "torch.Tensor"]

    def __getitem__(self, name: str) -> Array:
        return self.tensors[name].numpy().astype(np.float64)

    def __iter__(self) -> Iterator[str]:
        return iter(self.tensors)

    def __len__(self) -> int:
        return len(self.tensors)


@dataclass(frozen=True)
class Checkpoint:
    """A streaming FastConformer with a CTC head, a transducer or, a hybrid, both: NeMo's modules, and what the exporter takes of them."""

    name: str
    sha256: str
    """Of the `.nemo` file; of the configuration and the seed for random weights."""
    trained: bool
    architecture: Architecture
    vocabulary: tuple[str, ...]
    """SentencePiece pieces by token id, without the blank."""
    tokenizer: bytes | None
    """The SentencePiece model; None for random weights."""
    preprocessor: Any
    """NeMo's module, as `encoder` and `ctc_head`; NeMo is untyped."""
    encoder: Any
    ctc_head: Any = None
    """None where the checkpoint is a transducer alone."""
    prediction: Any = None
    """NeMo's RNNTDecoder, and `joint` its RNNTJoint: None where the architecture has no transducer."""
    joint: Any = None
    prompts: Mapping[str, int] | None = None
    """Numbers by language that the model is told; None, and so is `prompt_kernel`, for a checkpoint of one language."""
    prompt_kernel: Any = None
    """NeMo's Sequential of a linear layer over encoded frame and one-hot prompt, a ReLU and another linear layer."""

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
        """State dicts as float64 of the encoder under `encoder.`, and of what there is of `ctc.`, `decoder.`, `joint.` and `prompt.`."""
        modules = {"encoder": self.encoder, "ctc": self.ctc_head, "decoder": self.prediction, "joint": self.joint}
        modules["prompt"] = self.prompt_kernel
        return Float64(
            {
                f"{part}.{key}": value
                for part, module in modules.items()
                if module is not None
                for key, value in module.state_dict().items()
            }
        )


def checkpoint_name(model: str) -> str:
    """The name a bundle carries: the file's stem, or the published name without its owner's."""
    return Path(model).stem if model.endswith(".nemo") else model.rpartition("/")[2]


def checkpoint_hash(model: str) -> str | None:
    """What `load_checkpoint(model).sha256` will be, without loading; None for a published name, which NeMo resolves.

    Raises InputError for a missing file.
    """
    if model in RANDOMS:
        return hashlib.sha256(repr((*RANDOMS[model], RANDOM_SEED)).encode()).hexdigest()
    return sha256(_file(model)) if model.endswith(".nemo") else None


def check_choice(model: str, lookahead_ms: int, language: str | None = None) -> None:
    """Raise InputError in the first second for what a file's configuration tells; of a published name nothing is known before NeMo.

    That is a file that is missing or no `.nemo`, another architecture, and a look-ahead or a language that it was not trained for.
    """
    if model not in RANDOMS and not model.endswith(".nemo") and Path(model).exists():
        kind = "folder" if Path(model).is_dir() else "file"
        raise InputError(
            f"expected a .nemo file or the name of a published checkpoint, found the {kind} {model}; check MODEL="
        )
    name, config = checkpoint_name(model), _config(model)
    if config and "${" not in str(config):  # references to other values are NeMo's to follow
        read_architecture(name, config, 0).lookahead_frames(lookahead_ms)
        chosen_language(name, read_prompts(name, config), language, None)


def _config(model: str) -> Mapping[str, Any]:
    """NeMo's configuration; empty for a published name."""
    if model in RANDOMS:
        return RANDOMS[model][0]
    return read_config(_file(model)) if model.endswith(".nemo") else {}


def _file(model: str) -> Path:
    if not Path(model).is_file():
        raise InputError(f"expected a .nemo file at {model}, found none; check MODEL=")
    return Path(model)


def load_checkpoint(model: str) -> Checkpoint:
    """Load through NeMo; raises InputError for what is missing, corrupt or no streaming Conformer with a CTC head or an RNN-T."""
    digest = checkpoint_hash(model)
    with quiet_nemo():
        if model in RANDOMS:
            return random_checkpoint(model, str(digest), *RANDOMS[model])
        return _restored(model, digest)


def _restored(model: str, digest: str | None) -> Checkpoint:
    name = checkpoint_name(model)
    if digest is not None:
        read_config(Path(model))  # before NeMo, which takes seconds to import
    from nemo.collections.asr.models import ASRModel

    def restore() -> Any:  # noqa: ANN401 -- NeMo's
        by = ASRModel.restore_from if digest else ASRModel.from_pretrained
        said: list[str] = []
        try:
            with errors_of_nemo(said):
                return by(model, map_location="cpu", save_restore_connector=guarded_connector())
        except InputError:
            raise
        except Exception as error:  # NeMo raises whatever the archive's part it trips over raises
            reason = " ".join((said[0] if said else str(error)).split())[:300] or type(error).__name__
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
        durations = " with TDT's durations" if (config.get("joint") or {}).get("num_extra_outputs") else ""
        raise InputError(
            f"expected a checkpoint of SentencePiece tokens with a CTC head or an RNN-T with an LSTM, found {type(restored).__name__}"
            f"{durations} in {name}; choose one such as stt_en_fastconformer_hybrid_large_streaming_multi"
        )
    vocabulary = tuple(tokenizer.id_to_piece(index) for index in range(tokenizer.get_piece_size()))
    architecture = read_architecture(name, config, len(vocabulary))
    transducer = {"prediction": restored.decoder, "joint": restored.joint} if architecture.transducer else {}
    prompts = read_prompts(name, config)
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
        prompts=prompts,
        prompt_kernel=restored.prompt_kernel if prompts else None,
    )


def random_checkpoint(name: str, digest: str, config: Mapping[str, Any], vocabulary_size: int) -> Checkpoint:
    """NeMo's modules of a configuration (`preprocessor`, `encoder`, `decoder` and `joint` parts), with weights from a fixed seed.

    A `target` that is a transducer alone has no CTC head; with prompts (`model_defaults` part) there is their kernel.
    """
    import torch
    from nemo.collections.asr import modules

    vocabulary = tuple(f"▁{index}" for index in range(vocabulary_size))
    architecture = read_architecture(name, config, vocabulary_size)
    torch.manual_seed(RANDOM_SEED)
    preprocessor = modules.AudioToMelSpectrogramPreprocessor(**config["preprocessor"]).eval()
    encoder = modules.ConformerEncoder(
        **{key: value for key, value in config["encoder"].items() if key != "_target_"}
    ).eval()
    head = None
    if "EncDecRNNT" not in config.get("target", ""):
        sizes = {"feat_in": architecture.width, "num_classes": vocabulary_size}
        head = modules.ConvASRDecoder(**sizes, vocabulary=list(vocabulary)).eval()
    # After the others, whose weights stay what they were before there was a transducer.
    network, joint_sizes = config["decoder"]["prednet"], config["joint"]["jointnet"]
    prediction = modules.RNNTDecoder(prednet=network, vocab_size=vocabulary_size).eval()
    hidden = {"encoder_hidden": architecture.width, "pred_hidden": network["pred_hidden"]}
    joint = modules.RNNTJoint(jointnet=joint_sizes | hidden, num_classes=vocabulary_size).eval()
    prompts, kernel = read_prompts(name, config), None
    with torch.no_grad():
        joint.joint_net[-1].bias[vocabulary_size] += TOLD_BLANK_BIAS if prompts else RANDOM_BLANK_BIAS
    if prompts:
        width, number = architecture.width, config["model_defaults"]["num_prompts"]
        into, out = torch.nn.Linear(width + number, 2 * width), torch.nn.Linear(2 * width, width)
        kernel = torch.nn.Sequential(into, torch.nn.ReLU(), out).eval()
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
        prompts=prompts,
        prompt_kernel=kernel,
    )


def _state_hash(state: Mapping[str, "torch.Tensor"]) -> str:
    digest = hashlib.sha256()
    for key in sorted(state):
        digest.update(key.encode() + state[key].numpy().tobytes())
    return digest.hexdigest()
