"""Where sets of speech lie: in this repository's data, or in a folder beside it that several share; the Makefile looks there too."""

from pathlib import Path

PLACES = (Path("data"), Path("../shared/data"))
SAMPLE = Path("data/sample")  # what is measured on where there is no evaluation set


def folders(name: str) -> list[Path]:
    """The folders of that name, as asr_eval, in PLACES that are there, the first to be taken first."""
    return [folder for place in PLACES if (folder := place / name).is_dir()]
