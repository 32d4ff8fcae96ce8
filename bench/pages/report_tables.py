"""Each kind of report with its tables; here those of barge-in, of INT8's accuracy and of projections."""

from collections.abc import Callable, Iterable
from itertools import chain
from operator import attrgetter
from typing import Any

from bench.figures import Column, shown
from bench.pages.result_tables import result_tables
from bench.pages.tables import Table, table
from bench.results import Pack, Report, ResultFile
from bench.speech.bargein import BargeInFile
from bench.step.batch import BatchReport
from bench.step.int8_accuracy import Accuracy, AccuracyReport
from bench.step.projection import LABEL, AnyProjection, Projection, StepRange, StreamsProjection

DETECT = Column("Detect ms\np50 / p95", lambda row: shown([row.detect_ms_p50, row.detect_ms_p95], 0))
MISSED = Column("Missed", lambda row: f"{row.missed} of {row.interruptions}")
BARGEIN = (
    Column("Scenes", lambda row: row.scenes),
    DETECT,
    MISSED,
    Column("First word found\n/ without agent", lambda row: f"{row.first_words} / {row.first_words_alone}"),
    Column("Words lost", lambda row: f"{row.words_lost} of {row.words}"),
    Column("Alarms of echo", lambda row: _alarms(row.echo_alarms, row.echo_hours)),
    Column("Of noise", lambda row: _alarms(row.burst_alarms, row.burst_hours)),
    Column("Stale", lambda row: str(row.stale)),
    Column("Leaks", lambda row: str(row.leaks)),
)
GROUPS = ["", "constants\nMB", "in, out\nMB", "unfused\nMB", "multiply-adds\nM", "low - high\nms, RTF", "times are"]


def bargein_tables(result: BargeInFile) -> list[Table]:
    """Return the rows: all scenes together, then by the user's start, the echo and the user's level."""
    token = ", a confirming token" if result.rules["confirming_token"] else ""
    title = f"{result.model}, {result.lookahead_ms} ms, {result.precision} on {result.backend}{token}"
    return [table(title, BARGEIN, result.rows)]


def _alarms(alarms: int, hours: float) -> str:
    return f"{alarms} in {hours:.1f} h" if hours else "-"


def accuracy_tables(report: AccuracyReport) -> list[Table]:
    """Return cosines by layer with the error of what comes out, a column per method, and one stream's drift through each method's step."""
    layers = f"Cosine of INT8's frames with FP32's, mean, and error of the log-probabilities, over {report.minutes:.1f} minutes"
    settings = report.rows
    rows = [[layer, *(f"{setting.layers[layer].mean:.4f}" for setting in settings)] for layer in settings[0].layers]
    rows += [
        ["encoded", *(f"{setting.encoded.mean:.4f}" for setting in settings)],
        ["encoded, least", *(f"{setting.encoded.least:.4f}" for setting in settings)],
        ["rms error", *(f"{setting.log_probs.rms:.3f}" for setting in settings)],
        ["frames changed", *(f"{setting.log_probs.changed:.2%}" for setting in settings)],
    ]
    drift = "One stream: frames since the mark before, relative error of the state"
    columns = (
        Column("steps", lambda at: f"{at[0]:,}"),
        Column("method", lambda at: _method(at[1])),
        Column("cosine, encoded", lambda at: f"{at[2].encoded.mean:.4f}"),
        Column("rms / changed", lambda at: f"{at[2].log_probs.rms:.3f} / {at[2].log_probs.changed:.2%}"),
        Column("kv_cache", lambda at: f"{at[2].kv_cache:.3f}"),
        Column("time_cache", lambda at: f"{at[2].time_cache:.3f}"),
    )
    drifts = [(steps, setting, setting.drift[steps]) for steps in settings[0].drift for setting in settings]
    return [Table(layers, ["frames", *map(_method, settings)], rows), table(drift, columns, drifts)]


def _method(setting: Accuracy) -> str:
    return f"{setting.method}, {len(setting.kept)} in FP16" if setting.kept else setting.method


def projection_tables(projection: Projection) -> list[Table]:
    """Return the table of a projection's groups, kernels and step, each with its range."""
    rows = []
    for group in projection.groups:
        counted = (f"{size / 1e6:.2f}" for size in (group.constant_bytes, group.io_bytes, group.node_bytes))
        products = "\n".join(f"{number / 1e6:.1f} {kind}" for kind, number in group.multiply_adds.items())
        rows.append([group.name, *counted, products, f"{group.ms_low:.3f} - {group.ms_high:.3f}", LABEL])
    for step in projection.steps:
        graph = "graph" if step.cuda_graph else "no graph"
        spans = {
            f"{projection.source.kernels} kernels, {graph}": f"0.000 - {step.kernels_ms_high:.3f}",
            f"step, {graph}": _ms(step),
            f"RTF, {graph}": _rtf(step),
        }
        rows += [[what, "", "", "", "", span, LABEL] for what, span in spans.items()]
    model = f"{projection.model}, look-ahead {projection.lookahead_ms} ms, {projection.precision}"
    return [Table(f"{projection.gpu}: {LABEL}\n{model}", GROUPS, rows)]


