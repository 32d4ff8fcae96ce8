"""The pages of bench/results: one for each question, with every published figure, and an index of them."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter, itemgetter
from pathlib import Path
from typing import TypeVar

from bench.figures import Column, column, read_table
from bench.pages.combinations import COSTS, DECIDING, TIMES, combinations, is_ablation
from bench.pages.configurations import CONDITIONS, FIGURES_OF_ALL
from bench.pages.plots import ablation_plots, page_plots
from bench.pages.published import Published
from bench.pages.report_tables import (
    PROJECTED,
    PROJECTED_FROM,
    accuracy_tables,
    bargein_tables,
    batch_tables,
    streams_projection_tables,
)
from bench.pages.result_tables import (
    CONFIDENCE,
    DATA,
    EARLY,
    EARLY_TEXTS,
    ENDPOINTS,
    FINAL,
    FIRST_PARTIAL,
    HOTWORDS,
    HOW,
    MEMORY,
    PACE,
    STEP,
    STEPS,
    STREAMS,
    WATERFALL,
    WORD_TIMES,
    how_label,
    streams_sentence,
    waterfall_cells,
)
from bench.pages.tables import ENGINE, MODEL, PRECISION, WHERE, Labelled, Table, markdown, rows_of, sheets
from bench.results import ResultFile
from bench.rows import EndpointRow, HotwordsRow, Row, SpeechRow, StepRow, StreamsRow, WordsRow
from bench.step.batch import BatchReport
from bench.step.ladder import ladder_rows
from engines.memory import MemoryByOwner

INDEX = """# All figures

