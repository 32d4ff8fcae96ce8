"""What a peek may change, on any backend: nothing."""

from collections.abc import Sequence
from dataclasses import fields

import numpy as np

from runtime.backends import Backend, StepResult

Step = tuple[np.ndarray, int]
"""A window and how much of it is valid."""
Bits = dict[str, bytes]


def bits(result: StepResult) -> Bits:
    """All that a step gives but its state."""
    values = {field.name: getattr(result, field.name) for field in fields(result) if field.name != "state"}
    return {name: value.tobytes() for name, value in values.items() if value is not None}


def stepped(backend: Backend, steps: Sequence[Step]) -> list[Bits]:
    """Every result of one utterance."""
    state, results = backend.new_state(), []
    for window, valid in steps:
        result = backend.step(window, valid, state)
        results.append(bits(result))
        state = result.state
    return results


def assert_peeks_change_nothing(backend: Backend, steps: Sequence[Step], others: Sequence[Step], seed: int = 0) -> None:
    """Peek at every step of an utterance and at `others` in its place, in any order, each once, never or repeatedly.

    A peek gives what the step would, and every step what it gives without peeks.
    """
    assert backend.can_peek
    alone = stepped(backend, steps)
    would = []
    for place, (step, expected) in enumerate(zip(steps, alone, strict=True)):
        instead = [(other, stepped(backend, [*steps[:place], other])[-1]) for other in others]
        would.append([(step, expected), *instead])
    _step_with_peeks(backend, would, seed)
    assert stepped(backend, steps) == alone, "peeks left something behind"


def _step_with_peeks(backend: Backend, would: Sequence[Sequence[tuple[Step, Bits]]], seed: int) -> None:
    """Step through the first of each place's choices, which come with what they would give."""
    generator, state = np.random.default_rng(seed), backend.new_state()
    for place, choices in enumerate(would):
        for choice in generator.integers(len(choices), size=generator.integers(2 * len(choices))):
            (window, valid), expected = choices[choice]
            peeked = backend.peek(window, valid, state)
            assert bits(peeked) == expected, f"a peek before step {place}"
            assert peeked.state is state
        (window, valid), expected = choices[0]
        result = backend.step(window, valid, state)
        assert bits(result) == expected, f"step {place} after peeks"
        state = result.state
