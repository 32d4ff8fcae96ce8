"""What is plotted: on the pages of all published files together, beside an ablation's result file, and on the HTML page of a run."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from itertools import cycle, groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from bench.figures import data_label, graph_label
from bench.pages.combinations import Combination, combinations
from bench.pages.drawing import (
    ACCENT,
    COLOURS,
    ERRORS,
    WIDTH_IN,
    Bar,
    Plot,
    bar_plot,
    draw_legend,
    write_beside,
)
from bench.pages.published import Published, first_texts
from bench.pages.reliability import reliability_plot, reliability_rows
from bench.pages.tables import Labelled, joined, rows_of
from bench.results import ResultFile
from bench.rows import EndpointRow, Row, StepRow
from bench.score.words import Alignment
from bench.speech.waterfall import STAGES, summed_up
from bench.step.ladder import RUNTIME, is_runtime, ladder_rows

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
FADED = 0.45  # opacity of what runs without a graph
WER_SPAN = 1.0  # points that the axis shows at least: a difference of one word is no slope
TICKS = (50, 75, 90, 95, 99, 99.9)  # percent
PRECISIONS = ("fp32", "fp16", "int8")
LATENCIES = {
    "first partial from speech onset": "first_partial_onset_ms",
    "final from speech end": "final_speech_end_ms",
    "final from last frame": "final_ms",
}

_Labelled = TypeVar("_Labelled", bound=Labelled[Row])


def page_plots(published: Published) -> list[Plot]:
    """Return the plots of all published files together, none of what was not measured: RESULTS.md's two, then those of single pages."""
    results = list(published.results.values())
    steps = [step for step in rows_of(results, StepRow) if step.row.pace == "fast" and is_runtime(step.row)]
    timed = [step for step in steps if step.row.step_ms_percentiles and not step.on_cpu]
    ladders = list(filter(None, map(_ladder, results)))
    halves = _of_what_is_there((waterfall_plot, published.ends), (ladder_plot, ladders))
    sure = [found for found in reliability_rows(results) if found.row.limit is None]
    whole = _of_what_is_there((distribution_plot, timed), (reliability_plot, sure))
    return [*(plot.half() for plot in halves), *whole]


def ablation_plots(result: ResultFile) -> list[Plot]:
    """Return an ablation's plots, from its result file alone; none of another file."""
    compared = [combination for combination in combinations(result) if combination.steps is not None]
    return _of_what_is_there((wer_plot, _with_wer(compared)), (combination_plot, compared))


def report_plots(result: ResultFile, clips: Mapping[str, Sequence[Alignment]]) -> list[Plot]:
    """Return the plots of a run's HTML page; `clips`: title -> alignments, in their order on the page."""
    latency_bars, step_bars = [], []
    for row in result.rows:
        name = "\n".join(filter(None, (row.combination, data_label(row))))
        for what, key in LATENCIES.items():
            latency_bars += _bars(row, key, "p95", f"{name}\n{what}")
        step_bars += _bars(row, "step_ms", "p99", f"{name}{graph_label(row)}")
    several = {title: alignments for title, alignments in clips.items() if len(alignments) > 1}
    return _of_what_is_there(
        (waterfall_plot, result if first_texts(result) else None),
        (partial(bar_plot, "latency", "Latency", "Bar to p50, whisker to p95, in ms.", digits=0), latency_bars),
        (partial(bar_plot, "steps", "Step time", "Bar to p50, whisker to p99, in ms.", digits=2), step_bars),
        (error_plot, several),
        (reliability_plot, reliability_rows([result])),
    )


def _of_what_is_there(*plots: tuple[Callable[[Any], Plot], object]) -> list[Plot]:
    return [plot(shown) for plot, shown in plots if shown]


def _with_wer(compared: Iterable[Combination]) -> list[Combination]:
    """Return those with a WER and a step time."""
    return [found for found in compared if found.steps and found.speech and found.speech.wer is not None]


