"""The plot of how often words are right against their confidence, with how many they are."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from bench.pages.drawing import ACCENT, INK, Plot
from bench.pages.tables import Labelled
from bench.results import ResultFile
from bench.rows import WordsRow
from bench.score.confidence import BINS

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANEL_IN = 3.0
"""Height of a panel, in inches."""
COLUMNS = 2


def reliability_rows(results: Iterable[ResultFile]) -> list[Labelled[WordsRow]]:
    """Return of each file the row of most words, if it says how sure they are."""
    found = []
    for result in results:
        sure = [row for row in result.rows_of(WordsRow) if row.reliability]
        if sure:
            found.append(Labelled(max(sure, key=lambda row: row.words or 0), result.provenance))
    return found


def reliability_plot(shown: Sequence[Labelled[WordsRow]]) -> Plot:
    """Return the plot: a panel for each row, above its words' share that is right, below their number, by bins of confidence."""
    lines = -(-len(shown) // COLUMNS)

    def draw(figure: "Figure") -> None:
        columns = min(COLUMNS, len(shown))
        axes = figure.subplots(2 * lines, columns, squeeze=False, sharex=True, height_ratios=[3, 1] * lines)
        for unused in axes[-2:, 1 + (len(shown) - 1) % columns :].flat:
            unused.set_visible(False)
        for place, measured in enumerate(shown):
            line, column = divmod(place, COLUMNS)
            above, below = axes[2 * line, column], axes[2 * line + 1, column]
            bins = measured.row.reliability or []
            above.plot([0, 1], [0, 1], color=INK, linewidth=0.8, linestyle=":")
            above.plot([each.confidence for each in bins], [each.right for each in bins], "o-", color=ACCENT)
            above.set(title=_title(measured), xlim=(0, 1), ylim=(0, 1.02), ylabel="share right")
            edges = [min(int(each.confidence * BINS), BINS - 1) / BINS for each in bins]
            below.bar(edges, [each.words for each in bins], width=0.9 / BINS, align="edge", color=ACCENT)
            below.set(ylabel="words", xlabel="confidence")

    note = "Bins of equal width; on the dotted line confidence is the share of words that are right."
    return Plot("reliability", "Confidence of words", note, draw, 0.4 + PANEL_IN * lines)


def _title(measured: Labelled[WordsRow]) -> str:
    decoding = measured.row.lm or ("greedy" if measured.row.decoder == "ctc" else "RNN-T")
    return f"{measured.row.lookahead_ms} ms, {measured.precision}, {decoding}\n{measured.row.data}"
