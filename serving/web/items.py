"""An utterance's way through the protocol: what its partials and its final are to a client, in messages without their ids."""

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from secrets import token_hex
from typing import Any

from runtime.endpoint import ONSET_WINDOWS
from runtime.events import Final, Partial
from runtime.vad import WINDOW_MS
from runtime.words import Word
from serving.web.messages import LOGPROBS, PARTIALS, Settings

Message = dict[str, Any]
TRANSCRIPTION = "conversation.item.input_audio_transcription"


@dataclass
class Item:
    """An utterance that is not done."""

    item_id: str
    ended: bool = False
    """Whether the stream was asked to end it: a final by `caller` comes."""
    committed: bool = False
    """Whether the client was told that it is ended."""
    started: bool = False
    """Whether the client was told that speech started, and must be told that it stopped."""
    lost: bool = False
    """Whether the client was told that it failed; what is left of it is another's."""
    sent: str = ""
    """The text that deltas brought: words that stay."""


class Items:
    """The utterances of a session, in order: events are of the first that is not done."""

    def __init__(self) -> None:
        self.settings = Settings()
        self._items: deque[Item] = deque()
        self._previous: str | None = None

    @property
    def is_open(self) -> bool:
        """Whether there is an utterance that nobody ended."""
        return bool(self._items) and not self._items[-1].ended

    @property
    def are_awaited(self) -> bool:
        """Whether there are finals to come that the stream was asked for."""
        return bool(self._items) and self._items[0].ended

    def voice(self, start_s: float, *, barge_in: bool = False) -> Iterator[Message]:
        """A voice is heard that begins there; `barge_in`: while the agent speaks."""
        item = self._first()
        if not item.started:
            item.started = True
            message = {"type": "input_audio_buffer.speech_started", "audio_start_ms": max(0, round(1e3 * start_s))}
            yield {**message, "item_id": item.item_id, **({"barge_in": True} if barge_in else {})}

    def partial(self, event: Partial) -> Iterator[Message]:
        """The text so far: a delta of the words that stay, and all of it where the client asked for partials."""
        if self._detects:
            heard_s = event.words[0].start_s if event.words else event.start_s + event.audio_s - ONSET_S
            yield from self.voice(heard_s)
        item, stable = self._first(), event.words[: event.stable]
        delta = _joined(stable).removeprefix(item.sent)
        if delta or (event.text and PARTIALS in self.settings.include):
            item.sent += delta
            yield self._delta(item, delta, stable, event)

    def final(self, event: Final) -> Iterator[Message]:
        """The utterance ended; nothing for one in which nobody spoke, and that the client does not know of."""
        asked = event.ended_by == "caller"
        if not event.text and self._is_unknown(asked=asked):
            return
        if self._detects and event.words:
            yield from self.voice(event.words[0].start_s)
        item = self._first()
        if item.started:
            end_ms = round(1e3 * (event.start_s + event.audio_s))
            yield {"type": "input_audio_buffer.speech_stopped", "audio_end_ms": end_ms, "item_id": item.item_id}
        yield from self._committed(item)
        if delta := event.text.removeprefix(item.sent):
            yield self._delta(item, delta, event.words)
        self._items.popleft()
        # Where the stream ended it just before it was asked to, that final comes too, of what is left.
        if item.ended and not asked:
            self._items.appendleft(Item(_item_id(), ended=True))
        words = [asdict(word) for word in event.words]
        yield {
            "type": f"{TRANSCRIPTION}.completed",
            "item_id": item.item_id,
            "content_index": 0,
            "transcript": event.text,
            "usage": {"type": "duration", "seconds": event.audio_s},
            **self._log_probs(event.words),
            "words": words,
            "start_s": event.start_s,
            "ended_by": event.ended_by,
            "lag_ms": event.lag_ms,
        }

    def commit(self) -> Iterator[Message]:
        """The client ended the utterance, as `end`; it is told so."""
        self.end()
        yield from self._committed(self._items[-1])

    def end(self) -> None:
        """The stream is asked to end the utterance."""
        if not self.is_open:
            self._items.append(Item(_item_id()))
        self._items[-1].ended = True

    def clear(self) -> None:
        """The client forgot what it has not ended."""
        if self.is_open:
            self._items.pop()

    def failed(self, message: str, *, final_follows: bool) -> Iterator[Message]:
        """The utterance is lost; `final_follows`: where the stream was asked to end it, its final comes nevertheless."""
        error = {"type": "server_error", "code": "transcription_failed", "message": message, "param": None}
        if not self._items:
            yield {"type": "error", "error": {**error, "event_id": None}}
            return
        item = self._items.popleft()
        if item.ended and final_follows:
            self._items.appendleft(Item(_item_id(), ended=True, lost=True))
        if not item.lost:
            yield {"type": f"{TRANSCRIPTION}.failed", "item_id": item.item_id, "content_index": 0, "error": error}

    def _is_unknown(self, *, asked: bool) -> bool:
        """Whether the client knows nothing of the utterance that an empty final ends; it is done with."""
        if not self._items:
            return True
        item = self._items[0]
        if item.ended and not asked:  # silence before what the client ended
            return True
        if item.ended and not item.committed and not item.started:
            self._items.popleft()
            return True
        return False

    @property
    def _detects(self) -> bool:
        return self.settings.audio.input.turn_detection is not None

    def _first(self) -> Item:
        if not self._items:
            self._items.append(Item(_item_id()))
        return self._items[0]

    def _committed(self, item: Item) -> Iterator[Message]:
        if item.committed:
            return
        item.committed, before, self._previous = True, self._previous, item.item_id
        place = {"previous_item_id": before}
        yield {"type": "input_audio_buffer.committed", **place, "item_id": item.item_id}
        about: Message = {"id": item.item_id, "object": "realtime.item", "type": "message", "role": "user"}
        about |= {"status": "completed", "content": [{"type": "input_audio", "transcript": None}]}
        yield {"type": "conversation.item.added", **place, "item": about}
        yield {"type": "conversation.item.done", **place, "item": about}

    def _delta(self, item: Item, delta: str, words: Sequence[Word], partial: Partial | None = None) -> Message:
        new = words[len(words) - len(delta.split()) :]
        shown = {**partial.json(), "lag_ms": partial.lag_ms} if partial and PARTIALS in self.settings.include else None
        return {
            "type": f"{TRANSCRIPTION}.delta",
            "item_id": item.item_id,
            "content_index": 0,
            "delta": delta,
            **self._log_probs(new),
            **({"partial": shown} if shown else {}),
        }

    def _log_probs(self, words: Sequence[Word]) -> Message:
        """One for each word, of its confidence."""
        if LOGPROBS not in self.settings.include:
            return {}
        return {
            "logprobs": [
                {"token": word.text, "bytes": list(word.text.encode()), "logprob": math.log(max(word.confidence, 1e-9))}
                for word in words
            ]
        }


ONSET_S = ONSET_WINDOWS * WINDOW_MS / 1e3
"""From a voice's start to when it is told."""


def _joined(words: Sequence[Word]) -> str:
    return " ".join(word.text for word in words)


def _item_id() -> str:
    return f"item_{token_hex(10)}"
