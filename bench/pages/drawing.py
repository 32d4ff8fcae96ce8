"""SVG of a plot, drawn by matplotlib: the same figures give the same bytes. And the parts that several plots have."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runtime.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLE = {
    "svg.hashsalt": "ablation",  # or ids in the file are random
    "svg.fonttype": "none",  # text stays text: a fifth of the bytes, and it can be searched
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "legend.frameon": False,
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
}
COLOURS = ("#5c6370", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f6000")
DARK = "#303030"
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


def svg(draw: Callable[["Figure"], str]) -> str:
    """What `draw` puts on an empty figure, below the title that it returns. Raises InputError where matplotlib is missing."""
    text = drawn(lambda figure: figure.suptitle(draw(figure), fontsize=10), STYLE)
    return "".join(f"{each.rstrip()}\n" for each in text.splitlines())


def drawn(draw: Callable[["Figure"], object], style: Mapping[str, object]) -> str:
    """The SVG of what `draw` puts on a figure of this style (matplotlib's keys). Raises InputError where matplotlib is missing."""
    try:
        import matplotlib as mpl  # heavy, and a machine that only measures may lack it
        from matplotlib.figure import Figure
    except ImportError as error:
        raise InputError("expected matplotlib for plots, found none; draw them where `make setup` was run") from error
    with mpl.rc_context():
        mpl.rcdefaults()  # whatever the user's own settings are
        mpl.rcParams.update(style)
        figure = Figure()
        draw(figure)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return text.getvalue()


@dataclass(frozen=True)
class Bar:
    """A bar to the median, with a whisker to a high percentile."""

    name: str
    p50: float
    high: float
    colour: str
    opacity: float = 1.0


def draw_bars(axes: "Axes", bars: Sequence[Bar], digits: int, ink: str = DARK) -> None:
    """Draw bars from top to bottom in ms, each with its two figures beside it."""
    for level, bar in enumerate(bars):
        axes.barh(level, bar.p50, color=bar.colour, alpha=bar.opacity, height=0.7)
        axes.errorbar([bar.p50], [level], xerr=[[0.0], [bar.high - bar.p50]], color=ink, capsize=3, linewidth=1)
        write_beside(axes, bar.high, level, f"{bar.p50:.{digits}f} / {bar.high:.{digits}f}")
    axes.set_yticks(range(len(bars)), [bar.name for bar in bars])
    axes.invert_yaxis()
    axes.grid(visible=False, axis="y")
    axes.margins(x=0.15, y=0.03)


def write_beside(axes: "Axes", x: float, y: float, text: str) -> None:
    """Write to the right of a point."""
    axes.annotate(text, (x, y), (5, 0), textcoords="offset points", va="center", fontsize=9)


def draw_legend(figure: "Figure", columns: int = 3) -> None:
    """Draw one legend for all panels, below them."""
    named = {
        label: handle for axes in figure.axes for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(named.values(), named, loc="outside lower center", ncols=columns, fontsize=9)
