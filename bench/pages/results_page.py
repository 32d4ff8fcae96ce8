"""RESULTS.md's tables between two markers, the page of all figures, and the plots: made from the result files and the projections."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.pages import markdown
from bench.pages.ablation_plots import plots
from bench.pages.all_figures import appendix
from bench.pages.combinations import COLUMNS, combinations, is_ablation
from bench.pages.markdown import engine_label, model_label, where_label
from bench.pages.overview import NOTE, overview
from bench.pages.plots import page_plots
from bench.pages.terminal import figures
from bench.results import ResultFile, read_results
from bench.step.projection import LABEL, Projection, memory_span, read_projections, rtf_span, step_span
from bench.step.rungs import measured_rungs
from runtime.errors import InputError
from runtime.files import written_whole

START = "<!-- results:start -->"
END = "<!-- results:end -->"
APPENDIX = "README.md"  # among the result files
ABLATION = (
    "WER %",
    "Change from FP32, points (95 %)",
    "Step ms p50 / p95 / p99, CUDA graph",
    "the same, no graph",
    "Peak memory MB",
    "Plan MB",
    "Build s",
)
PROJECTED = (
    "Model",
    "Precision",
    "Figures of the row",
    "Step ms, low - high (projection)",
    "RTF, low - high (projection)",
    "GPU memory MB (projection)",
    "From",
)
BOUNDS = (
    "Low: the bytes at the best bandwidth. High: nothing fused or overlapped, the clock throttled, the measured cost of every "
    "kernel on top. `bench/results/projections/*.json` list the assumptions and their sources."
)


def refresh(page: Path, results: Path, check: bool) -> None:
    """Write the page, the one of all figures and the plots among the result files anew, or only check them.

    Raises:
        InputError: a missing page, markers missing or out of order, a missing folder, a broken file in it, or no matplotlib.
        SystemExit: code 1, where `check` finds one of them stale.
    """
    for path, text in texts(page, results).items():
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            print(f"{path} is up to date")
        elif check:
            raise SystemExit(f"{path} is stale: run `make results`")  # its text goes to stderr, with code 1
        else:
            path.parent.mkdir(exist_ok=True)
            with written_whole(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
            print(f"wrote {path}")


def texts(page: Path, results: Path) -> dict[Path, str]:
    """Path -> text of all that is made from the result files. Raises InputError as `refresh` does."""
    before, after = _around(page)
    found = read_results(results)
    drawn = page_plots(results, list(found.values()))
    link = os.path.relpath(results, page.parent)
    tables = _tables(list(found.values()), read_projections(results), [path.name for path in drawn], link)
    made = {page: f"{before}{START}\n{tables}\n{END}{after}", results / APPENDIX: appendix(results)} | drawn
    for name, result in found.items():
        made |= plots(results / f"{name}.json", result)
    return made


def _around(page: Path) -> tuple[str, str]:
    """What the page has before its markers and behind them."""
    if not page.is_file():
        raise InputError(f"{page}: no such page; it needs the lines {START} and {END}")
    before, start, rest = page.read_text(encoding="utf-8").partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise InputError(f"{page}: expected the lines {START} and {END}, in this order; put them where the table goes")
    return before, after


def _tables(results: Sequence[ResultFile], projections: Sequence[Projection], drawn: Sequence[str], link: str) -> str:
    """In Markdown; `link`: the folder of the result files as the page sees it."""
    images = [f"![{Path(name).stem}]({link}/plots/{name})" for name in drawn]
    pairs = [(*images[place : place + 2], "")[:2] for place in range(0, len(images), 2)]
    parts = [
        overview(results),
        NOTE,
        _ablation([each for each in results if is_ablation(each) and each.provenance.gpu]),
        _ladder([each for each in results if measured_rungs(each)]),
        *(_projected(gpu, projections) for gpu in sorted({each.gpu for each in projections})),
        markdown.table(pairs[0], pairs[1:]) if pairs else "",
        f"All figures, with endpoints, barge-in and what was left out: [{link}/{APPENDIX}]({link}/{APPENDIX}).",
    ]
    return "\n\n".join(part for part in parts if part)


def _ablation(results: Sequence[ResultFile]) -> str:
    if not results:
        return ""
    measured = [(each, result.provenance) for result in results for each in combinations(result)]
    measured.sort(key=lambda each: each[0].bundle)
    engines: dict[str, None] = {}
    data: dict[str, None] = {}
    cells = []
    for each, provenance in measured:
        engine = engine_label(each.row.model_copy(update={"cuda_graph": None}), provenance)
        engines[f"{engine} on {where_label(each.row, provenance)}"] = None
        data |= {each.speech.data: None} if each.speech is not None else {}
        labels = (model_label(each.row), each.precision)
        cells.append((*labels, *(COLUMNS[name](each) for name in ABLATION)))
    title = f"**Ablation**, {_and(engines)}; WER over {_and(data)}:"
    return f"{title}\n\n{markdown.table(('Model', 'Precision', *ABLATION), cells)}"


def _ladder(results: Sequence[ResultFile]) -> str:
    """A row per rung, a column per ladder."""
    if not results:
        return ""
    columns: dict[str, dict[tuple[str, str], str]] = {}
    wheres: dict[str, None] = {}
    for result in results:
        # A ladder's NeMo has random weights, whatever the bundle's are.
        fast = [row for row, _ in measured_rungs(result)]
        own = min(fast, key=lambda row: row.backend == "torch")
        wheres |= {where_label(own, result.provenance): None}
        columns[f"{model_label(own)}: p50 (times the runtime's)"] = {
            (row.rung or "", row.precision): f"{figures([row.step_ms_p50], 2)} ({figures([row.times_runtime], 1)})"
            for row in fast
        }
    rungs = dict.fromkeys(rung for column in columns.values() for rung in column)
    cells = [(*rung, *(column.get(rung, "-") for column in columns.values())) for rung in rungs]
    commits = dict.fromkeys((result.provenance.commit or "no commit")[:7] for result in results)
    measured = f"{_and(wheres)}, at commit {_and(commits)}"
    title = f"**From NeMo's encoder to the runtime**, step ms back to back, {measured}; NeMo's has random weights:"
    return f"{title}\n\n{markdown.table(('Rung', 'Precision', *columns), cells)}"


def _projected(gpu: str, projections: Sequence[Projection]) -> str:
    rows = [_projection(each) for each in projections if each.gpu == gpu]
    return "\n\n".join([f"**{gpu} ({LABEL})**", markdown.table(PROJECTED, rows), BOUNDS])


def _projection(projection: Projection) -> tuple[str, ...]:
    step, source = projection.steps[0], projection.source
    weights = "" if projection.weights == "trained" else ", random weights"
    return (
        f"{projection.model}, {projection.lookahead_ms} ms{weights}",
        projection.precision,
        LABEL,
        step_span(step),
        rtf_span(step),
        memory_span(projection),
        f"{source.kernels} kernels of TensorRT {source.tensorrt} on {source.gpu}",
    )


def _and(names: Mapping[str, None]) -> str:
    return ", ".join(names)