Made by `make results` from the files of this folder; [RESULTS.md](../../RESULTS.md) has what matters of them. Each file holds
provenance (hardware, versions, commit, data hash) and each utterance's transcript; [figures.md](../figures.md) defines every figure.
What was not measured is a dash. Rows of a CPU are functional checks: their error rates hold, their times and memory are no result.
"""
QUESTIONS = Path(__file__).with_name("questions.md")
NAME = Column("Data", attrgetter("row.data"))
DECODING = Column("Decoding", lambda measured: getattr(measured.row, "lm", None) or "greedy")
ON = (MODEL, WHERE, ENGINE)
EARLY_IF_ANY = Column("Early text", lambda row: EARLY.cell(row).replace("off", "-"))
SECONDS = Column("Seconds", lambda row: f"{60 * row.audio_minutes / row.streams:.0f}")
"""For which each stream was fed."""
ERRORS = (column("wer"), column("cer"), column("churn", title="Churn"), MEMORY)
COMPUTING = (column("rtf", "p50", "p95"), STEP, column("decode_ms", "p50", "p95"), FIRST_PARTIAL, FINAL)

_Row = TypeVar("_Row", bound=Row)


@dataclass(frozen=True)
class Stage(Labelled[EndpointRow]):
    """A stage of the time to a first text."""

    cells: Sequence[str]


@dataclass(frozen=True)
class Rung(Labelled[StepRow]):
    """A rung of a ladder, back to back and at the pace of speech."""

    paced: StepRow


def question_pages(published: Published) -> dict[str, str]:
    """Return file name -> text of each page that has something to say, and of the index."""
    texts, index = {}, []
    for name, question, conditions in read_table(QUESTIONS):
        if parts := list(filter(None, PAGES[name](published))):
            texts[f"{name}.md"] = "\n\n".join([f"# {question}", conditions, *parts]) + "\n"
            index.append(f"- [{question}]({name}.md)")
    return {"README.md": "\n".join([INDEX, *index]) + "\n", **texts}


def _whole(published: Published, kind: type[_Row]) -> list[Labelled[_Row]]:
    """Return the rows of whole data sets, but those of an ablation or of a ladder."""
    parts = ("limit", "combination", "rung")
    return [
        found
        for found in rows_of(published.results.values(), kind)
        if all(getattr(found.row, part, None) is None for part in parts)
    ]


def _of_rows(*columns: Column) -> list[Column]:
    return [column.of("row") for column in columns]


def _recognition(published: Published) -> Iterator[str]:
    clips = sheets(CONDITIONS, FIGURES_OF_ALL, published.configurations, 4)
    yield _titled("All data sets together, clip by clip", clips)
    labels, speech = (
        [*ON, *_of_rows(PACE), DECODING, PRECISION, *_of_rows(EARLY_IF_ANY, DATA)],
        _whole(published, SpeechRow),
    )
    yield _titled("Errors by data set", sheets(labels, _of_rows(*ERRORS), speech, 5))
    yield _titled("Times by data set", sheets(labels, _of_rows(*COMPUTING), speech, 5))


def _first_text(published: Published) -> Iterator[str]:
    stages = [
        Stage(found.row, found.provenance, cells)
        for found in _whole(published, EndpointRow)
        for cells in waterfall_cells(found.row)
    ]
    columns = [Column(title, itemgetter(place)).of("cells") for place, title in enumerate(WATERFALL)]
    yield sheets([*ON, PRECISION, DECODING, NAME], columns, stages, 6)
    yield from _plot(published, "waterfall")


def _early_text(published: Published) -> Iterator[str]:
    clips = [
        found
        for found in published.configurations
        if getattr(found.row, "early_tokens", None) and found.row.combination is None
    ]
    labels = [*ON, DECODING, PRECISION, Column("Audio", attrgetter("fed"))]
    yield sheets(labels, _of_rows(*EARLY_TEXTS, column("rtf", "p50", "p95")), clips, 3)


def _endpoints(published: Published) -> Iterator[str]:
    ended = _whole(published, EndpointRow)
    yield sheets([*ON, PRECISION, DECODING, NAME], _of_rows(*ENDPOINTS[1:]), ended, 5)


def _ablation(published: Published) -> Iterator[str]:
    ablations = {name: result for name, result in published.results.items() if is_ablation(result)}
    compared = [found for result in ablations.values() for found in combinations(result)]
    labels = (MODEL, WHERE, Column("Engine", attrgetter("software")), PRECISION)
    wer, change, graph, plain, plan = DECIDING
    yield _titled("Errors and costs", sheets(labels, (wer, change, plan, *COSTS), compared, 3))
    yield _titled("Times", sheets(labels, (graph, plain, *TIMES), compared, 3))
    for name, result in ablations.items():
        yield from (f"![{plot.title}]({name}-{plot.name}.svg)" for plot in ablation_plots(result))
    yield from _left_out(ablations)


def _int8(published: Published) -> Iterator[str]:
    for report in published.accuracy:
        yield f"## {report.model}, {report.lookahead_ms} ms, onnxruntime-cpu"
        yield from map(_captioned, accuracy_tables(report))


def _steps(published: Published) -> Iterator[str]:
    yield sheets([*ON, PRECISION], _of_rows(*STEPS), _whole(published, StepRow), 3)
    yield from _plot(published, "steps")
    owners = [_owner(name) for name in (*MemoryByOwner.__dataclass_fields__, "total")]
    held = [found for found in published.inspections if found.plan]
    labels = [Column(path.title(), attrgetter(path)) for path in ("plan.gpu", "bundle", "precision")]
    yield _titled("GPU memory by owner, MB", sheets(labels, owners, held, 2))


def _owner(name: str) -> Column:
    megabytes = attrgetter(f"plan.memory_mb.{name}")
    return Column(name.replace("_", ", "), lambda found: f"{megabytes(found):.0f}")


def _ladder(published: Published) -> Iterator[str]:
    ladders = {name: result for name, result in published.results.items() if ladder_rows(result)}
    rungs = [Rung(fast, file.provenance, slow) for file in ladders.values() for fast, slow in ladder_rows(file)]
    labels = [
        Column("Model", lambda rung: f"{rung.row.model}, {rung.row.lookahead_ms} ms"),
        WHERE,
        Column("TensorRT", lambda rung: f"TensorRT {rung.provenance.tensorrt}"),
        Column("Commit", lambda rung: f"commit {(rung.provenance.commit or 'unknown')[:7]}"),
        Column("Rung", attrgetter("row.rung")),
        PRECISION,
    ]
    fast, slow = (column("step_ms", "p50", "p95", "p99", title=title) for title in ("Back to back", "Real time"))
    times = (column("times_runtime"), column("times_runtime", title="Times the runtime's in real time"))
    paces = (fast.of("row"), times[0].of("row"), slow.of("paced"), times[1].of("paced"))
    yield _titled("Times", sheets(labels, paces, rungs))
    costs = [cost for cost in STEPS if cost not in (PACE, STEP) and cost.title != times[0].title]
    yield _titled("Costs", sheets(labels, _of_rows(*costs), rungs))
    yield from _plot(published, "ladder")
    yield from _left_out(ladders)


def _streams(published: Published) -> Iterator[str]:
    labels = [*ON, PRECISION, *_of_rows(HOW)]
    runs: dict[tuple[str, ...], list[Labelled[StreamsRow]]] = {}
    for each in sorted(_whole(published, StreamsRow), key=lambda found: found.row.streams):
        runs.setdefault(tuple(label.cell(each) for label in labels), []).append(each)
    found = [each for _, run in sorted(runs.items()) for each in run]
    for columns in (STREAMS[:5], (STREAMS[0], SECONDS, *STREAMS[5:])):
        yield sheets(labels, _of_rows(*columns), found, len(labels))
    for _, (first, *others) in sorted(runs.items()):
        yield f"{first.model}, {how_label(first.row)}: {streams_sentence([each.row for each in (first, *others)])}"


def _words(published: Published) -> Iterator[str]:
    labels = [*ON, PRECISION, DECODING, *_of_rows(DATA)]
    found = _whole(published, WordsRow)
    yield _titled("Confidence", sheets(labels, _of_rows(*CONFIDENCE[1:]), found, 5))
    yield from _plot(published, "reliability")
    yield _titled("Times", sheets(labels, _of_rows(*WORD_TIMES[1:]), found, 5))
    sources = (result.definitions.get("spoken") for result in published.results.values() if result.rows_of(WordsRow))
    yield from dict.fromkeys(f"{source[0].upper()}{source[1:]}." for source in sources if source)


def _batch(published: Published) -> Iterator[str]:
    for report in published.batches:
        yield f"## {report.provenance.gpu}, TensorRT {report.provenance.tensorrt}, CUDA graph"
        yield from map(_captioned, batch_tables(report))
        if report.peer:
            yield f"NeMo: {report.peer}."
        yield from _left_out({f"{report.model}, {report.precision}": report})


def _bargein(published: Published) -> Iterator[str]:
    for result in published.bargein:
        yield from map(_captioned, bargein_tables(result))
    yield from dict.fromkeys(f"Scenes: {result.definitions['scenes']}." for result in published.bargein)


def _hotwords(published: Published) -> Iterator[str]:
    found = _whole(published, HotwordsRow)
    yield sheets([*ON, PRECISION, DECODING, NAME], _of_rows(*HOTWORDS), found, 5)


def _projection(published: Published) -> Iterator[str]:
    yield sheets(PROJECTED_FROM, PROJECTED, published.projections, 3)
    for served in published.served:
        yield from map(_captioned, streams_projection_tables(served))


def _left_out(files: Mapping[str, ResultFile | BatchReport]) -> Iterator[str]:
    for name, result in files.items():
        if result.left_out:
            lines = [f"- {what}: {reason}" for what, reason in result.left_out.items()]
            yield "\n".join([f"Left out of {name}:\n", *lines])


def _plot(published: Published, name: str) -> Iterator[str]:
    yield from (f"![{plot.title}](plots/{name}.svg)" for plot in page_plots(published) if plot.name == name)


def _titled(title: str, text: str) -> str:
    return f"## {title}\n\n{text}" if text else ""


def _captioned(shown: Table) -> str:
    return f"{shown.title}:\n\n{markdown(shown)}"


PAGES: dict[str, Callable[[Published], Iterable[str]]] = {
    "recognition": _recognition,
    "first_text": _first_text,
    "early_text": _early_text,
    "endpoints": _endpoints,
    "ablation": _ablation,
    "int8": _int8,
    "step": _steps,
    "ladder": _ladder,
    "streams": _streams,
    "batch": _batch,
    "words": _words,
    "bargein": _bargein,
    "hotwords": _hotwords,
    "projection": _projection,
}
"""Page of questions.md -> its paragraphs and tables; empty where nothing was measured."""
