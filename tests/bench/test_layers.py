"""Who may import whom: the bench's layers, whose arrows only go down, and no circle between the folders."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

FOLDERS = ("export", "calibration", "engines", "runtime", "data", "serving", "bench")
LEVELS = {
    "__main__": 5,
    "pages": 4,
    "ablation": 4,
    "suite": 4,
    "speech": 3,
    "step": 3,
    "results": 1,
    "rows": 1,
    "partials": 1,
    "score": 0,
}
"""Of the bench's parts: each imports itself and what is below. The others are at level 2; from there down a level is one part."""


def imported(path: Path) -> Iterator[tuple[str, ...]]:
    """The names of each module that a file imports, such as ("runtime", "errors"); a relative import is of the file's own folder."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield from ((*str(node.module).split("."), alias.name) for alias in node.names)


IMPORTS = [(path, names) for folder in FOLDERS for path in Path(folder).rglob("*.py") for names in imported(path)]


def test_arrows_within_the_bench_go_down() -> None:
    wrong = []
    for path, names in IMPORTS:
        if path.parts[0] == names[0] == "bench" and len(names) > 1:
            importer, part = path.with_suffix("").parts[1], names[1]
            above, below = LEVELS.get(importer, 2), LEVELS.get(part, 2)
            if importer != part and (below > above or below == above > 2):
                wrong.append(f"{path}: {'.'.join(names)}")
    assert not wrong


def test_no_circle_between_folders() -> None:
    graph: dict[str, set[str]] = defaultdict(set)
    for path, names in IMPORTS:
        ends = [".".join(parts[: 1 + (parts[:2] == ("bench", "score"))]) for parts in (path.parts, names)]
        if ends[1].partition(".")[0] in FOLDERS and ends[0] != ends[1]:
            graph[ends[0]].add(ends[1])
    print({folder: sorted(others) for folder, others in graph.items()})
    assert not graph["runtime"]
    assert "calibration" not in graph["engines"]
    assert graph["bench.score"] <= {"runtime"}
    list(TopologicalSorter(graph).static_order())  # raises CycleError
