"""RNN-T greedy decoding behind the step in TensorRT: evaluations on the frames where the step left them, on the lane's own queue."""

from ..cuda import Queue
from ..entries import CHUNK_STATE, MAX_SYMBOLS
from ..errors import CudaError
from .base import Emitted, emitted
from .engine import Engine


class Evaluations:
    """A lane's decoding state, read from one set and written to the other by turns; an even number of evaluations ends where it began.

    A chunk of T frames needs an evaluation for each token and one for each frame without room for more. So many as usual speech has
    are enqueued with the step, unseen; where they were too few, the host asks for two more until the chunk is done.
    """

    def __init__(self, queue: Queue, engine: Engine, encoded: int) -> None:
        """`encoded`: where on the device the step leaves the chunk's frames; memory is the queue's. Raises CudaError."""
        self._queue, (self._first, second) = queue, engine.sets
        self._end = second.end
        self._chunk = self._first.offsets[CHUNK_STATE[0]]
        self._kept = self._chunk - self._first.start  # bytes of the utterance's state
        aside = second.end + engine.scratch_bytes
        self._base = queue.allocate(aside + self._kept)
        self._aside = self._base + aside
        self._frames = engine.tensors["encoded"].shape[1]
        self._usual = (self._frames + 3) // 2 * 2  # a token or two more than there are blanks
        self._fetched = queue.pinned(self._first.end - self._chunk)
        places = {name: self._first.offsets[name] - self._chunk for name in CHUNK_STATE}
        self._decided = {name: engine.tensors[name].view(self._fetched, place) for name, place in places.items()}
        """The state of the last chunk's decoding, in pinned memory."""
        self._contexts = engine.contexts(self._base, encoded=encoded)

    @property
    def done(self) -> bool:
        """Whether the chunk that was fetched last is decoded to its end."""
        return int(self._decided["frame"][0]) >= self._frames

    @property
    def most_turns(self) -> int:
        """Calls of `enqueue_more` that any chunk is done after."""
        return MAX_SYMBOLS * self._frames // 2

    def emitted(self, blank: int) -> Emitted:
        """Return what the chunk that was fetched last emitted; the log-probabilities are a view of pinned memory."""
        return emitted(self._decided, blank)

    def close(self) -> None:
        """Free the contexts: before the queue frees the block that they use."""
        self._contexts.clear()

    def clear(self) -> None:
        """Enqueue zeroing of both sets."""
        self._queue.clear(self._base + self._first.start, self._end - self._first.start)

    def enqueue(self) -> None:
        """Enqueue a chunk's usual evaluations, and the copy of what they decided."""
        self._queue.clear(self._base + self._chunk, self._first.end - self._chunk)
        self._run(self._usual)

    def enqueue_more(self) -> None:
        """Enqueue two evaluations, and the copy."""
        self._run(2)

    def keep(self) -> None:
        """Enqueue the copy of the utterance's state aside."""
        self._queue.copy(self._aside, self._base + self._first.start, self._kept)

    def put_back(self) -> None:
        """Enqueue the copy of what `keep` put aside to where the next chunk's evaluations read it."""
        self._queue.copy(self._base + self._first.start, self._aside, self._kept)

    def _run(self, count: int) -> None:
        for index in range(count):
            if not self._contexts[index % 2].execute_async_v3(self._queue.handle):
                raise CudaError(
                    "execute_async_v3: TensorRT did not run the RNN-T evaluation; its reason is logged above"
                )
        self._queue.download(self._fetched, self._base + self._chunk)
