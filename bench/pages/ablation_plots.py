"""The ablation's plots, from its result file alone: the same file gives the same bytes."""

from collections.abc import Sequence
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

from bench.figures import graph_label
from bench.pages.combinations import Combination, combinations
from bench.pages.drawing import COLOURS, MARKERS, Bar, draw_bars, draw_legend, svg
from bench.results import ResultFile, SpeechRow, StepRow
from runtime.files import written_whole

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FADED = 0.45  # opacity of what runs without a graph
WER_SPAN = 1.0  # points that the axis shows at least: a difference of one word is no slope


def write_plots(path: Path, result: ResultFile) -> list[Path]:
    """Write an ablation's plots beside its result file at `path`; return their paths. Raises InputError where matplotlib is missing."""
    made = plots(path, result)
    for plot, text in made.items():
        with written_whole(plot) as partial:
            partial.write_text(text, encoding="utf-8")
    return list(made)


def plots(path: Path, result: ResultFile) -> dict[Path, str]:
    """Path -> SVG of the plots of the result file at `path`. Raises InputError where matplotlib is missing."""
    drawn = {}
    for name, shown in _shown(result).items():
        draw = {"wer": wer_against_step, "steps": _step_by_precision}[name]
        drawn[_path(path, name)] = svg(partial(draw, shown=shown, subtitle=_subtitle(result)))
    return drawn


def plot_paths(path: Path, result: ResultFile) -> list[Path]:
    """Where the plots of the result file at `path` are, drawn or not."""
    return [_path(path, name) for name in _shown(result)]


def _path(path: Path, name: str) -> Path:
    return path.with_name(f"{path.stem}-{name}.svg")


def _shown(result: ResultFile) -> dict[str, list[Combination]]:
    """Name -> combinations: WER against step time where there is a WER, and step time by precision; no plot of other files."""
    stepped = [each for each in combinations(result) if each.steps is not None]
    spoken = [each for each in stepped if each.speech is not None and each.speech.wer is not None]
    return {name: shown for name, shown in (("wer", spoken), ("steps", stepped)) if shown}


def wer_against_step(figure: "Figure", shown: list[Combination], subtitle: str) -> str:
    """A panel per bundle: they differ by more than their precisions do. Returns the title."""
    names, precisions = _bundles(shown), _precisions(shown)
    groups = [list(group) for _, group in groupby(shown, lambda each: each.bundle)]
    figure.set_size_inches(max(7.0, 4.5 * len(groups)), 4.6)
    for place, group in enumerate(groups, 1):
        axes = figure.add_subplot(1, len(groups), place)
        for each in group:
            if each.speech is not None and each.steps is not None:
                _point(axes, each.speech, each.steps, precisions.index(each.precision), each.precision)
        _, right = axes.get_xlim()
        low, high = axes.get_ylim()
        margin = max(0.0, WER_SPAN - (high - low)) / 2
        axes.set(xlim=(0, 1.05 * right), ylim=(low - margin, high + margin), title=names[group[0].bundle])
        axes.set_xlabel("step p50, ms")
        axes.set_ylabel("WER, %" if place == 1 else "")
    draw_legend(figure, 3 if len(groups) == 1 else 4)
    return f"WER against step time; bars: 95 % interval of the difference from FP32\n{subtitle}"


def _point(axes: "Axes", speech: SpeechRow, steps: StepRow, place: int, name: str) -> None:
    change, low, high = speech.wer_change, speech.wer_change_low, speech.wer_change_high
    bars = None if change is None or low is None or high is None else [[change - low], [high - change]]
    axes.errorbar(
        [steps.step_ms_p50 or 0.0],
        [speech.wer or 0.0],
        yerr=bars,
        fmt=MARKERS[place % len(MARKERS)],
        color=COLOURS[place % len(COLOURS)],
        markersize=9,
        markerfacecolor="none",  # one that lies on another leaves it visible
        markeredgewidth=2,
        capsize=4,
        label=name,
    )


def _step_by_precision(figure: "Figure", shown: list[Combination], subtitle: str) -> str:
    """A bar to p50 with a whisker to p99 for each combination, with its graph and without, from top to bottom."""
    bundles, precisions = _bundles(shown), _precisions(shown)
    bars = [
        Bar(
            f"{bundles[each.bundle]}, {each.precision}{graph_label(row)}",
            row.step_ms_p50 or 0.0,
            row.step_ms_p99 or 0.0,
            COLOURS[precisions.index(each.precision) % len(COLOURS)],
            FADED if row.cuda_graph is False else 1.0,
        )
        for each in shown
        for row in (each.graph, each.plain)
        if row is not None
    ]
    figure.set_size_inches(9, 1.6 + 0.36 * len(bars))
    axes = figure.add_subplot()
    draw_bars(axes, bars, 2)
    axes.set_xlabel("step, ms: bar to p50, whisker to p99")
    return f"Step time by precision\n{subtitle}"


def _bundles(shown: Sequence[Combination]) -> dict[tuple[str, int], str]:
    """Bundle -> how it is called: by its look-ahead, and its model where there are several."""
    several = len({each.row.model for each in shown}) > 1
    return {
        each.bundle: f"{f'{each.row.model}, ' if several else ''}look-ahead {each.row.lookahead_ms} ms"
        for each in shown
    }


def _precisions(shown: Sequence[Combination]) -> list[str]:
    return list(dict.fromkeys(each.precision for each in shown))


def _subtitle(result: ResultFile) -> str:
    models = ", ".join(dict.fromkeys(row.model for row in result.rows))
    engine = f"TensorRT {result.provenance.tensorrt}" if result.provenance.gpu else result.rows[0].backend
    where = result.provenance.gpu or f"{result.provenance.cpu}: times are no result"
    return f"{models}\n{engine}, {where}"
