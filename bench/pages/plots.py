"""What is plotted: on RESULTS.md of all result files together, beside an ablation's result file, and on the HTML page of a run."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import fields
from functools import partial
from itertools import chain, cycle, groupby
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict

from bench.figures import data_label, graph_label
from bench.pages.combinations import Combination, combinations, is_ablation
from bench.pages.drawing import (
    COLOURS,
    ERRORS,
    INK,
    WIDTH_IN,
    Bar,
    Plot,
    bar_plot,
    draw_legend,
    draw_stacks,
    write_beside,
)
from bench.pages.tables import Labelled, joined, rows_of
from bench.results import EndpointRow, Report, ResultFile, Row, StepRow, read_results
from bench.score.words import Alignment
from bench.speech.waterfall import STAGES
from bench.step.ladder import is_runtime
from engines.memory import MemoryByOwner

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


class _Plan(BaseModel):
    gpu: str
    memory_mb: MemoryByOwner


class Inspection(Report):
    """What `python -m engines.inspect --json` writes, as far as it is drawn."""

    model_config = ConfigDict(extra="ignore")
    what = "inspection"
    advice = "inspect again with `python -m engines.inspect --json`"
    folder = "inspect"

    bundle: str
    precision: str
    plan: _Plan | None = None


def page_plots(folder: Path, results: Sequence[ResultFile]) -> list[Plot]:
    """Return RESULTS.md's plots, none of what was not measured. Raises InputError for a broken inspection in the results' folder."""
    texts = [text for text in rows_of(results, EndpointRow) if text.row.waterfall and text.row.limit is None]
    ablations = [result for result in results if is_ablation(result) and result.provenance.gpu]
    steps = [step for step in rows_of(results, StepRow) if step.row.pace == "fast" and is_runtime(step.row)]
    held = [found for found in read_results(folder, Inspection).values() if found.plan is not None]
    return _of_what_is_there(
        (waterfall_plot, [text for text in texts if not text.on_cpu] or texts),
        (wer_plot, _with_wer(chain.from_iterable(map(combinations, ablations)))),
        (distribution_plot, [step for step in steps if step.row.step_ms_percentiles and not step.on_cpu]),
        (memory_plot, held),
    )


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
        (waterfall_plot, [text for text in rows_of([result], EndpointRow) if text.row.waterfall]),
        (partial(bar_plot, "latency", "Latency", "Bar to p50, whisker to p95, in ms.", digits=0), latency_bars),
        (partial(bar_plot, "steps", "Step time", "Bar to p50, whisker to p99, in ms.", digits=2), step_bars),
        (error_plot, several),
    )


def _of_what_is_there(*plots: tuple[Callable[[Any], Plot], Collection[object]]) -> list[Plot]:
    return [plot(shown) for plot, shown in plots if shown]


def _with_wer(compared: Iterable[Combination]) -> list[Combination]:
    """Return those with a WER and a step time."""
    return [found for found in compared if found.steps and found.speech and found.speech.wer is not None]


def waterfall_plot(texts: Sequence[Labelled[EndpointRow]]) -> Plot:
    """Return the plot of where the time to the first text goes, a bar for each row."""
    names = [f"{text.row.data}, {text.row.lm or 'greedy'}\n{text.row.precision}, {text.engine}" for text in texts]
    waterfalls = [text.row.waterfall or {} for text in texts]

    def draw(figure: "Figure") -> None:
        parts = {stage.removesuffix("_ms"): [stages[stage]["mean"] for stages in waterfalls] for stage in STAGES}
        axes = draw_stacks(figure, names, parts)
        for level, stages in enumerate(waterfalls):
            high = stages["total_ms"]["p95"]
            axes.plot([high], [level], marker="|", markersize=16, color=INK)
            write_beside(axes, high, level, f"p95 {high:.0f}")
        axes.set_xlabel("ms from speech onset, mean of each stage")

    note = f"{joined(text.model for text in texts)}\n{_measured(texts)}"
    return Plot("waterfall", "Where the first text's time goes", note, draw, 1.4 + 0.6 * len(names))


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


def memory_plot(inspections: Sequence[Inspection]) -> Plot:
    """Return the plot of GPU memory by owner, a bar for each plan."""
    names = [f"{found.bundle}\n{found.precision}" for found in inspections]
    plans = [found.plan for found in inspections if found.plan is not None]

    def draw(figure: "Figure") -> None:
        owners = [field.name for field in fields(MemoryByOwner)]
        parts = {owner.replace("_", ", "): [getattr(plan.memory_mb, owner) for plan in plans] for owner in owners}
        axes = draw_stacks(figure, names, parts)
        for level, plan in enumerate(plans):
            write_beside(axes, plan.memory_mb.total, level, f"{plan.memory_mb.total:.0f}")
        axes.set_xlabel("MB on the GPU, one stream")

    return Plot("memory", "GPU memory by owner", joined(plan.gpu for plan in plans), draw, 1.4 + 0.6 * len(plans))


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
