"""The decoder in Triton's Python backend, as model.py; `runtime` beside it holds the project's own files."""

import json
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

from runtime.decoders.greedy import GreedyCtc
from runtime.words import WordMaker


class TritonPythonModel:
    """One greedy decoder per correlation id, made at START and forgotten at END."""

    def initialize(self, args: dict[str, str]) -> None:
        """Read the vocabulary; called by Triton."""
        folder = Path(args["model_repository"]) / args["model_version"]
        bundle = json.loads((folder / "bundle.json").read_text(encoding="utf-8"))
        self._vocabulary, self._blank = bundle["vocabulary"], bundle["blank"]
        model = SimpleNamespace(**json.loads((folder / "words.json").read_text(encoding="utf-8")))
        known = frozenset((folder / "known_words.txt").read_text(encoding="utf-8").split("\n"))
        self._make = WordMaker(model, bundle["encoder_frame_ms"] / 1e3, known=known)
        self._decoders: dict[int, GreedyCtc] = {}

    def execute(self, requests: list[Any]) -> list[Any]:
        """Decode the tokens [frames] of each request, with their log-probabilities [frames]; called by Triton."""
        return [self._respond(request) for request in requests]

    def _respond(self, request: Any) -> Any:  # noqa: ANN401 -- Triton's
        def value(name: str) -> Any:  # noqa: ANN401
            return pb_utils.get_input_tensor_by_name(request, name).as_numpy()

        sequence = int(value("CORRID").item())
        if value("START").item():
            # One instance serves one sequence: those before it are over, ended or idle too long.
            self._decoders = {sequence: GreedyCtc(self._vocabulary, self._blank, self._make)}
        decoder = self._decoders.get(sequence)
        if decoder is None:
            reason = f"expected START before other requests of sequence {sequence}, found none; begin the sequence anew"
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(reason))
        decoder.push_best(value("tokens"), value("best_log_probs"))
        if value("END").item():
            del self._decoders[sequence]
        text = pb_utils.Tensor("text", np.array([decoder.text.encode()], np.object_))
        token_ids = pb_utils.Tensor("token_ids", np.array(decoder.tokens, np.int32))
        listed = json.dumps([asdict(word) for word in decoder.words])
        words = pb_utils.Tensor("words", np.array([listed.encode()], np.object_))
        return pb_utils.InferenceResponse([text, token_ids, words])
