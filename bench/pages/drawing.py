"""A plot as SVG, for a file or within an HTML page: the same figures give the same bytes. And the parts that several plots have."""

import io
import logging
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from runtime.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLOURS = ("#5c6370", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f6000")
VARIABLES = {
    "#1b2028": "--ink",
    "#dfe3e8": "--line",
    "#3f66b5": "--accent",
    "#8f5400": "--substitution",
    "#b3261e": "--deletion",
    "#00695c": "--insertion",
}
"""Colour of a file -> its name in the style of an HTML page, where a reader may have chosen a dark one."""
INK, LINE, ACCENT, *ERRORS = VARIABLES
STYLE = {
    "svg.hashsalt": "plot",  # or ids in the file are random
    "svg.fonttype": "none",  # text stays text: a fifth of the bytes, and it can be searched
    "axes.titlesize": "small",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.edgecolor": LINE,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "ytick.left": False,
    "errorbar.capsize": 3,
    "grid.color": LINE,
    "legend.frameon": False,
    "figure.facecolor": "white",
    "figure.titlesize": "medium",
    "figure.constrained_layout.use": True,
    "text.parse_math": False,  # a data set's name may hold a dollar
}
WIDTH_IN = 7.0
"""Half as wide as an HTML page, in inches."""
HALF_IN = 3.2
"""Half as wide as the text of an A4 page, in inches."""
LINE_IN = 0.2
"""Height of a line of the title, in inches."""


@dataclass(frozen=True)
class Plot:
    """What is drawn, and what is said of it."""

    name: str
    """Of its file."""
    title: str
    note: str
    """What its marks mean and what was measured, in lines."""
    draw: Callable[["Figure"], object]
    """Draws on an empty figure."""
    height_in: float
    """Without the title, in inches."""
    width_in: float = WIDTH_IN
    font_size: float = 10
    """In points."""

    def half(self) -> "Plot":
        """Return it for half of an A4 page, as large as it is read there, without its note."""
        font_size, height_in = 0.85 * self.font_size, 0.85 * self.height_in
        return replace(self, note="", font_size=font_size, height_in=height_in, width_in=HALF_IN)

    def svg(self) -> str:
        """Return the text of its file, with title and note above. Raises InputError where matplotlib is missing."""
        return re.sub(r"[ \t]+$", "", self._drawn(f"{self.title}\n{self.note}".strip()), flags=re.MULTILINE)

    def inline(self) -> str:
        """Return an element of an HTML page: as wide as its place there, its ids in no other plot, its colours the page's."""
        drawing = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", self._drawn(), flags=re.DOTALL)
        opening = rf'<svg role="img" aria-label="{self.title}" \1>'
        drawing = re.sub(r'.*?<svg[^>]*(viewBox="[^"]*")[^>]*>', opening, drawing, count=1, flags=re.DOTALL)
        drawing = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{self.name}-", drawing)
        for colour, variable in VARIABLES.items():
            drawing = drawing.replace(colour, f"var({variable})")
        return drawing

    def _drawn(self, above: str = "") -> str:
        try:
            logging.getLogger("matplotlib").setLevel(logging.ERROR)  # without a home it says where its fonts are kept
            import matplotlib as mpl  # heavy, and a machine that only measures may lack it
            from matplotlib.figure import Figure
        except ImportError as error:
            raise InputError(
                "expected matplotlib for plots, found none; draw them where `make setup` was run"
            ) from error
        with mpl.rc_context():
            mpl.rcdefaults()  # whatever the user's own settings are
            mpl.rcParams.update(STYLE | {"font.size": self.font_size, "savefig.transparent": not above})
            figure = Figure((self.width_in, self.height_in + LINE_IN * len(above.splitlines())))
            self.draw(figure)
            if above:
                figure.suptitle(above)
            text = io.StringIO()
            figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
        return text.getvalue()


@dataclass(frozen=True)
class Bar:
    """A bar to the median in ms, with a whisker to a high percentile."""

    name: str
    p50: float
    high: float
    colour: str = ACCENT
    opacity: float = 1.0


def bar_plot(name: str, title: str, note: str, bars: Sequence[Bar], *, digits: int) -> Plot:
    """Return a plot of bars from top to bottom, each with its two figures beside it."""

    def draw(figure: "Figure") -> None:
        axes = figure.add_subplot()
        for level, bar in enumerate(bars):
            axes.barh(level, bar.p50, color=bar.colour, alpha=bar.opacity, height=0.7)
            axes.errorbar([bar.p50], [level], xerr=[[0.0], [bar.high - bar.p50]], color=INK, linewidth=1)
            write_beside(axes, bar.high, level, f"{bar.p50:.{digits}f} / {bar.high:.{digits}f}")
        axes.set_yticks(range(len(bars)), [bar.name for bar in bars])
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.margins(x=0.25, y=0.03)
        axes.set_xlabel("ms")

    lines = max(bar.name.count("\n") + 1 for bar in bars)
    return Plot(name, title, note, draw, 0.6 + (0.15 + LINE_IN * lines) * len(bars))


def write_beside(axes: "Axes", x: float, y: float, text: str) -> None:
    """Write to the right of a point."""
    axes.annotate(text, (x, y), (5, 0), textcoords="offset points", va="center")


def draw_legend(figure: "Figure", columns: int = 3) -> None:
    """Draw one legend for all panels, below them."""
    named = {
        label: handle for axes in figure.axes for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    figure.legend(named.values(), named, loc="outside lower center", ncols=columns)
