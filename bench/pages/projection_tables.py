"""A projection's tables: its groups, kernels and step with their ranges, and a row of several projections' steps."""

from collections.abc import Iterable

from bench.pages.tables import Table
from bench.step.projection import LABEL, Projection, StepRange

BOUNDS = (
    "Low: the bytes at the best bandwidth. High: nothing fused or overlapped, the clock throttled, the measured cost of every "
    "kernel on top. `bench/results/projections/*.json` list the assumptions and their sources."
)
GROUPS = [
    "",
    "constants\nMB",
    "in, out\nMB",
    "unfused\nMB",
    "multiply-adds\nM",
    "low - high\nms, RTF",
    "times are",
]
STEPS = [
    "Model",
    "Precision",
    "Figures of the row",
    "Step ms, low - high (projection)",
    "RTF, low - high (projection)",
    "GPU memory MB (projection)",
    "From",
]


def projection_table(projection: Projection) -> Table:
    """Return a projection's groups, kernels and step, each with its range."""
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
    return Table(f"{projection.gpu}: {LABEL}\n{model}", GROUPS, rows)


def projection_notes(projection: Projection) -> list[str]:
    """Return what is said below a projection's table: GPU memory and the assumptions."""
    memory = f"GPU memory, {LABEL}: {_memory(projection)} MB"
    return [memory, f"Assumptions of the {LABEL}:", *(f"- {line}" for line in projection.assumptions)]


def projected(projections: Iterable[Projection]) -> Table:
    """Return a row for the step of each projection, with its CUDA graph where there is one."""
    rows = []
    for projection in projections:
        step, source = projection.steps[0], projection.source
        weights = "" if projection.weights == "trained" else ", random weights"
        model = f"{projection.model}, {projection.lookahead_ms} ms{weights}"
        spans = (LABEL, _ms(step), _rtf(step), _memory(projection))
        where = f"{source.kernels} kernels of TensorRT {source.tensorrt} on {source.gpu}"
        rows.append([model, projection.precision, *spans, where])
    return Table("", STEPS, rows)


def _ms(step: StepRange) -> str:
    return f"{step.ms_low:.2f} - {step.ms_high:.2f}"


def _rtf(step: StepRange) -> str:
    return f"{step.rtf_low:.4f} - {step.rtf_high:.4f}"


def _memory(projection: Projection) -> str:
    return "-" if projection.gpu_memory_mb is None else f"about {projection.gpu_memory_mb:.0f}"
