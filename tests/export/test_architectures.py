"""Other sizes and options than the embedded checkpoint's, as published ones have them: small random encoders against NeMo."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from export.bundle import write_bundle
from export.checkpoint import RANDOM_CONFIG, Checkpoint, random_checkpoint
from runtime.bundle import read_bundle

pytestmark = pytest.mark.nemo

SMALL = {"n_layers": 2, "d_model": 64, "n_heads": 4, "subsampling_conv_channels": 16}


def small(encoder: dict[str, Any], preprocessor: dict[str, Any]) -> Checkpoint:
    """A two-layer encoder whose every weight and statistic is random: a forgotten one shows."""
    config = copy.deepcopy(RANDOM_CONFIG)
    config["encoder"] |= SMALL | encoder
    config["decoder"]["prednet"]["pred_hidden"] = config["joint"]["jointnet"]["joint_hidden"] = 32
    config["preprocessor"] |= preprocessor
    made = random_checkpoint("small", "0" * 64, config, 20)
    with torch.no_grad():
        for name, value in made.encoder.state_dict().items():
            if name.endswith("running_var"):
                value.uniform_(0.5, 2.0)
            elif value.is_floating_point() and (value.ndim == 1 or "pos_bias" in name or "running_mean" in name):
                value.add_(torch.randn_like(value) * 0.3)
    if "att_context_size" in encoder:
        return made  # whose transducer has chunks of lengths that test_rnnt.py has not
    # NeMo's greedy RNN-T would take half of the time, and says nothing of the encoder.
    architecture = replace(made.architecture, transducer=None)
    return replace(made, architecture=architecture, prediction=None, joint=None)


@pytest.mark.parametrize(
    ("encoder", "preprocessor", "lookahead_ms"),
    [
        ({}, {}, 80),
        ({"conv_norm_type": "batch_norm"}, {}, 80),
        ({"use_bias": False}, {}, 80),
        ({"xscaling": False, "untie_biases": False}, {}, 80),
        ({"feat_in": 128}, {"features": 128}, 80),
        ({"conv_kernel_size": 31}, {}, 80),
        ({"conv_kernel_size": 3}, {}, 480),
        ({"n_heads": 2, "ff_expansion_factor": 2}, {}, 0),
        ({"att_context_size": [[56, 3], [56, 1], [56, 0]]}, {}, 240),
        ({"att_context_size": [[69, 2]]}, {}, 160),
        ({"att_context_size": [10, 1]}, {}, 80),
    ],
    ids=str,
)
def test_against_nemo(encoder: dict[str, Any], preprocessor: dict[str, Any], lookahead_ms: int, tmp_path: Path) -> None:
    written = write_bundle(small(encoder, preprocessor), lookahead_ms, tmp_path / "bundle", batched=True)
    assert read_bundle(tmp_path / "bundle") == written
    parity = written.parity["fp32"]
    print(f"encoded frames within {parity.encoded:.1e}, log-probabilities within {parity.log_probs:.1e}")
    assert parity.frames > 100
    assert parity.encoded <= 1e-4
    assert parity.log_probs is not None
    assert parity.log_probs <= 1e-4
    assert parity.batched is not None
    print(f"rows of many streams from the step: encoded frames within {parity.batched:.1e}")
    assert parity.batched <= 1e-4
