"""Greedy CTC and detokenization against SentencePiece and against decoding in one piece."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import sentencepiece

from runtime.bundle import read_bundle
from runtime.decoders.greedy import GreedyCtc
from tests.runtime.decoders.plain import PLAIN

VOCABULARY = ["<unk>", "▁the", "▁", "c", "at", "s"]
BLANK = len(VOCABULARY)


def push(decoder: GreedyCtc, tokens: Sequence[int] | np.ndarray) -> bool:
    return decoder.push_best(np.array(tokens, np.int32), np.zeros(len(tokens), np.float32))


@pytest.mark.parametrize(
    ("chunks", "tokens", "text"),
    [
        ([], (), ""),
        ([[BLANK, BLANK], [BLANK]], (), ""),
        ([[1, 1], [1, 1]], (1,), "the"),  # a repeat spans two chunks
        ([[1, BLANK], [1]], (1, 1), "the the"),  # a blank at the chunk's end parts two
        ([[1, BLANK, 2, 3], [4, 4, 5]], (1, 2, 3, 4, 5), "the cats"),
        ([[2, 1]], (2, 1), "the"),  # a lone space doubles no space
        ([[1], [2]], (1, 2), "the"),  # nor does it trail
        ([[3], [0], [3]], (3, 0, 3), "c ⁇ c"),
    ],
)
def test_chunks(chunks: list[list[int]], tokens: tuple[int, ...], text: str) -> None:
    decoder = GreedyCtc(VOCABULARY, BLANK, PLAIN)
    for chunk in chunks:
        before = decoder.tokens
        assert push(decoder, chunk) == (decoder.tokens != before)
    assert (decoder.tokens, decoder.text) == (tokens, text)


def test_text_is_what_sentencepiece_decodes(bundle: Path) -> None:
    manifest = read_bundle(bundle)
    processor = sentencepiece.SentencePieceProcessor(model_file=str(bundle / "tokenizer.model"))
    generator = np.random.default_rng(0)
    for _ in range(300):
        best = generator.integers(0, manifest.blank + 1, generator.integers(1, 60))
        decoder = GreedyCtc(manifest.vocabulary, manifest.blank, PLAIN)
        for chunk in np.array_split(best, 5):
            push(decoder, chunk)
        assert decoder.text.split() == processor.decode(list(decoder.tokens)).split()
