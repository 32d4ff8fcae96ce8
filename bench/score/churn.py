"""How much of what was shown is taken back: words of a partial that the next one, or the final, does not have in their place."""

from collections.abc import Sequence
from itertools import pairwise

DEFINITION = (
    "words taken back over words of the finals: of a partial, those from the first that the next partial or the final has not in its "
    "place; a last word that goes on is not taken back"
)


def retracted(before: str, after: str) -> int:
    """Words of `before` that `after` takes back."""
    words, following = before.split(), after.split()
    pairs = enumerate(zip(words, following, strict=False))
    kept = next((place for place, (one, other) in pairs if one != other), min(len(words), len(following)))
    grows = kept == len(words) - 1 and kept < len(following) and following[kept].startswith(words[kept])
    return 0 if grows else len(words) - kept


def churn(utterances: Sequence[Sequence[str]]) -> float | None:
    """Words taken back per word of the finals, over utterances, each its texts in order with the final last; None without a final word."""
    finals = sum(len(texts[-1].split()) for texts in utterances)
    taken_back = sum(retracted(*pair) for texts in utterances for pair in pairwise(texts))
    return taken_back / finals if finals else None
