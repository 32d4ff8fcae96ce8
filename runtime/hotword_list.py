"""A list of hotwords: a text file with a phrase on each line, after which a tab and its weight may follow."""

from pathlib import Path

from .decoders.hotwords import WEIGHT, usual_weight
from .errors import InputError

MAX_BYTES = 1 << 20
"""A thousand phrases need a fiftieth of it; what is larger is no list of hotwords."""


def read_hotwords(path: Path) -> dict[str, float]:
    """Return each phrase of a list in UTF-8 and its weight, the usual one where the line has none; blank lines are skipped.

    Raises InputError for a file that is missing, too large or not in UTF-8, for a weight that is no number, and for a phrase twice.
    """
    name = repr(str(path))
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"expected a list of hotwords, found {name}: {error.strerror}; give a file") from error
    except UnicodeDecodeError as error:
        raise InputError(f"expected a list of hotwords in UTF-8, found {name} in no such text; convert it") from error
    if len(content) > MAX_BYTES:
        raise InputError(f"expected at most {MAX_BYTES >> 20} MB of hotwords, found more in {name}; cut it")
    weights: dict[str, float] = {}
    for number, line in enumerate(text.split("\n"), 1):
        phrase, _, weight = (part.strip() for part in line.partition("\t"))
        if not line.strip():
            continue
        if phrase in weights:
            raise InputError(f"{name}:{number}: expected a hotword once, found {phrase!r} again; leave one out")
        try:
            weights[phrase] = float(weight) if "\t" in line else usual_weight(phrase)
        except ValueError:
            raise InputError(
                f"{name}:{number}: expected a number after the tab, the weight of {phrase!r}, found {weight!r}; {WEIGHT:g} is usual"
            ) from None
    return weights
