"""`python -m bench report`: one HTML page of a run that needs nothing else: tables, plots, transcripts, their words and sound."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

import tyro
from rich.console import Console

from bench.figures import CHECK, data_label
from bench.pages.drawing import WIDTH_IN
from bench.pages.plots import report_plots
from bench.pages.result_tables import result_tables
from bench.pages.sound import BARS, HEIGHT, named, sounds_of
from bench.pages.template import rendered
from bench.pages.timeline import Timeline, timeline
from bench.partials import Shown, changes
from bench.results import ResultFile, read_result, read_results
from bench.rows import UtteranceRecord
from bench.score.words import Alignment, aligned
from data.recordings import Named
from runtime.errors import InputError
from runtime.files import written_whole

FOLDERS = (Path("build/results"), Path("bench/results"))
"""Where the newest result is looked for."""
TEMPLATE = Path(__file__).with_name("report.html")
KIND = attrgetter("data", "mode", "combination")
"""What an utterance and its row share."""
STEP_S = 0.1
"""Step of the slider through a clip's partials, in seconds."""


@dataclass(frozen=True)
class Options:
    """Of which run, and where to."""

    result: tyro.conf.Positional[Path | None] = None
    """Result file (default: the newest with transcripts)."""
    out: Path | None = None
    """The page (default: build/reports/NAME.html)."""
    eval: Path | None = None
    """Folder of data sets with the recordings (default: data/asr_eval, ../shared/data/asr_eval, data/sample)."""


@dataclass(frozen=True)
class Transcript:
    """What was said and what was recognised."""

    record: UtteranceRecord
    alignment: Alignment | None
    """None: of random weights, which have no errors to count."""
    texts: list["Text"]
    """Partials and final; empty: no partials."""
    end_s: float
    """End of the slider, once the final was there."""
    clip: Named
    timeline: Timeline | None
    """None: no words, which are not kept of all kinds."""


class Text(NamedTuple):
    """A text that was shown, as the page's script reads it. Lengths are in characters."""

    seconds: float
    kept: int
    """Of the text before, what stays of it."""
    rest: str
    """What follows that."""
    stable: int
    """From the text's start on, what stays up to the final."""
    early: int
    """At its end, what is shown before its look-ahead has arrived."""


@dataclass(frozen=True)
class Group:
    """The transcripts of a row, most errors first."""

    title: str
    wer: float | None
    transcripts: list[Transcript]

    @property
    def timed(self) -> list[UtteranceRecord]:
        """The records with words."""
        return [transcript.record for transcript in self.transcripts if transcript.timeline]

    @property
    def shown(self) -> bool:
        """Whether there are partials."""
        return any(transcript.texts for transcript in self.transcripts)


def newest() -> Path:
    """The result file with transcripts that was measured last. Raises InputError for none, and for a broken file among them."""
    dated = [
        (result.provenance.date, folder / f"{name}.json")
        for folder in FOLDERS
        if folder.is_dir()
        for name, result in read_results(folder).items()
        if result.utterances
    ]
    if not dated:
        raise InputError(
            f"expected a result file with transcripts in {' or '.join(map(str, FOLDERS))}, found none; `make bench` writes one"
        )
    return max(dated)[1]


def run(options: Options, argv: Sequence[str], console: Console) -> None:  # noqa: ARG001 -- a command's arguments
    """Write the page of a result file.

    Raises:
        InputError: no such file, no result file or one without transcripts, no folder `eval`, no Jinja2 or matplotlib, or an `out` that
            cannot be written.
    """
    if options.eval is not None and not options.eval.is_dir():
        raise InputError(f"--eval: expected a folder of data sets, found no folder {options.eval}; leave it out")
    path = options.result or newest()
    out = options.out or Path("build/reports") / f"{path.stem}.html"
    text = page(path.stem, read_result(path), options.eval)
    with written_whole(out) as temporary:
        temporary.write_text(text, encoding="utf-8")
    console.print(f"wrote {out}", highlight=False, soft_wrap=True)


def page(name: str, result: ResultFile, folder: Path | None = None) -> str:
    """The page of a result, in HTML, with the recordings of a folder of data sets; None: of where data usually lies.

    Raises InputError for a result without transcripts, and where Jinja2 or matplotlib is missing.
    """
    if not result.utterances:
        raise InputError(
            f"{name}: expected a result with transcripts, found none; `build/python -m bench show` prints its figures"
        )
    groups = list(_groups(result))
    clips = {group.title: [clip.alignment for clip in group.transcripts if clip.alignment] for group in groups}
    return rendered(
        TEMPLATE,
        escape=True,
        name=name,
        result=result,
        check=CHECK if result.functional_check else None,
        tables=list(result_tables(result)),
        plots=report_plots(result, clips),
        half_in=WIDTH_IN,
        style=TEMPLATE.with_suffix(".css").read_text(encoding="utf-8"),
        script=TEMPLATE.with_suffix(".js").read_text(encoding="utf-8"),
        sounds=sounds_of((record for group in groups for record in group.timed), folder),
        bars=BARS,
        half_height=HEIGHT,
        groups=groups,
        step_s=STEP_S,
    )


def _groups(result: ResultFile) -> Iterator[Group]:
    rows = {KIND(row): row for row in result.rows}
    for kind in dict.fromkeys(map(KIND, result.utterances)):
        records = [record for record in result.utterances if KIND(record) == kind]
        if kind not in rows:
            raise InputError(f"expected a row of {records[0].data}, {records[0].mode}, found none; measure again")
        row = rows[kind]
        wer = getattr(row, "wer", None)
        transcripts = [_transcript(record, scored=wer is not None) for record in records]
        transcripts.sort(key=lambda clip: clip.alignment.wer if clip.alignment else 0.0, reverse=True)
        title = data_label(row) if row.combination is None else f"{row.combination}: {data_label(row)}"
        yield Group(title, wer, transcripts)


def _transcript(record: UtteranceRecord, *, scored: bool) -> Transcript:
    final_s = round(record.audio_s + (record.final_ms or 0.0) / 1e3, 2)
    end_s = round(STEP_S * (int(final_s / STEP_S) + 1), 1)
    alignment = aligned(record) if scored else None
    line = timeline(record, scored=scored) if record.words else None
    return Transcript(record, alignment, _texts(record, final_s), end_s, named(record), line)


def _texts(record: UtteranceRecord, final_s: float) -> list[Text]:
    if not record.partials:
        return []
    words = record.hypothesis.split(" ")
    shown = [*record.partials, Shown(final_s, record.hypothesis, len(words))]
    texts = []
    for each, change in zip(shown, changes(shown), strict=True):
        stable = len(" ".join(each.text.split(" ")[: each.stable or 0]))
        texts.append(Text(each.seconds, *change, min(stable, len(each.text) - each.early), each.early))
    return texts
