"""Work that asks: a generator that asks for a step, a voice's probability or a search, and is sent the answer.

So the same lines serve a stream whose caller runs what is asked for at once, and one of many, whose asks a scheduler answers together.
"""

from collections.abc import Callable, Generator
from typing import Any, TypeVar

from .backends import Step
from .decoders.decoder import Search
from .vad import Voice

T = TypeVar("T")
Ask = Step | Voice | Search
Asking = Generator[Ask, Any, T]
"""Work that asks for a StepResult by a Step, for a float by a Voice and for whether the text changed by a Search; it returns T."""


def done(work: Asking[T], run: Callable[[Ask], Any]) -> T:
    """Do the work to its end on this thread; `run` answers what it asks for. Raises what either raises."""
    try:
        ask = next(work)
        while True:
            try:
                found = run(ask)
            except BaseException as error:  # noqa: BLE001, PERF203 -- the work knows what is lost
                ask = work.throw(error)
            else:
                ask = work.send(found)
    except StopIteration as ended:
        result: T = ended.value
        return result
    finally:
        work.close()  # where this is interrupted between the two, what was half done is lost
