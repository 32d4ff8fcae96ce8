"""The frames of words against the likeliest alignment of the final's own tokens, by NeMo's Viterbi."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from runtime.bundle import Bundle, read_bundle
from runtime.decoders.beam import BeamCtc
from runtime.decoders.decoder import Decoder
from runtime.decoders.greedy import GreedyCtc
from runtime.decoders.ngram import open_language_model
from runtime.word_models import WordModel
from runtime.words import WordMaker

if TYPE_CHECKING:
    from export.parity import Reference

pytestmark = pytest.mark.nemo


def first_frames(log_probs: np.ndarray, tokens: tuple[int, ...], blank: int) -> list[int]:
    """The frame at which each token begins."""
    # Here, as a process that only collects this test need not wait for NeMo.
    from nemo.collections.asr.parts.utils.aligner_utils import viterbi_decoding

    states = [blank]
    for token in tokens:
        states += [token, blank]
    (path,) = viterbi_decoding(
        torch.from_numpy(log_probs)[None],
        torch.tensor([states]),
        torch.tensor([len(log_probs)]),
        torch.tensor([len(states)]),
    )
    at = np.array(path)
    return [int(np.flatnonzero(at == 2 * place + 1)[0]) for place in range(len(tokens))]


def decoded(decoder: GreedyCtc | BeamCtc, frames: np.ndarray) -> Decoder:
    if isinstance(decoder, BeamCtc):
        decoder.push_log_probs(frames)
    else:
        decoder.push_best(frames.argmax(1).astype(np.int32), frames.max(1))
    decoder.finish()
    return decoder


def word_frames(frames: list[int], pieces: list[str]) -> list[tuple[int, int]]:
    """First and last of the frames of each word's letters; a mark alone, which some pieces are, is no letter."""
    words: list[list[int]] = [[]]
    for frame, piece in zip(frames, pieces, strict=True):
        if piece.startswith("▁"):
            words.append([])
        if piece != "▁":
            words[-1].append(frame)
    return [(word[0], word[-1]) for word in words if word]


def differences(bundle: Bundle, decoder: GreedyCtc | BeamCtc, frames: np.ndarray) -> list[int]:
    """How many frames later than in the alignment each word's first and last piece are."""
    final = decoded(decoder, frames)
    pieces = [bundle.vocabulary[token] for token in final.tokens]
    expected = word_frames(first_frames(frames, final.tokens, bundle.blank), pieces)
    # The plain model's times are those of the decision, in frames of a second; a word ends before the next one begins.
    found = [(round(word.start_s), round(word.end_s)) for word in final.words]
    assert len(found) == len(expected)
    return [ours - theirs for pair in zip(found, expected, strict=True) for ours, theirs in zip(*pair, strict=True)]


@pytest.mark.parametrize("decoding", ["greedy", "beam", "lm_en_4gram"])
def test_words_lie_where_the_likeliest_alignment_has_them(
    bundle: Path, streamed: "list[Reference]", decoding: str
) -> None:
    manifest, make = read_bundle(bundle), WordMaker(WordModel(), 1.0)
    ngram = open_language_model("default", bundle, manifest) if decoding == "lm_en_4gram" else None
    found: list[int] = []
    for each in streamed:
        assert each.log_probs is not None
        decoder = (
            GreedyCtc(manifest.vocabulary, manifest.blank, make)
            if decoding == "greedy"
            else BeamCtc(manifest.vocabulary, manifest.blank, make, ngram=ngram)
        )
        found += differences(manifest, decoder, each.log_probs)
    largest, same = max(map(abs, found)), found.count(0) / len(found)
    print(f"{decoding}: {len(found)} frames, {same:.1%} the same, median {np.median(np.abs(found))}, largest {largest}")
    assert largest <= (0 if decoding == "greedy" else 3)
    assert same >= (1.0 if decoding == "greedy" else 0.97)
