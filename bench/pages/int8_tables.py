"""The tables of INT8's accuracy: cosines by layer and what comes out, and the drift of one stream."""

from bench.pages.tables import Table
from bench.step.int8_accuracy import Accuracy, AccuracyReport


def accuracy_tables(report: AccuracyReport) -> list[Table]:
    """Return both of a report's tables."""
    return [_layers(report), _drift(report)]


def _layers(report: AccuracyReport) -> Table:
    """Return cosines by layer, and the error of what comes out, a column per method."""
    title = f"Cosine of INT8's frames with FP32's, mean, and error of the log-probabilities, over {report.minutes:.1f} minutes"
    rows = [
        [layer, *(f"{setting.layers[layer].mean:.4f}" for setting in report.rows)] for layer in report.rows[0].layers
    ]
    rows += [
        ["encoded", *(f"{setting.encoded.mean:.4f}" for setting in report.rows)],
        ["encoded, least", *(f"{setting.encoded.least:.4f}" for setting in report.rows)],
        ["rms error", *(f"{setting.log_probs.rms:.3f}" for setting in report.rows)],
        ["frames changed", *(f"{setting.log_probs.changed:.2%}" for setting in report.rows)],
    ]
    return Table(title, ["frames", *map(_name, report.rows)], rows)


def _drift(report: AccuracyReport) -> Table:
    """Return one stream through each method's step, at several ages."""
    title = "One stream: frames since the mark before, relative error of the state"
    columns = ["steps", "method", "cosine, encoded", "rms / changed", "kv_cache", "time_cache"]
    rows = []
    for steps in report.rows[0].drift:
        for setting in report.rows:
            at = setting.drift[steps]
            errors = f"{at.log_probs.rms:.3f} / {at.log_probs.changed:.2%}"
            cells = (f"{at.encoded.mean:.4f}", errors, f"{at.kv_cache:.3f}", f"{at.time_cache:.3f}")
            rows.append([f"{steps:,}", _name(setting), *cells])
    return Table(title, columns, rows)


def _name(setting: Accuracy) -> str:
    return f"{setting.method}, {len(setting.kept)} in FP16" if setting.kept else setting.method
