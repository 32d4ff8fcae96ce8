"""SVG of a plot, drawn by matplotlib: the same figures give the same bytes."""

import io
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from runtime.errors import InputError

if TYPE_CHECKING:
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
