"""`python -m bench [run]`: measure a bundle; `offline`: NeMo's own reference; `results`: RESULTS.md; `report`: a page of a run."""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from rich.console import Console

from bench.ablation import AblationOptions, run_ablation
from bench.pages.compare import run_compare
from bench.pages.results_page import refresh
from bench.speech.bargein import BargeInOptions, run_bargein
from bench.speech.endpoint import EndpointOptions, run_endpoint
from bench.speech.feed import FRAME_MS
from bench.speech.offline import OfflineOptions, run_offline
from bench.speech.recognise import MODES, RunOptions, run_bench
from bench.speech.slo import KEYS
from bench.speech.streams import StreamsOptions, run_streams
from bench.step.ladder import LadderOptions, run_ladder
from bench.step.steps import StepOptions, run_steps
from runtime.errors import exit_code

EVAL = "default: data/asr_eval, else ../shared/data/asr_eval, else data/sample"


def parse_args(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line; without a command it is `run`."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    out = argparse.ArgumentParser(add_help=False)
    out.add_argument("--out", type=Path, default=Path("bench/results"), metavar="DIR", help="of the result files")
    data = argparse.ArgumentParser(add_help=False, parents=[out])
    data.add_argument("--eval", type=Path, metavar="DIR", help=f"data sets ({EVAL})")
    data.add_argument("--lang", default="en")
    data.add_argument("--limit", type=int, metavar="N", help="a quick look at the first N clips of each data set")
    data.add_argument("--name", help="of the result file (default: named after what is measured)")
    opened = argparse.ArgumentParser(add_help=False, parents=[data])
    opened.add_argument("--bundle", type=Path, required=True, metavar="DIR", help="made by `make export`")
    opened.add_argument("--backend", default="auto", help="auto, tensorrt, onnxruntime-cpu, onnxruntime-cuda")
    usual = "fp32, fp16 or int8 (default: fp16 in TensorRT, as `make engines` builds it, else the bundle's widest)"
    opened.add_argument("--precision", help=usual)
    opened.add_argument("--decoder", help="ctc or rnnt (default: the bundle's best)")
    opened.add_argument("--frame-ms", type=int, default=FRAME_MS, metavar="MS", help="20 to 40")
    lm = "KenLM file, or none for greedy decoding (default: the checkpoint's own, if any)"
    opened.add_argument("--lm", default="default", metavar="FILE|none", help=lm)
    fed = argparse.ArgumentParser(add_help=False, parents=[opened])
    fed.add_argument("--pace", choices=("auto", "realtime", "fast"), default="auto", help="auto: realtime on a GPU")
    run = commands.add_parser("run", parents=[fed], help="measure a bundle (the default)")
    run.add_argument("--mode", choices=tuple(MODES), default="both", help="clip by clip, as one stream, or both")
    slo = f"exit 1 where a figure is over its limit, as first_partial_p95=300,final_p95=150; keys: {', '.join(KEYS)}"
    run.add_argument("--slo", metavar="KEY=LIMIT,...", help=slo)
    endpoint = commands.add_parser("endpoint", parents=[fed], help="utterances that end themselves in one stream")
    endpoint.add_argument("--seed", type=int, default=EndpointOptions.seed, help="of the silences between clips")
    endpoint.add_argument("--min-silence-ms", type=int, default=EndpointOptions.min_silence_ms, metavar="MS")
    _add_streams(commands.add_parser("streams", parents=[opened], help="latency against the number of streams at once"))
    offline = commands.add_parser("offline", parents=[data], help="NeMo's offline forward under the streaming mask")
    offline.add_argument("--model", required=True, help=".nemo file or a published checkpoint's name")
    offline.add_argument("--lookahead", type=int, default=80, metavar="MS")
    _add_steps(commands.add_parser("steps", parents=[out], help="time the step alone, beside its floor"))
    _add_ladder(
        commands.add_parser("ladder", parents=[out], help="the step from NeMo's encoder to the runtime, on one GPU")
    )
    _add_ablation(
        commands.add_parser("ablation", parents=[data], help="FP32, FP16 and INT8 in one run: error rates, times")
    )
    about = "a user who interrupts the agent: time, misses, false alarms"
    _add_bargein(commands.add_parser("bargein", parents=[out], help=about))
    _add_project(commands.add_parser("project", parents=[out], help="the step's range on a GPU that is not at hand"))
    comparison = commands.add_parser("compare", help="two result files: what differs between them beyond noise")
    comparison.add_argument("first", type=Path, metavar="A.json")
    comparison.add_argument("second", type=Path, metavar="B.json")
    _add_report(
        commands.add_parser("report", help="write one HTML page of a run: tables, plots, transcripts, partials")
    )
    results = commands.add_parser("results", parents=[out], help="write RESULTS.md's tables and plots")
    results.add_argument("--page", type=Path, default=Path("RESULTS.md"))
    results.add_argument("--check", action="store_true", help="write nothing; exit 1 where the table is stale")
    named = bool(argv) and argv[0] in (*commands.choices, "-h", "--help")
    return parser.parse_args(argv if named else ["run", *argv])


def _add_streams(streams: argparse.ArgumentParser) -> None:
    numbers = f"ascending; ends with the first that misses the bound (default: {StreamsOptions.streams})"
    streams.add_argument("--streams", default=StreamsOptions.streams, metavar="N,N,...", help=numbers)
    seconds = "of audio in each stream, which is how long a number takes"
    streams.add_argument("--seconds", type=float, default=StreamsOptions.seconds, metavar="S", help=seconds)
    bound = "bound on the 95th percentile of chunks and of finals"
    streams.add_argument("--slo-ms", type=float, default=StreamsOptions.slo_ms, metavar="MS", help=bound)


def _add_steps(steps: argparse.ArgumentParser) -> None:
    steps.add_argument("--bundle", type=Path, required=True, metavar="DIR", help="made by `make export`")
    steps.add_argument("--backend", default="tensorrt")
    steps.add_argument("--precision", default="fp16")
    steps.add_argument("--decoder", help="rnnt: its evaluations are in the step (default: ctc, or what there is)")
    steps.add_argument("--steps", type=int, default=1000, metavar="N", help="back to back; a fifth of them paced")
    steps.add_argument("--name", help="of the result file (default: named after what is measured)")


def _add_report(report: argparse.ArgumentParser) -> None:
    newest = "file (default: the newest with transcripts)"
    report.add_argument("result", type=Path, nargs="?", metavar="RESULT", help=newest)
    report.add_argument("--out", type=Path, metavar="FILE", help="(default: build/reports/NAME.html)")


def _add_ladder(ladder: argparse.ArgumentParser) -> None:
    ladder.add_argument("--bundle", type=Path, required=True, metavar="DIR", help="made by `make export`")
    ladder.add_argument("--steps", type=int, default=1000, metavar="N", help="back to back; a fifth of them paced")
    peers = "with torch, NeMo's encoder and onnxruntime-gpu (default: this one)"
    variables = "may hold variables, as in `env -u PYTHONHOME python3`"
    ladder.add_argument("--peer-python", metavar="PATH", help=f"command of an interpreter {peers}; {variables}")
    config = "of NeMo's encoder, made by `python -m bench.step.encoder_config` (default: read with NeMo)"
    ladder.add_argument("--encoder-config", type=Path, metavar="FILE", help=f"JSON {config}")
    ladder.add_argument("--name", help="of the result file (default: named after what is measured)")


def _add_project(project: argparse.ArgumentParser) -> None:
    project.add_argument("--gpu", required=True, help="t4")
    project.add_argument("--bundle", type=Path, required=True, metavar="DIR", help="made by `make export`")
    project.add_argument("--precision", default="fp16")
    files = "of `bench steps` for this bundle on another GPU, with a graph and, if there, without"
    project.add_argument("--measured", type=Path, nargs="+", required=True, metavar="FILE", help=files)


def _add_ablation(ablation: argparse.ArgumentParser) -> None:
    folders = "made by `make export`, and by `make calibrate` for INT8"
    ablation.add_argument("--bundle", type=Path, nargs="+", required=True, metavar="DIR", help=folders)
    methods = "of INT8's thresholds, as entropy,mse (the default)"
    ablation.add_argument("--methods", type=_comma_separated, default=AblationOptions.methods, help=methods)
    ablation.add_argument("--backend", choices=("auto", "tensorrt", "onnxruntime-cpu"), default="auto")
    ablation.add_argument("--steps", type=int, default=1000, metavar="N", help="back to back")
    ablation.add_argument(
        "--no-cublas", action="store_true", help="build plans as `python -m engines --no-cublas` does"
    )


def _add_bargein(bargein: argparse.ArgumentParser) -> None:
    bargein.add_argument("--bundle", type=Path, required=True, metavar="DIR", help="made by `make export`")
    speakers = "data sets: the first one's clips are users, the last one's the agent"
    bargein.add_argument("--eval", type=Path, metavar="DIR", help=f"{speakers} ({EVAL})")
    bargein.add_argument("--lang", default="en")
    bargein.add_argument("--backend", default="auto", help="auto, tensorrt, onnxruntime-cpu, onnxruntime-cuda")
    bargein.add_argument("--each", type=int, default=BargeInOptions.each, metavar="N", help="scenes of a kind")
    bargein.add_argument("--seed", type=int, default=0)
    bargein.add_argument("--confirming-token", action="store_true", help="recognition must have found a token, too")
    bargein.add_argument("--name", help="of the result file (default: named after what is measured)")


def _comma_separated(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def run(args: argparse.Namespace, argv: Sequence[str]) -> None:
    """Do what was asked. Raises InputError for bad input, SystemExit(1) for a stale page or a missed bound."""
    console = Console(width=None if sys.stdout.isatty() else 120)  # a log is no terminal: it has room for the tables
    given = vars(args)
    if args.command == "run":
        run_bench(RunOptions(**{each.name: given[each.name] for each in fields(RunOptions)}), argv, console)
    elif args.command == "offline":
        run_offline(OfflineOptions(**{each.name: given[each.name] for each in fields(OfflineOptions)}), argv, console)
    elif args.command == "endpoint":
        run_endpoint(
            EndpointOptions(**{each.name: given[each.name] for each in fields(EndpointOptions)}), argv, console
        )
    elif args.command == "streams":
        run_streams(StreamsOptions(**{each.name: given[each.name] for each in fields(StreamsOptions)}), argv, console)
    elif args.command == "steps":
        run_steps(StepOptions(**{each.name: given[each.name] for each in fields(StepOptions)}), argv, console)
    elif args.command == "ladder":
        run_ladder(LadderOptions(**{each.name: given[each.name] for each in fields(LadderOptions)}), argv, console)
    elif args.command == "project":
        from bench.step.project import ProjectOptions, run_project  # onnx takes time that other commands measure

        run_project(ProjectOptions(**{each.name: given[each.name] for each in fields(ProjectOptions)}), argv, console)
    elif args.command == "ablation":
        run_ablation(
            AblationOptions(**{each.name: given[each.name] for each in fields(AblationOptions)}), argv, console
        )
    elif args.command == "bargein":
        run_bargein(BargeInOptions(**{each.name: given[each.name] for each in fields(BargeInOptions)}), argv, console)
    elif args.command == "compare":
        run_compare(args.first, args.second, console)
    elif args.command == "report":
        from bench.pages.html import run_report  # Jinja2 is not where one only measures

        run_report(args.result, args.out)
    else:
        refresh(args.page, args.out, args.check)


if __name__ == "__main__":
    sys.exit(exit_code(lambda: run(parse_args(sys.argv[1:]), sys.argv[1:])))
