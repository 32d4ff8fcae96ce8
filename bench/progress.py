"""The progress bar: clips done, minutes of audio, word error rate so far."""

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

REDRAW_S = 10.0
"""Seconds of audio between two drawings."""


class Bar(Progress):
    """A bar over seconds of audio, redrawn only when told: a drawing thread would take time from what is measured."""

    def __init__(self, console: Console, title: str, clips: int, audio_s: float) -> None:
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[clips]}/{task.fields[all]} clips  {task.fields[minutes]:.1f} min"),
            TextColumn("WER {task.fields[wer]}"),
            TimeElapsedColumn(),
            console=console,
            auto_refresh=False,
        )
        self.clips = clips
        self._bar = self.add_task(title, total=audio_s, clips=0, all=clips, minutes=0.0, wer="-")
        self._drawn_s = 0.0

    def audio(self, before_s: float, clip_s: float) -> None:
        """Take note of the seconds of audio before the current clip, and of it, so far."""
        if before_s + clip_s - self._drawn_s >= REDRAW_S:
            self._draw(before_s + clip_s)

    def done(self, clips: int, audio_s: float, wer: float | None) -> None:
        """Take note of clips and seconds of audio that are done, and of the WER in percent if known."""
        self.update(self._bar, clips=clips, wer="-" if wer is None else f"{wer:.1f} %")
        self._draw(audio_s)

    def _draw(self, audio_s: float) -> None:
        self._drawn_s = audio_s
        self.update(self._bar, completed=audio_s, minutes=audio_s / 60)
        self.refresh()
