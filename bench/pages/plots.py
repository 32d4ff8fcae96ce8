"""RESULTS.md's plots, of all result files together: first text by stage, error rate against step, the step's times, GPU memory by owner."""

from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, ConfigDict

from bench.figures import model_label, on_cpu, precision_label
from bench.pages.ablation_plots import wer_against_step
from bench.pages.combinations import Combination, combinations, is_ablation
from bench.pages.drawing import COLOURS, DARK, draw_legend, svg, write_beside
from bench.pages.markdown import engine_label, where_label
from bench.results import EndpointRow, Provenance, Report, ResultFile, Row, StepRow, read_results
from bench.speech.waterfall import STAGES
from bench.step.variants import is_runtime
from engines.memory import MemoryByOwner

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    Draw = Callable[[Figure], str]

NARROW = 0.05  # of the longest bar: a shorter part has no room for its figure
TICKS = (50, 75, 90, 95, 99, 99.9)  # percent

ORDER = ("fp32", "fp16", "int8")


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


def page_plots(folder: Path, results: Sequence[ResultFile]) -> dict[Path, str]:
    """Path -> SVG, in `plots` of the results' folder; none of what was not measured.

    Raises:
        InputError: matplotlib is missing, or an inspection is broken.
    """
    return {folder / "plots" / f"{name}.svg": svg(draw) for name, draw in _drawn(folder, results).items()}


def _drawn(folder: Path, results: Sequence[ResultFile]) -> dict[str, "Draw"]:
    rows = [(row, result.provenance) for result in results for row in result.rows]
    texts = [
        (row, where) for row, where in rows if isinstance(row, EndpointRow) and row.waterfall and row.limit is None
    ]
    texts = [each for each in texts if not on_cpu(*each)] or texts
    # The ladder's last: it measures the runtime once more, beside NeMo.
    steps = sorted(
        ((row, where) for row, where in rows if isinstance(row, StepRow) and _is_drawn(row, where)),
        key=lambda each: each[0].rung is not None,
    )
    spoken = [
        each
        for result in results
        if is_ablation(result) and result.provenance.gpu
        for each in combinations(result)
        if each.steps is not None and each.speech is not None and each.speech.wer is not None
    ]
    held = [each for each in read_results(folder, Inspection).values() if each.plan is not None]
    plots: dict[str, tuple[Callable[..., str], Sequence[object]]] = {
        "waterfall": (_waterfall, texts),
        "wer": (_wer, spoken),
        "steps": (_steps, steps),
        "memory": (_memory, held),
    }
    return {name: partial(draw, shown=shown) for name, (draw, shown) in plots.items() if shown}


def _is_drawn(row: StepRow, provenance: Provenance) -> bool:
    """Whether it is of the runtime's own step on a GPU, back to back."""
    distributed = row.step_ms_percentiles is not None
    return distributed and row.pace == "fast" and is_runtime(row) and not on_cpu(row, provenance)


def _waterfall(figure: "Figure", shown: Sequence[tuple[EndpointRow, Provenance]]) -> str:
    names = [
        f"{row.data}, {row.lm or 'greedy'}\n{row.precision}, {engine_label(row, provenance)}"
        for row, provenance in shown
    ]
    draw_waterfalls(figure, names, [row.waterfall or {} for row, _ in shown])
    figure.set_size_inches(7, 1.9 + 0.6 * len(names))
    return f"Where the first text's time goes\n{_joined(model_label(row) for row, _ in shown)}{_measured(shown)}"


def draw_waterfalls(
    figure: "Figure", names: Sequence[str], waterfalls: Sequence[dict[str, dict[str, float]]], ink: str = DARK
) -> None:
    """Draw a bar for each waterfall (stage -> mean, p50, p95 in ms) of its stages' means, with a mark at the p95 of their sum."""
    parts = {stage.removesuffix("_ms"): [stages[stage]["mean"] for stages in waterfalls] for stage in STAGES}
    axes = _stacked(figure, names, parts)
    for place, stages in enumerate(waterfalls):
        high = stages["total_ms"]["p95"]
        axes.plot([high], [place], marker="|", markersize=16, color=ink)
        write_beside(axes, high, place, f"p95 {high:.0f}")
    axes.margins(x=0.12)
    axes.set_xlabel("ms from speech onset, mean of each stage")


