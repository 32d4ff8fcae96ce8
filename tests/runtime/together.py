"""Streams of a backend that steps many at once, beside each of them alone."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from runtime.backends import ALL_VALID, Backend, Step, StepResult


@dataclass
class Pair:
    """A stream's state in the backend that is tested, and in the one that runs it alone."""

    tested: Any
    alone: Any


def follow(
    backend: Backend,
    alone: Backend,
    windows: Sequence[np.ndarray],
    compare: Callable[[StepResult, StepResult], None],
    *,
    streams: int,
    runs: int,
    seed: int = 0,
) -> Counter[str]:
    """Begin, step, peek at, rest and end streams at random, any of them in a run; compare each result with the stream's alone.

    Return how often each of these happened. No more than `streams` are open at once.
    """
    generator = np.random.default_rng(seed)
    pairs: dict[int, Pair] = {}
    happened: Counter[str] = Counter()
    for _ in range(runs):
        chosen = [int(place) for place in generator.permutation(streams)[: generator.integers(1, streams + 1)]]
        for place in chosen:
            if place in pairs and generator.random() < 0.15:
                del pairs[place]
                happened["ended"] += 1
            if place not in pairs:
                pairs[place] = Pair(backend.new_state(), alone.new_state())
                happened["begun"] += 1
        steps = []
        for place in chosen:
            window = windows[int(generator.integers(len(windows)))]
            valid = int(generator.integers(20)) if generator.random() < 0.2 else ALL_VALID
            steps.append(Step(window, valid, pairs[place].tested, peek=bool(generator.random() < 0.3)))
        found = backend.run(steps)
        assert len(found) == len(steps)
        for place, step, result in zip(chosen, steps, found, strict=True):
            run_alone = alone.peek if step.peek else alone.step
            expected = run_alone(step.window, step.valid, pairs[place].alone)
            assert result.state is step.state
            compare(result, expected)
            pairs[place].alone = expected.state
            happened["peeks" if step.peek else "steps"] += 1
        happened[f"runs of {len(steps)}"] += 1
        del steps, step, found, result, expected  # or a stream that ends keeps its slot
    return happened
