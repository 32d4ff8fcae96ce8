"""Transducers of random weights that emit tokens as speech makes trained ones do, and noise for them to hear."""

from collections.abc import Sequence

import numpy as np
import torch

from export.checkpoint import Checkpoint
from export.parity import nemo_offline
from runtime.entries import MAX_SYMBOLS

PIECE = 8  # frames


def enliven(made: Checkpoint, blank_bias: float | None = None) -> None:
    """Change the joint, in place, so that its choice depends on the frame and on every token before it.

    `blank_bias` None: as much as leaves a token at about every other frame.
    """
    blank = made.architecture.vocabulary
    with torch.no_grad():
        encoded = _frames(made)
        heard = torch.from_numpy(encoded) @ made.joint.enc.weight.T
        made.joint.enc.weight.mul_(3 / heard.std(0)[:, None])  # noise sounds much the same everywhere
        made.joint.enc.bias.copy_(-3 * heard.mean(0) / heard.std(0))
        made.joint.pred.weight.mul_(10)
        *activation, out = made.joint.joint_net
        out.weight.mul_(8)
        bias = out.bias
        bias -= out.weight @ activation[0](made.joint.enc(torch.from_numpy(encoded))).mean(0)
        bias[blank] += blank_bias or 0.0
        if blank_bias is None:
            _dampen(made, encoded, bias)


def enliven_kernel(made: Checkpoint) -> None:
    """Change the prompt kernel, in place, so that what it gives depends on the frame, as much as on the prompt."""
    with torch.no_grad():
        encoded = torch.from_numpy(nemo_offline(made, 1, noise(40_000, 0)).encoded)
        into = made.prompt_kernel[0]
        frames, prompts = into.weight.split([encoded.shape[1], into.in_features - encoded.shape[1]], 1)
        frames /= encoded.std(0)  # noise sounds much the same everywhere
        into.bias -= frames @ encoded.mean(0)
        prompts *= encoded.shape[1] ** 0.5


def enliven_ctc(made: Checkpoint) -> None:
    """Change the CTC head, in place, so that its choice depends on the frame."""
    head = made.ctc_head.decoder_layers[0]
    with torch.no_grad():
        head.weight.mul_(10)
        head.bias.sub_(head.weight[:, :, 0] @ torch.from_numpy(_frames(made)).mean(0))


def _frames(made: Checkpoint) -> np.ndarray:
    """Encoded frames of noise [frames, D], in each of three languages where there are prompts."""
    prompts: Sequence[int | None] = [*made.prompts.values()][-3:] if made.prompts else [None]
    return np.concatenate([nemo_offline(made, 1, noise(40_000, 0), prompt).encoded for prompt in prompts])


def _dampen(made: Checkpoint, encoded: np.ndarray, bias: torch.Tensor) -> None:
    """Add to the blank's bias, to within 0.1, what it takes for no more than a token a frame."""
    blank = made.architecture.vocabulary
    start, too_little, enough = float(bias[blank]), 0.0, 1.6
    while _tokens_a_frame(made, encoded) > 1:
        too_little, enough = float(bias[blank]) - start, 2 * enough
        bias[blank] = start + enough
    while enough - too_little > 0.1:
        middle = (too_little + enough) / 2
        bias[blank] = start + middle
        if _tokens_a_frame(made, encoded) > 1:
            too_little = middle
        else:
            enough = middle
    bias[blank] = start + enough


def _tokens_a_frame(made: Checkpoint, encoded: np.ndarray) -> float:
    """How many tokens there are for each of the frames [frames, D], cut into pieces that NeMo decodes in one batch."""
    from nemo.collections.asr.parts.submodules.rnnt_greedy_decoding import GreedyBatchedRNNTInfer

    pieces = torch.from_numpy(encoded[: len(encoded) // PIECE * PIECE].reshape(-1, PIECE, encoded.shape[1]))
    greedy = GreedyBatchedRNNTInfer(
        made.prediction, made.joint, made.architecture.vocabulary, MAX_SYMBOLS, use_cuda_graph_decoder=False
    )
    with torch.inference_mode():
        (hypotheses,) = greedy(encoder_output=pieces.transpose(1, 2), encoded_lengths=torch.full((len(pieces),), PIECE))
    return sum(len(each.y_sequence) for each in hypotheses) / (len(pieces) * PIECE)


def noise(samples: int, seed: int) -> np.ndarray:
    """FP32 [samples], whose loudness comes and goes."""
    loudness = 0.1 * np.sin(np.arange(samples) * (2 * np.pi / 20_000)) ** 2
    audio: np.ndarray = (np.random.default_rng(seed).standard_normal(samples) * loudness).astype(np.float32)
    return audio
