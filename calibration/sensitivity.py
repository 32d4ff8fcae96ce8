"""What each matrix product costs in INT8, group by group, and the fall-back list to FP16 that this asks for.

The measure is the log-probabilities' error against FP32's over calibration speech, streamed. The goal is a bound on WER, which so little
speech cannot show: over 1,836 words of the checkpoint's first version, WER by six methods' thresholds lay within 0.5 points of FP32's, and
the nearest ones were not those whose log-probabilities are. What a step near FP32 does is to get words wrong that FP32 got right and the
other way round: 0.9 to 1.3 percent of the words for each percent of the frames whose best token is another. CHANGED bounds those frames:
at 1 %, the change of WER that is left to chance had a standard deviation of 0.3 points (paired bootstrap over the same words), and stays
within 0.5 points nine times of ten.
"""

import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

from calibration.compare import Heard, StepError, hear, step_error
from calibration.exposed import Samples
from export.placement import QUANTISED, quantised_products
from export.quantise import quantised

CHANGED = 0.01
"""Share of frames."""
JOBS = min(4, len(os.sched_getaffinity(0)))
"""Sessions at a time, each with a copy of the weights."""


@dataclass(frozen=True)
class Kept:
    """The step with some matrix products in FP32 and the others in INT8."""

    products: tuple[str, ...]
    """In FP32, standing for FP16; in the order of their cost."""
    weights: float
    """Their share of the quantised products' weights."""
    error: StepError


class Probe:
    """A bundle's FP32 step, and the same clips through forms of it with Q/DQ."""

    def __init__(self, folder: Path, step: onnx.ModelProto, clips: Sequence[Samples], lang: str | None = None) -> None:
        """`lang`: see Recognizer."""
        self.folder, self.step, self.clips, self.lang = folder, step, clips, lang
        self.products = tuple(quantised_products(step))
        self.fp32 = hear(folder, step, clips, lang=lang)

    def hear(self, amax: Mapping[str, float], kept: Collection[str] = (), threads: int = 0) -> Heard:
        """Stream the clips with every matrix product in INT8 but those `kept`; `amax`: threshold by product."""
        return hear(self.folder, quantised(self.step, amax, kept), self.clips, threads=threads, lang=self.lang)

    def error(self, heard: Heard) -> StepError:
        """Return the error against FP32."""
        return step_error(heard.frames["log_probs"], self.fp32.frames["log_probs"])

    def alone(
        self, amax: Mapping[str, float], groups: Mapping[str, Collection[str]]
    ) -> Iterator[tuple[str, StepError]]:
        """Yield each group's name and the error with that group alone in INT8."""

        def measure(group: Collection[str]) -> StepError:
            # A step of one chunk keeps one core busy: as many groups at a time as there are cores
            return self.error(self.hear(amax, set(self.products).difference(group), threads=1))

        with ThreadPoolExecutor(JOBS) as pool:
            yield from zip(groups, pool.map(measure, groups.values()), strict=True)


def kinds(products: Collection[str]) -> dict[str, list[str]]:
    """Return `*/ffn1.in` -> the matrix products of that kind in every layer."""
    return {f"*/{kind}": [name for name in products if name.split("/")[1] == kind] for kind in QUANTISED}


def layers(products: Collection[str]) -> dict[str, list[str]]:
    """Return `layer0/*` -> its matrix products."""
    found = dict.fromkeys(name.split("/")[0] for name in products)
    return {f"{layer}/*": [name for name in products if name.split("/")[0] == layer] for layer in found}


def weights_by_product(step: onnx.ModelProto) -> dict[str, int]:
    """Return how many numbers each matrix product's weight has."""
    sizes = {weight.name: int(np.prod(weight.dims)) for weight in step.graph.initializer}
    nodes = {node.name: node for node in step.graph.node}
    return {name: sizes[nodes[name].input[1]] for name in quantised_products(step)}


def harm(alone: Mapping[str, StepError], products: Collection[str]) -> dict[str, float]:
    """Return the mean squared error by matrix product, estimated.

    It is that of its kind alone, shared out over the layers as the errors of these alone are. So one run per kind and layer does for all.
    Errors of groups add up as squares to within a tenth (of the embedded model's).
    """
    squared = {name: error.rms**2 for name, error in alone.items()}
    total = sum(squared[name] for name in layers(products)) or 1.0
    parts = {name: name.split("/") for name in products}
    return {name: squared[f"*/{kind}"] * squared[f"{layer}/*"] / total for name, (layer, kind) in parts.items()}


def fall_back(
    harms: Mapping[str, float],
    weights: Mapping[str, int],
    measure: Callable[[tuple[str, ...]], StepError],
    bound: float = CHANGED,
) -> Iterator[Kept]:
    """Keep products until at most `bound` of the frames change: those first whose weights cost the most error.

    A step's time is that of its weights, so that error is bought with as few of them as it takes. Yields every list that was measured,
    the last one meets the bound. The next list's length is a forecast: the share of changed frames goes with the root of the squared
    error that is left.
    """
    order = sorted(harms, key=lambda name: harms[name] / weights[name], reverse=True)
    left = np.append(np.cumsum([harms[name] for name in reversed(order)])[::-1], 0.0)  # by length of the list
    length = 0
    while True:
        kept = tuple(order[:length])
        error = measure(kept)
        yield Kept(kept, sum(weights[name] for name in kept) / sum(weights.values()), error)
        if error.changed <= bound or length == len(order):
            return
        wanted = left[length] * (bound / error.changed) ** 2
        length = max(length + 1, int(np.argmax(left <= wanted)))