def waterfall_plot(result: ResultFile) -> Plot:
    """Return the plot of where the time to the first text goes, over a file's clips."""
    clips = first_texts(result)
    stages = summed_up(clips)

    def draw(figure: "Figure") -> None:
        axes, end = figure.add_subplot(), 0.0
        for level, stage in enumerate(STAGES):
            mean = stages[stage]["mean"]
            axes.barh(level, mean, left=end, color=ACCENT)
            end += mean
            write_beside(axes, end, level, f"{mean:.{0 if mean >= 1 else 1}f}")
        axes.barh(len(STAGES), end, color=COLOURS[0])
        write_beside(axes, end, len(STAGES), f"{end:.0f}")
        axes.set_yticks(range(len(STAGES) + 1), [*(stage.removesuffix("_ms") for stage in STAGES), "first text"])
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.margins(x=0.35, y=0.02)
        axes.set_xlabel(f"ms from speech onset, mean of {len(clips)} clips")

    note = _measured([text for text in rows_of([result], EndpointRow) if text.row.waterfall])
    return Plot("waterfall", "Where the first text's time goes", note, draw, 0.55 + 0.16 * (len(STAGES) + 1))


def ladder_plot(ladders: Sequence[Sequence[Labelled[StepRow]]]) -> Plot:
    """Return the plot of the slowest model's ladder, a bar for each rung."""
    rungs = max(ladders, key=lambda ladder: ladder[-1].row.step_ms_p50 or 0.0)

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        times = [rung.row.step_ms_p50 or math.nan for rung in rungs]
        axes.barh(range(len(rungs)), times, color=COLOURS[6], height=0.9)
        for level, (rung, ms) in enumerate(zip(rungs, times, strict=True)):
            axes.annotate(f" {ms:.2f}  {rung.row.rung}", (0.01, level), xycoords=("axes fraction", "data"), va="center")
        axes.set_xscale("log")
        axes.set_xlim(left=min(times) / 2)
        axes.set_xticks([1, 10], ["1", "10"])
        axes.set_yticks([])
        axes.invert_yaxis()
        axes.margins(y=0.02)
        axes.set_xlabel("step ms, p50 back to back, one stream")

    note = _measured(rungs[-1:])
    title = f"From NeMo's encoder to the runtime, {rungs[-1].precision}"
    return Plot("ladder", title, note, draw, 0.55 + 0.2 * len(rungs))


def _ladder(result: ResultFile) -> list[Labelled[StepRow]]:
    """Return a ladder's rungs back to back, up to the runtime and in its precision; none where that was not measured."""
    rows = [row for row, _ in ladder_rows(result) if row.precision == RUNTIME.precision]
    names = [row.rung for row in rows]
    end = names.index(RUNTIME.label) + 1 if RUNTIME.label in names else 0
    return [Labelled(row, result.provenance) for row in rows[:end]]


def wer_plot(compared: Sequence[Combination]) -> Plot:
    """Return the plot of error rate against step time: a panel for each bundle, as they differ by more than their precisions do."""
    panels, looks = _panels(compared), _looks(compared)

    def draw(figure: "Figure") -> None:
        for place, (name, group) in enumerate(panels.items(), 1):
            axes = figure.add_subplot(1, len(panels), place)
            for combination in group:
                keys = (
                    "speech.wer",
                    "steps.step_ms_p50",
                    *(f"speech.wer_change{end}" for end in ("", "_low", "_high")),
                )
                wer, step_ms, change, low, high = np.array(attrgetter(*keys)(combination), float)  # None is NaN
                colour, marker = looks[combination.precision]
                axes.errorbar(
                    [step_ms],
                    [wer],
                    yerr=[[change - low], [high - change]],
                    fmt=marker,
                    color=colour,
                    markersize=9,
                    markerfacecolor="none",  # one that lies on another leaves it visible
                    markeredgewidth=2,
                    label=combination.precision,
                )
            low, high = axes.get_ylim()
            margin = max(0.0, WER_SPAN - (high - low)) / 2
            axes.set(xlim=(0, 1.05 * axes.get_xlim()[1]), ylim=(low - margin, high + margin))
            axes.set(title=name, xlabel="step p50, ms", ylabel="WER, %")
        draw_legend(figure, 3 if len(panels) == 1 else 4)

    note = f"Bars: 95 % interval of the difference from FP32\n{_measured(compared)}"
    return Plot("wer", "WER against step time", note, draw, 4.0, max(WIDTH_IN, 4.5 * len(panels)))


def combination_plot(compared: Sequence[Combination]) -> Plot:
    """Return the plot of an ablation's steps: a bar for each combination with a graph, and one without."""
    looks, bars = _looks(compared), []
    for combination in compared:
        colour, _ = looks[combination.precision]
        for row in filter(None, (combination.graph, combination.plain)):
            name = f"{combination.model}\n{combination.precision}{graph_label(row)}"
            bars += _bars(row, "step_ms", "p99", name, colour, FADED if row.cuda_graph is False else 1.0)
    note = f"Bar to p50, whisker to p99\n{_measured(compared)}"
    return bar_plot("steps", "Step time by precision", note, bars, digits=2)


