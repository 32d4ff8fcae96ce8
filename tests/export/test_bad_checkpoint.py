"""What is no streaming checkpoint is refused in one line, exit code 2, and nothing is written."""

import copy
import io
import tarfile
from pathlib import Path
from typing import Any

import pytest

from export.__main__ import parse_args, run
from export.architecture import read_architecture
from export.checkpoint import RANDOM_CONFIG
from runtime.errors import InputError, exit_code

pytestmark = pytest.mark.nemo


def test_an_archive_without_a_configuration(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with tarfile.open(tmp_path / "empty.nemo", "w") as archive:
        archive.addfile(tarfile.TarInfo("readme.txt"), io.BytesIO())
    words = ["--model", str(tmp_path / "empty.nemo"), "--out", str(tmp_path / "bundles")]
    assert exit_code(lambda: run(parse_args(words))) == 2
    error = capsys.readouterr().err
    assert "expected a checkpoint that NeMo restores, found no model_config.yaml in" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "bundles").exists()


@pytest.mark.parametrize(
    ("part", "key", "value", "message"),
    [
        ("encoder", "_target_", "nemo.collections.asr.modules.ConvASREncoder", "ConvASREncoder"),
        ("encoder", "att_context_style", "regular", "att_context_style chunked_limited"),
        ("encoder", "self_attention_model", "abs_pos", "self_attention_model rel_pos"),
        ("encoder", "causal_downsampling", False, "causal_downsampling True"),
        ("encoder", "conv_context_size", None, "conv_context_size causal"),
        ("encoder", "subsampling_factor", 4, "subsampling_factor 8"),
        ("encoder", "att_context_size", [-1, -1], "limited left context"),
        ("encoder", "reduction", "striding", "reduction None"),
        ("preprocessor", "normalize", "per_feature", "normalize NA"),
        ("preprocessor", "sample_rate", 8000, "sample_rate 16000"),
    ],
)
def test_another_architecture(part: str, key: str, value: object, message: str) -> None:
    config = copy.deepcopy(RANDOM_CONFIG)
    config[part][key] = value
    with pytest.raises(InputError) as error:
        read_architecture("a checkpoint", config, 1024)
    assert message in str(error.value)
    assert str(error.value).count("expected ") == 1
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("part", "key", "value", "message"),
    [
        ("encoder", "d_model", ..., "KeyError: 'd_model'"),
        ("encoder", "n_layers", "many", "ValueError: invalid literal"),
        ("encoder", "att_context_size", [[]], "ValueError: not enough values to unpack"),
        ("encoder", "att_context_size", ..., "one limited left context"),  # NeMo's default is no limit
        ("decoder", "prednet", {"pred_hidden": 640}, "KeyError: 'pred_rnn_layers'"),
        ("joint", "jointnet", ..., "KeyError: 'jointnet'"),
    ],
)
def test_a_configuration_that_nemo_does_not_take(part: str, key: str, value: object, message: str) -> None:
    config = copy.deepcopy(RANDOM_CONFIG)
    config[part][key] = value
    if value is ...:
        del config[part][key]
    with pytest.raises(InputError) as error:
        read_architecture("a checkpoint", config, 1024)
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("key", "values", "attribute", "expected"),
    [
        ("n_heads", [...], "heads", 4),
        ("conv_kernel_size", [...], "kernel", 31),
        ("subsampling_conv_channels", [..., -1], "subsampling_channels", 512),
    ],
)
def test_what_a_configuration_leaves_out_is_nemo_s_default(
    key: str, values: list[Any], attribute: str, expected: int
) -> None:
    for value in values:
        config = copy.deepcopy(RANDOM_CONFIG)
        config["encoder"][key] = value
        if value is ...:
            del config["encoder"][key]
        assert getattr(read_architecture("a checkpoint", config, 1024), attribute) == expected
