"""RESULTS.md's table, made from the result files, between two markers."""

from pathlib import Path

from bench.results import Provenance, ResultFile, Row, read_results
from bench.table import data_label, figures, memory_label
from runtime.errors import InputError
from runtime.files import written_whole

START = "<!-- results:start -->"
END = "<!-- results:end -->"
COLUMNS = (
    "Model",
    "Precision",
    "Engine",
    "GPU or CPU",
    "Data",
    "WER %",
    "RTF p50 / p95",
    "First partial ms p50 / p95",
    "Finalization ms p50 / p95",
    "Peak memory MB",
)
NOTE = "Rows measured on a CPU are functional checks: their error rates hold, their times and memory are no result."


def page_text(page: Path, results: Path) -> str:
    """What the page should hold: its text with the table of the folder's result files between the markers.

    Raises:
        InputError: a missing page, markers missing or out of order, a missing folder or a broken result file.
    """
    if not page.is_file():
        raise InputError(f"{page}: no such page; it needs the lines {START} and {END}")
    before, start, rest = page.read_text(encoding="utf-8").partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise InputError(f"{page}: expected the lines {START} and {END}, in this order; put them where the table goes")
    return f"{before}{START}\n{table(read_results(results))}\n{END}{after}"


def refresh(page: Path, results: Path, check: bool) -> None:
    """Write the page's table anew, or only check it.

    Raises:
        InputError: as `page_text` does.
        SystemExit: code 1, where `check` finds the page stale.
    """
    text = page_text(page, results)
    if page.read_text(encoding="utf-8") == text:
        print(f"{page} is up to date")
    elif check:
        raise SystemExit(f"{page} is stale: run `make results`")  # its text goes to stderr, with code 1
    else:
        with written_whole(page) as temporary:
            temporary.write_text(text, encoding="utf-8")
        print(f"wrote {page}")


def table(results: dict[str, ResultFile]) -> str:
    """The table in Markdown. Rows of a part of a data set (`--limit`) are a quick look and not in it."""
    lines = [" | ".join(COLUMNS), " | ".join("---" for _ in COLUMNS)]
    for result in results.values():
        lines += [" | ".join(_cells(row, result.provenance)) for row in result.rows if row.limit is None]
    return "\n".join(["\n".join(f"| {line} |" for line in lines), "", NOTE])


def _cells(row: Row, provenance: Provenance) -> tuple[str, ...]:
    weights = "" if row.weights == "trained" else ", random weights"
    return (
        f"{row.model}, {row.lookahead_ms} ms{weights}",
        row.precision,
        row.backend,
        provenance.cpu if row.functional_check or provenance.gpu is None else provenance.gpu,
        data_label(row),
        figures([row.wer], 2),
        figures([row.rtf_p50, row.rtf_p95], 4),
        figures([row.first_partial_ms_p50, row.first_partial_ms_p95], 0),
        figures([row.final_ms_p50, row.final_ms_p95], 1),
        memory_label(row),
    )