SERVED = (
    Column("Streams in a batch", lambda batch: str(batch.streams)),
    Column("Step ms, measured there", lambda batch: shown([batch.measured_ms_p50], 2)),
    Column("Step ms, low - high (projection)", lambda batch: f"{batch.ms_low:.2f} - {batch.ms_high:.2f}"),
    Column("Streams in real time (projection)", lambda batch: f"{batch.served_low:,} - {batch.served_high:,}"),
)
"""Of a projection of streams."""


def streams_projection_tables(projection: StreamsProjection) -> list[Table]:
    """Return a row for each batch: its time and the streams that such batches serve."""
    of = f"{_model(projection)}, {projection.precision}, from the step on {projection.source.gpu}"
    return [table(f"{projection.gpu}: {LABEL}\n{of}", SERVED, projection.batches)]


def projection_notes(projection: AnyProjection) -> list[str]:
    """Return what is said below a projection's table: GPU memory of a step's, and the assumptions."""
    memory = [f"GPU memory, {LABEL}: {_memory(projection)} MB"] if isinstance(projection, Projection) else []
    return [*memory, f"Assumptions of the {LABEL}:", *(f"- {line}" for line in projection.assumptions)]


def _model(projection: AnyProjection) -> str:
    weights = "" if projection.weights == "trained" else ", random weights"
    return f"{projection.model}, {projection.lookahead_ms} ms{weights}"


def _ms(step: StepRange) -> str:
    return f"{step.ms_low:.2f} - {step.ms_high:.2f}"


def _rtf(step: StepRange) -> str:
    return f"{step.rtf_low:.4f} - {step.rtf_high:.4f}"


def _memory(projection: Projection) -> str:
    return "-" if projection.gpu_memory_mb is None else f"about {projection.gpu_memory_mb:.0f}"


BATCH = Column("Streams", lambda row: str(row.streams))
BATCH_TIMES = (
    BATCH,
    Column("Step ms\np50 / p95 / p99", lambda row: shown([row.step_ms_p50, row.step_ms_p95, row.step_ms_p99], 3)),
    Column("NeMo ms\np50 / p95", lambda row: shown([row.peer_ms_p50, row.peer_ms_p95], 3)),
    Column("Kernels ms\np50", lambda row: shown([row.kernels_ms_p50], 3)),
    Column("States' copies\nms p50", lambda row: shown([row.copies_ms_p50], 3)),
    Column("Floor\nms", lambda row: shown([row.floor_ms], 3)),
    Column("A stream's\nchunk ms", lambda row: shown([row.stream_ms], 4)),
)
BATCH_COSTS = (
    BATCH,
    Column("TFLOP/s", lambda row: shown([row.tflop_s], 2)),
    Column("Kernels", lambda row: str(row.kernels)),
    Column("First stream\ndiffers by", lambda row: shown([row.first_stream], 4)),
    Column("Peak\nMB", lambda row: shown([row.peak_gpu_memory_mb], 0)),
    Column("SM clock\nMHz", lambda row: shown([row.sm_clock_mhz], 0)),
    Column("Power\nW", lambda row: shown([row.power_draw_w], 0)),
)


def batch_tables(report: BatchReport) -> list[Table]:
    """Return the times of each number of streams, and what they cost the GPU."""
    weights = "" if report.weights == "trained" else ", random weights"
    title = f"{report.model}{weights}, {report.lookahead_ms} ms, {report.precision}: chunks of {report.chunk_ms:.0f} ms"
    plan = f"plan for {report.sizes} of {report.plan_mb:.0f} MB, copies {report.copy_gb_s:.0f} GB/s"
    products = "What the GPU does" if report.gflop is None else f"Matrix products of {report.gflop:.3f} GFLOP a stream"
    tables = table(f"{title}\n{plan}", BATCH_TIMES, report.rows), table(products, BATCH_COSTS, report.rows)
    return [each.measured() for each in tables]


PROJECTED_FROM = (
    Column("GPU", attrgetter("gpu")),
    Column("", lambda _: LABEL),
    Column("Measured on", lambda made: f"from kernels of TensorRT {made.tensorrt} on {made.gpu}").of("source"),
    Column("Model", _model),
    Column("Precision", attrgetter("precision")),
)
PROJECTED = (
    Column("Step ms, low - high (projection)", lambda projection: _ms(projection.step)),
    Column("RTF, low - high (projection)", lambda projection: _rtf(projection.step)),
    Column("GPU memory MB (projection)", _memory),
    Column("Kernels a step, measured", lambda projection: str(projection.source.kernels)),
)
"""Of a projection, in a table of several: what it is of, and its step with a CUDA graph where there is one."""

TABLES: dict[type[Report], Callable[[Any], Iterable[Table]]] = {
    ResultFile: result_tables,
    BargeInFile: bargein_tables,
    AccuracyReport: accuracy_tables,
    BatchReport: batch_tables,
    Projection: projection_tables,
    StreamsProjection: streams_projection_tables,
    Pack: lambda pack: chain.from_iterable(map(result_tables, pack.results.values())),
}
"""Kind of file that a bench writes -> its tables."""
