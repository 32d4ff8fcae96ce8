"""`python -m bench COMMAND`: measure, compare and publish; `run` where no command is named.

A command is a module with `Options`, a frozen dataclass whose fields are the command line, and `run(options, argv, console)`. Those that
measure return what they wrote, and it is printed here.
"""

from runtime.command import begin

if __name__ == "__main__":
    begin()

import io
import re
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr
from importlib import import_module
from typing import TYPE_CHECKING, Any

from runtime.errors import InputError, exit_code

if TYPE_CHECKING:
    from bench.session import Written

COMMANDS = {
    "run": ("bench.speech.recognise", "measure a bundle on speech (the default)"),
    "endpoint": ("bench.speech.endpoint", "utterances that end themselves in one stream"),
    "words": ("bench.speech.words", "times and confidence of words, against an alignment and the reference"),
    "streams": ("bench.speech.streams", "latency against the number of streams at once"),
    "bargein": ("bench.speech.bargein", "a user who interrupts the agent: time, misses, false alarms"),
    "hotwords": (
        "bench.speech.hotwords",
        "rare words as hotwords, among distractors: how many more are found, at what cost",
    ),
    "offline": ("bench.speech.offline", "NeMo's offline forward under the streaming mask"),
    "steps": ("bench.step.step_times", "time the step alone, beside its floor"),
    "batch": ("bench.step.batch", "the step over many streams alone, for each number of them, beside its floor"),
    "ladder": ("bench.step.ladder", "the step from NeMo's encoder to the runtime, on one GPU"),
    "project": ("bench.step.project", "the step's range on a GPU that is not at hand"),
    "int8": ("bench.step.int8_accuracy", "INT8 against FP32 on calibration speech, by layer and over a long stream"),
    "ablation": ("bench.ablation", "FP32, FP16 and INT8 in one run: error rates, times"),
    "suite": ("bench.suite.stages", "what RESULTS.md says of one GPU, in one file to send"),
    "show": ("bench.pages.show", "the figures of a result file, printed again"),
    "compare": ("bench.pages.compare", "two result files: what differs between them beyond noise"),
    "report": ("bench.pages.html", "one HTML page of a run: tables, plots, transcripts, partials"),
    "publish": ("bench.pages.publish", "put a run's result among the published ones, bench/results"),
    "results": ("bench.pages.results_page", "write RESULTS.md, the pages of bench/results and their plots"),
}
"""Name -> module and what it does."""


def parse_args(argv: Sequence[str]) -> tuple[str, Any]:
    """Return the command's name and its options. Exits with 0 after `--help`; raises InputError for bad arguments."""
    first = argv[0] if argv else ""
    if first in ("-h", "--help"):
        listed = "\n".join(f"  {name:10}{what}" for name, (_, what) in COMMANDS.items())
        print(
            f"usage: python -m bench [COMMAND] [OPTIONS]\n\n{listed}\n\npython -m bench COMMAND --help lists a command's options."
        )
        raise SystemExit(0)
    if first and first not in COMMANDS and not first.startswith("-"):
        raise InputError(
            f"expected a command out of {', '.join(COMMANDS)}, found {first!r}; see python -m bench --help"
        )
    import tyro

    name, rest = (first, argv[1:]) if first in COMMANDS else ("run", argv)
    module, what = COMMANDS[name]
    said = io.StringIO()
    try:
        with redirect_stderr(said):
            options = tyro.cli(
                import_module(module).Options,
                args=list(rest),
                prog=f"python -m bench {name}",
                description=what,
                config=(tyro.conf.FlagCreatePairsOff,),
            )
    except SystemExit as ended:
        if ended.code:  # tyro's message in a box of several lines
            raise InputError(_in_a_line(said.getvalue(), name)) from None
        raise
    return name, options


def _in_a_line(said: str, name: str) -> str:
    """What tyro says in a box of several lines."""
    line = " ".join(re.sub("[^ -~]+|-{5,}", " ", said).split())
    see = f"see python -m bench {name} --help"
    if unknown := re.search(r"Unrecognized options: ([^ ,]+)", line):
        return f"expected options of bench {name}, found {unknown[1]}; {see}"
    if missing := re.findall(r"(--[a-z-]+|[A-Z]+) [^()]*\(required\)", line.partition("Missing from")[2]):
        return f"expected {' and '.join(missing)}, found none; {see}"
    wrong = re.search(
        r"Error parsing (--[a-z-]+): .*'(.*)' Argument helptext: \S+ (?:\{None\}\|)?(\S+).* (see .*)", line
    )
    return line if wrong is None else f"expected {wrong[3]} for {wrong[1]}, found {wrong[2]!r}; {wrong[4]}"


def run(argv: Sequence[str]) -> None:
    """Do what was asked and print what came of it. Raises InputError for bad input, SystemExit(1) for a stale page or a missed bound."""
    from rich.console import Console

    name, options = parse_args(argv)
    console = Console(width=None if sys.stdout.isatty() else 120)  # a log is no terminal: it has room for the tables
    written: Written | None = import_module(COMMANDS[name][0]).run(options, argv, console)
    if written is not None:
        from bench.pages.terminal import print_written  # only what was measured is drawn

        print_written(written, console)


if __name__ == "__main__":
    sys.exit(exit_code(lambda: run(sys.argv[1:])))