def _wer(figure: "Figure", shown: Sequence[Combination]) -> str:
    ordered = sorted(shown, key=lambda each: each.bundle)
    return wer_against_step(figure, ordered, _joined(each.row.model for each in ordered))


def _steps(figure: "Figure", shown: Sequence[tuple[StepRow, Provenance]]) -> str:
    """A panel per model and look-ahead; a line per precision, dashed without a graph."""
    lines: dict[tuple[str, str, bool], StepRow] = {}
    for row, _ in shown:
        lines.setdefault((model_label(row), precision_label(row), row.cuda_graph is not False), row)
    in_order = sorted(lines.items(), key=lambda line: (line[1].model, line[1].lookahead_ms, line[1].decoder))
    panels = list(dict.fromkeys(key[0] for key, _ in in_order))
    precisions = sorted({precision for _, precision, _ in lines}, key=lambda each: (ORDER.index(each[:4]), each))
    beside = min(len(panels), 2)
    below = -(-len(panels) // beside)
    figure.set_size_inches(7, 1.6 + 2.6 * below)
    for place, panel in enumerate(panels, 1):
        axes = figure.add_subplot(below, beside, place)
        for (_, precision, graph), row in ((key, row) for key, row in lines.items() if key[0] == panel):
            percents, values = _distribution(row)
            axes.plot(
                [_tail(each) for each in percents],
                values,
                color=COLOURS[precisions.index(precision) % len(COLOURS)],
                linestyle="-" if graph else "--",
                marker=".",
                label=precision if graph else f"{precision}, no graph",
            )
        axes.set_xticks([_tail(each) for each in TICKS], [f"{each:g}" for each in TICKS])
        axes.set_ylim(bottom=0)
        axes.set_title(panel, fontsize=9)
        axes.set_xlabel("percent of steps")
        axes.set_ylabel("take at most ms" if place % beside == 1 or beside == 1 else "")
    draw_legend(figure)
    return f"Step time's distribution, back to back{_measured(shown)}"


def _distribution(row: StepRow) -> tuple[list[float], list[float]]:
    """Percents from the median on, below the slowest step, and their times in ms."""
    known = {float(percent): value for percent, value in (row.step_ms_percentiles or {}).items()}
    upper = [each for each in sorted(known) if 50 <= each < 100]
    return upper, [known[each] for each in upper]


def _tail(percent: float) -> float:
    """Where a percent lies on an axis that gives each tenth of the rest as much room as the nine before it."""
    return -float(np.log10(1 - percent / 100))


def _memory(figure: "Figure", shown: Sequence[Inspection]) -> str:
    plans = [(each, each.plan) for each in shown if each.plan is not None]
    owners = [field.name for field in fields(MemoryByOwner)]
    parts = {owner.replace("_", ", "): [getattr(plan.memory_mb, owner) for _, plan in plans] for owner in owners}
    figure.set_size_inches(7, 1.9 + 0.6 * len(plans))
    axes = _stacked(figure, [f"{each.bundle}\n{each.precision}" for each, _ in plans], parts)
    for place, (_, plan) in enumerate(plans):
        write_beside(axes, plan.memory_mb.total, place, f"{plan.memory_mb.total:.0f}")
    axes.margins(x=0.1)
    axes.set_xlabel("MB on the GPU, one stream")
    return f"GPU memory by owner\n{_joined(plan.gpu for _, plan in plans)}"


def _stacked(figure: "Figure", names: Sequence[str], parts: dict[str, list[float]]) -> "Axes":
    """A bar per name, from top to bottom, of parts one after the other."""
    axes = figure.add_subplot()
    left = np.zeros(len(names))
    longest = float(np.sum(list(parts.values()), axis=0).max())
    for place, (part, values) in enumerate(parts.items()):
        bars = axes.barh(names, values, left=left, height=0.6, color=COLOURS[place % len(COLOURS)], label=part)
        shown = [f"{value:.0f}" if value > NARROW * longest else "" for value in values]
        axes.bar_label(bars, shown, label_type="center", color="white", fontsize=9)
        left += values
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    draw_legend(figure)
    return axes


def _measured(shown: Sequence[tuple[Row, Provenance]]) -> str:
    check = ": times are no result" if any(on_cpu(*each) for each in shown) else ""
    return f"\n{_joined(where_label(*each) for each in shown)}{check}"


def _joined(names: object) -> str:
    return ", ".join(dict.fromkeys(names))  # type: ignore[call-overload]
