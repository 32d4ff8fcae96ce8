"""`python -m bench report`: one HTML page of a run that needs nothing else: tables, plots, transcripts with their errors, partials."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path

import tyro
from rich.console import Console

from bench.figures import CHECK, data_label
from bench.pages.drawing import WIDTH_IN
from bench.pages.plots import report_plots
from bench.pages.result_tables import result_tables
from bench.pages.template import rendered
from bench.partials import Shown
from bench.results import ResultFile, UtteranceRecord, read_result, read_results
from bench.score.words import Alignment, aligned
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


@dataclass(frozen=True)
class Transcript:
    """What was said and what was recognised."""

    record: UtteranceRecord
    alignment: Alignment | None
    """None: of random weights, which have no errors to count."""
    texts: list[tuple[float, int, str]]
    """Partials and final, as `bench.partials.changes` has them; empty: no partials."""
    end_s: float
    """End of the slider, once the final was there."""


@dataclass(frozen=True)
class Group:
    """The transcripts of a row, most errors first."""

    title: str
    wer: float | None
    transcripts: list[Transcript]


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
        InputError: no such file, no result file or one without transcripts, no Jinja2 or matplotlib, or an `out` that cannot be written.
    """
    path = options.result or newest()
    out = options.out or Path("build/reports") / f"{path.stem}.html"
    text = page(path.stem, read_result(path))
    with written_whole(out) as temporary:
        temporary.write_text(text, encoding="utf-8")
    console.print(f"wrote {out}", highlight=False, soft_wrap=True)


def page(name: str, result: ResultFile) -> str:
    """The page of a result, in HTML. Raises InputError for a result without transcripts, and where Jinja2 or matplotlib is missing."""
    if not result.utterances:
        raise InputError(f"{name}: expected a result with transcripts, found none; `make results` shows its figures")
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
    texts = [*record.partials, Shown(final_s, record.hypothesis)] if record.partials else []
    end_s = round(STEP_S * (int(final_s / STEP_S) + 1), 1)
    return Transcript(record, aligned(record) if scored else None, texts, end_s)