def distribution_plot(steps: Sequence[Labelled[StepRow]]) -> Plot:
    """Return the plot of the step's slower half: a panel for each model, a line for each precision, dashed without a graph."""
    panels, looks = _panels(steps), _looks(steps)
    below = -(-len(panels) // 2)

    def draw(figure: "Figure") -> None:
        for place, (model, group) in enumerate(panels.items(), 1):
            axes = figure.add_subplot(below, min(len(panels), 2), place)
            # The first of a kind is drawn, the ladder's last: it measures the runtime once more, beside NeMo.
            in_turn = sorted(group, key=lambda step: step.row.rung is not None)
            lines = {
                (step.precision, step.row.cuda_graph is not False): step.row.step_ms_percentiles or {}
                for step in reversed(in_turn)
            }
            for precision, graph in sorted(lines):
                times = {float(percent): ms for percent, ms in lines[precision, graph].items()}
                upper = [percent for percent in sorted(times) if 50 <= percent < 100]
                axes.plot(
                    [percent / 100 for percent in upper],
                    [times[percent] for percent in upper],
                    color=looks[precision][0],
                    linestyle="-" if graph else "--",
                    marker=".",
                    label=precision if graph else f"{precision}, no graph",
                )
            axes.set_xscale("logit")  # each tenth of the rest has about as much room as the nine before it
            axes.set_xticks([percent / 100 for percent in TICKS], [f"{percent:g}" for percent in TICKS])
            axes.set_xticks([], minor=True)
            axes.set_ylim(bottom=0)
            axes.set(title=model, xlabel="percent of steps", ylabel="take at most ms")
        draw_legend(figure)

    return Plot("steps", "Step time's distribution, back to back", _measured(steps), draw, 1.2 + 2.6 * below)


def error_plot(clips: Mapping[str, Sequence[Alignment]]) -> Plot:
    """Return the plot of each clip's errors over its reference's words, by kind: a panel for each title."""

    def draw(figure: "Figure") -> None:
        for axes, title in zip(figure.subplots(len(clips), sharey=True, squeeze=False).flat, clips, strict=True):
            edges, below = np.arange(len(clips[title]) + 1) + 0.5, np.zeros(len(clips[title]))
            for kind, colour in zip(("substitutions", "deletions", "insertions"), ERRORS, strict=True):
                heights = [100 * getattr(clip, kind) / max(1, clip.words) for clip in clips[title]]
                above = (
                    below + heights
                )  # one shape a kind: a bar for each of some thousand clips takes seconds and megabytes
                axes.stairs(above, edges, baseline=below, fill=True, color=colour, label=kind)
                below = above
            axes.set(title=title, xlim=(edges[0], edges[-1]), ylabel="WER, %")
            axes.grid(visible=False, axis="x")
            axes.locator_params("x", integer=True)
        figure.axes[-1].set_xlabel("clips, most errors first")
        draw_legend(figure)

    note = "In the order of the transcripts below, by kind of error."
    return Plot("errors", "Word error rate of each clip", note, draw, 0.8 + 2.0 * len(clips), 2 * WIDTH_IN)


def _bars(row: Row, key: str, high: str, name: str, *look: Any) -> list[Bar]:
    """Return the bar of a row's figure, if it has one."""
    p50, high_ms = (getattr(row, f"{key}_{percentile}", None) for percentile in ("p50", high))
    return [] if p50 is None or high_ms is None else [Bar(name, p50, high_ms, *look)]


def _panels(shown: Iterable[_Labelled]) -> dict[str, list[_Labelled]]:
    """Return model -> what is shown of it."""
    ordered = sorted(shown, key=attrgetter("row.model", "row.lookahead_ms", "row.decoder"))
    return {model: list(group) for model, group in groupby(ordered, attrgetter("model"))}


def _looks(shown: Iterable[Labelled[Row]]) -> dict[str, tuple[str, str]]:
    """Return precision -> colour and marker."""
    precisions = {measured.precision for measured in shown}
    ordered = sorted(precisions, key=lambda precision: (PRECISIONS.index(precision[:4]), precision))
    return dict(zip(ordered, cycle(zip(COLOURS, MARKERS, strict=True))))


def _measured(shown: Sequence[Labelled[Row]]) -> str:
    """Return what ran them where, and whether their times count."""
    check = ": times are no result" if any(measured.on_cpu for measured in shown) else ""
    return joined(f"{measured.software}, {measured.where}" for measured in shown) + check
