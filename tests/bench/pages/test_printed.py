"""The documents as a reader has them: on so many A4 pages, in so many words, with tables that fit and plots that can be read."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from markdown_it import MarkdownIt
from playwright.sync_api import Page, PdfMargins

DOCUMENTS = [("RESULTS.md", 1, 700), ("DESIGN.md", 3, 1500), ("README.md", 3, 950), ("CONTRIBUTING.md", 1, 500)]
"""Document, A4 pages, words at most."""
PAGES = [str(page) for folder in (".", "docs", "bench", "bench/results") for page in sorted(Path(folder).glob("*.md"))]
WIDTH = 960
"""Of a page on GitHub, in pixels."""
FONT_PT = 8
"""The smallest that is read on paper, in points."""
STYLE = """
body { margin: 0; font-family: Arial, "Liberation Sans", "DejaVu Sans Condensed", sans-serif; }
table { border-collapse: collapse; }
th, td { border: 1px solid #d0d7de; padding: 6px 13px; }
.short { white-space: nowrap; }
img { max-width: 100%; vertical-align: top; }
@media screen {
  body { font-size: 16px; line-height: 1.5; }
  table { display: block; width: max-content; max-width: 100%; overflow: auto; }
}
@media print {
  body { font-size: 11pt; line-height: 1.15; }
  h1 { margin: 0 0 4pt; font-size: 15pt; }
  p, ul, ol, table { margin: 0 0 5pt; }
  ul, ol { padding-left: 14pt; }
  table { font-size: 10pt; }
  th, td { padding: 1pt 3pt; }
}
"""
SHORT = r"<td>(?=[^<]{,24}</td>)"
"""A cell that stays on one line: of figures or of a name, not of prose."""
MARGINS = PdfMargins(top="20mm", right="20mm", bottom="20mm", left="20mm")

Opens = Callable[[str, Path], Page]


@pytest.fixture
def opens(tab: Page, tmp_path: Path) -> Opens:
    """Draws a Markdown text as GitHub does, with the pictures of a folder."""
    tab.set_viewport_size({"width": WIDTH, "height": 800})
    file = tmp_path / "page.html"

    def opened(text: str, folder: Path) -> Page:
        drawn = re.sub(SHORT, '<td class="short">', MarkdownIt("commonmark").enable("table").render(text))
        head = f'<!doctype html><meta charset="utf-8"><base href="{folder.resolve().as_uri()}/"><style>{STYLE}</style>'
        file.write_text(head + drawn, encoding="utf-8")
        tab.goto(file.as_uri())
        return tab

    return opened


def sheets(page: Page) -> int:
    """How many A4 pages it is printed on."""
    return len(re.findall(rb"/Type\s*/Page\b", page.pdf(format="A4", margin=MARGINS)))


def words(text: str) -> int:
    """How many there are; the lines of a table are none."""
    return sum(any(character.isalnum() for character in word) for word in text.split())


def too_wide(page: Page) -> list[str]:
    """The tables that would scroll: what they begin with."""
    wide = (
        "tables => tables.filter(each => each.scrollWidth > each.clientWidth).map(each => each.innerText.slice(0, 80))"
    )
    found: list[str] = page.locator("table").evaluate_all(wide)
    return found


@pytest.mark.parametrize(("document", "pages", "most"), DOCUMENTS)
def test_a_document_is_as_short_as_promised(document: str, pages: int, most: int, opens: Opens) -> None:
    text = Path(document).read_text(encoding="utf-8")
    assert words(text) <= most
    assert sheets(opens(text, Path(document).parent)) <= pages


@pytest.mark.parametrize("document", PAGES)
def test_tables_do_not_scroll(document: str, opens: Opens) -> None:
    assert too_wide(opens(Path(document).read_text(encoding="utf-8"), Path(document).parent)) == []


def test_plots_can_be_read_at_half_the_width_of_paper(opens: Opens) -> None:
    page = opens(Path("RESULTS.md").read_text(encoding="utf-8"), Path())
    page.emulate_media(media="print")
    page.set_viewport_size({"width": round(170 / 25.4 * 96), "height": 800})
    images = page.locator("img").all()
    assert len(images) == 2
    for image in images:
        drawing = Path(str(image.get_attribute("src"))).read_text(encoding="utf-8")
        shrunk = image.evaluate("each => each.width / each.naturalWidth")
        sizes = [shrunk * float(size) for size in re.findall(r"font(?:-size)?: ([\d.]+)px", drawing)]
        assert len(sizes) > 10
        assert min(sizes) >= FONT_PT


LINES = {57: 1, 58: 2, 171: 3, 172: 4}
"""Lines of 11 pt -> A4 pages that they take."""


@pytest.mark.parametrize(("lines", "pages"), LINES.items())
def test_pages_are_counted(lines: int, pages: int, opens: Opens) -> None:
    assert sheets(opens("\\\n".join(["line"] * lines), Path())) == pages


@pytest.mark.parametrize(("cell", "fits"), [("word " * 40, True), ("word" * 10, True), ("word" * 40, False)])
def test_a_wide_table_is_noticed(cell: str, fits: bool, opens: Opens) -> None:
    page = opens(f"| {'title ' * 40} | b |\n| --- | --- |\n| {cell} | 2 |\n", Path())
    assert (too_wide(page) == []) == fits


def test_words_are_counted() -> None:
    assert words("Two words.\n\n| a | 1.0 / 2.0 |\n| --- | --- |\n") == 5
