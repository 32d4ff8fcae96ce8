"""What Prometheus reads of the server."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from runtime.events import Final, Partial

LAGS_S = (0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2, 5)


class Metrics:
    """Counts of one server."""

    def __init__(
        self,
        streams: Callable[[], int],
        most_streams: int,
        waiting: Callable[[], float],
        memory: Callable[[], int] | None,
    ) -> None:
        """`streams` that are open now; seconds of audio that are `waiting` to be heard; `memory` of the GPU in use, in bytes, if any."""
        self._registry = all_of = CollectorRegistry()
        Gauge("asr_streams_open", "Streams that are open.", registry=all_of).set_function(streams)
        Gauge("asr_streams_most", "Streams that may be open.", registry=all_of).set(most_streams)
        behind = "Audio that waits to be heard, of the session that has the most of it."
        Gauge("asr_audio_waiting_seconds", behind, registry=all_of).set_function(waiting)
        self.refused = Counter("asr_connections_refused", "Connections refused, by why.", ["why"], registry=all_of)
        self.ended = Counter("asr_sessions_ended", "Sessions that ended, by why.", ["why"], registry=all_of)
        about = "From the arrival of an event's last audio, or from the end that was asked for, to the event."
        self._lag = Histogram("asr_event_lag_seconds", about, ["event"], buckets=LAGS_S, registry=all_of)
        self._finals = Counter("asr_finals", "Utterances, by what ended them.", ["ended_by"], registry=all_of)
        self._audio = Counter("asr_audio_seconds", "Audio of utterances.", registry=all_of)
        self.errors = Counter("asr_errors", "Error events, by their code.", ["code"], registry=all_of)
        if memory:
            used = Gauge("asr_gpu_memory_used_bytes", "Of the GPU, by all of its processes.", registry=all_of)
            used.set_function(memory)

    def said(self, event: Partial | Final) -> None:
        """Count an event."""
        self._lag.labels(type(event).__name__.lower()).observe(event.lag_ms / 1e3)
        if isinstance(event, Final):
            self._finals.labels(event.ended_by).inc()
            self._audio.inc(event.audio_s)

    def page(self) -> bytes:
        """Return all of it in Prometheus's text format."""
        return generate_latest(self._registry)
