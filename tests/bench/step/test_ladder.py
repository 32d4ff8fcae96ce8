"""The ladder's plumbing: a process a variant, one file, and what fails left out in a line; the peer in NeMo and its configuration."""

import io
import json
import shutil
import sys
import tarfile
from collections.abc import Sequence
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from types import ModuleType

import pytest
import torch
from pydantic import TypeAdapter
from rich.console import Console

from bench.__main__ import run as run_command
from bench.child import run_child
from bench.pages import results_page
from bench.results import ResultFile, read_result
from bench.rows import StepRow
from bench.step import encoder_config as encoder
from bench.step import ladder, peer, step_times, timing
from bench.step.encoder_config import encoder_config
from bench.step.ladder import RUNTIME, VARIANTS, Options, measure, run
from bench.step.timing import StepMeasurement, Variant
from export.checkpoint import EMBEDDED, RANDOM_CONFIG
from runtime.bundle import read_bundle, write_manifest
from runtime.entries import StepEntry
from runtime.errors import InputError, exit_code
from runtime.stamp import plan_path, stamp_path
from setup.environments import EXPORT, Part
from setup.machine import CPU

pytestmark = pytest.mark.nemo

# What a variant's process does here: it is given its place and its label's fate, and measures nothing.
CHILD = """
import json, os, sys
place, fate = int(sys.argv[1]), sys.argv[2]
if fate == "fails":
    sys.exit("first line\\nerror: no room for it")
if fate == "dies":
    os._exit(9)
if fate == "hangs":
    import time; time.sleep(60)
graph = os.environ["CUDA_GRAPH"] == "1"
pace = lambda factor: {"seconds": [factor * 1e-3 * (14 - place)] * 4, "sm_clock_mhz": 1980.0, "power_draw_w": None}
timings = {"first_result_s": 1.5, "fast": pace(1), "realtime": pace(2), "peak_gpu_memory_mb": 100.0 + place}
print("engine 1 says hello")
print(json.dumps({**timings, "engine": "engine 1", "cuda_graph": graph, "launches_per_step": 400 if graph else None,
           "weights_bytes": 2000, "copy_bandwidth": 1e6}))
"""


@pytest.fixture
def both(folder: Path) -> Path:
    """The toy bundle in both precisions."""
    bundle = read_bundle(folder)
    step: StepEntry = bundle.steps["fp32"]
    write_manifest(folder, bundle.model_copy(update={"steps": {"fp32": step, "fp16": step}}))
    for path in (plan_path, lambda *words: stamp_path(plan_path(*words))):
        shutil.copy(path(folder, "fp32"), path(folder, "fp16"))
    return folder


@pytest.fixture
def fates(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """What becomes of each variant's process, by its name; the others measure. A GPU seems to be there."""
    fates: dict[str, str] = {}

    def child(command: Sequence[str], limit_s: float, *, graph: bool) -> str:
        told = Variant(**json.loads(command[-1]))
        assert told.graph is graph
        fate = fates.get(told.name, "measures")
        place = [variant.name for variant in VARIANTS].index(told.name)
        words = ["no-such-python"] if fate == "missing" else [sys.executable, "-I", "-S", "-c", CHILD, str(place), fate]
        return run_child(words, limit_s, graph=graph)

    monkeypatch.setattr(step_times, "run_child", child)
    monkeypatch.setattr(peer, "encoder_config", lambda _: {"n_layers": 2})
    monkeypatch.setattr(ladder, "default_backend", lambda: "tensorrt")
    return fates


def climbed(both: Path, out: Path) -> tuple[ResultFile, str]:
    console = Console(file=io.StringIO(), width=200)
    written = run(Options(bundle=both, steps=100, out=out), ["ladder"], console)
    result = read_result(written.path)
    assert result == written.result
    return result, console.file.getvalue()  # type: ignore[attr-defined]


@pytest.mark.usefixtures("fates")
def test_every_variant_has_a_row_at_each_pace(both: Path, tmp_path: Path) -> None:
    result, said = climbed(both, tmp_path)
    rows = result.rows_of(StepRow)
    assert [(row.rung, row.precision, row.pace) for row in rows] == [
        (each.label, each.precision, pace) for each in VARIANTS for pace in ("fast", "realtime")
    ]
    assert result.left_out == {}
    for place, each in enumerate(VARIANTS):
        fast, paced = rows[2 * place : 2 * place + 2]
        assert (fast.step_ms_p50, paced.step_ms_p50) == (14 - place, 2 * (14 - place))
        assert fast.times_runtime == paced.times_runtime == round((14 - place) / (14 - VARIANTS.index(RUNTIME)), 3)
        assert (fast.what, fast.backend, fast.cuda_graph) == (each.what, each.backend, each.graph)
        assert (fast.floor_ms, fast.copy_gb_s, fast.peak_gpu_memory_mb) == (2.0, 0.001, 100 + place)
        assert fast.launches_per_step == (400 if each.graph or each.backend == "tensorrt" else None)
        assert (fast.weights, fast.first_result_s, fast.step_sm_clock_mhz) == ("random", 1.5, 1980)
        assert fast.rtf_p50 == (14 - place) / 20
        assert each.label in said
    assert {"rung", "times_runtime", "floor_ms"} <= result.definitions.keys()
    assert len({each.name for each in VARIANTS}) == len(VARIANTS)


@pytest.mark.parametrize(
    ("fate", "reason"),
    [
        ("fails", "no room for it"),
        ("dies", "exit code 9, nothing on stderr"),
        ("missing", "cannot start no-such-python: No such file or directory"),
        ("hangs", "not done after 1 s"),
    ],
)
def test_a_variant_that_fails_is_left_out_with_its_reason(
    both: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, fates: dict[str, str], fate: str, reason: str
) -> None:
    monkeypatch.setattr(ladder, "VARIANTS", VARIANTS[:3])
    monkeypatch.setattr(step_times, "LOAD_S", -3.0)  # to 2 x 100 steps of 20 ms
    fates[VARIANTS[1].name] = fate
    result, said = climbed(both, tmp_path)
    rows = result.rows_of(StepRow)
    assert [row.rung for row in rows] == [VARIANTS[place].label for place in (0, 0, 2, 2)]
    assert [row.precision for row in rows] == ["fp32"] * 4
    assert result.left_out == {VARIANTS[1].name: reason}
    assert {row.times_runtime for row in rows} == {None}
    assert f"left out: {reason}" in said


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("at least 100", ["--steps", "99"]),
        ("expected a JSON file, found none at none.json", ["--encoder-config", "none.json"]),
        ("expected a JSON file, found none at README.md", ["--encoder-config", "README.md"]),
        ("--name", ["--name", "../elsewhere"]),
        ("no-such-bundle", ["--bundle", "no-such-bundle"]),
        ("no rung of the ladder ran; the last", []),
    ],
)
def test_bad_input(
    both: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    *,
    fates: dict[str, str],
    message: str,
    words: list[str],
) -> None:
    fates |= dict.fromkeys((each.name for each in VARIANTS), "fails")
    argv = ["ladder", "--bundle", str(both), "--out", str(tmp_path / "results"), *words]
    assert exit_code(lambda: run_command(argv)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "results").exists()


def test_without_a_gpu(both: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ladder, "default_backend", lambda: "onnxruntime-cpu")
    with pytest.raises(InputError, match="expected an NVIDIA GPU that nvidia-smi lists"):
        climbed(both, tmp_path)


def told_by(
    monkeypatch: pytest.MonkeyPatch,
    both: Path,
    variant: Variant,
    encoder: dict[str, object] | None = None,
    peer_python: str | None = None,
) -> list[str]:
    """The command of a variant's process."""
    commands: list[list[str]] = []

    def child(command: list[str], *_: object, **__: object) -> str:
        commands.append(command)
        raise InputError("not run")

    monkeypatch.setattr(step_times, "run_child", child)
    options = Options(bundle=both, steps=100, peer_python=peer_python)
    with pytest.raises(InputError) as error:
        measure(options, read_bundle(both), encoder, variant)
    if not commands:
        raise error.value
    return commands[0]


@pytest.mark.parametrize("peer_python", [None, "env -u PYTHONHOME python3"])
@pytest.mark.parametrize("each", VARIANTS, ids=lambda each: each.name)
def test_a_variant_s_process_and_what_it_is_told(
    both: Path, monkeypatch: pytest.MonkeyPatch, each: Variant, peer_python: str | None
) -> None:
    words = told_by(monkeypatch, both, each, {"n_layers": 3}, peer_python)
    module = words.index("-m") + 1
    told = Variant(**json.loads(words[module + 1]))
    assert len(words) == module + 2
    in_other = peer_python is not None and each.backend != "tensorrt"
    assert words[: module - 1] == (["env", "-u", "PYTHONHOME", "python3"] if in_other else [sys.executable])
    if each.backend == "torch":
        assert words[module] == "bench.step.nemo_peer"
        assert (told.encoder, told.lookahead_frames, told.chunk_s) == ({"n_layers": 3}, 0, 0.02)
        assert told.device == "cuda"
    else:
        assert words[module] == "bench.step.worker"
        assert (told.bundle, told.backend) == (str(both), each.backend)
        assert (told.host_state, told.pinned) == (each.host_state, each.pinned)
    assert (told.graph, told.precision, told.steps, told.paced) == (each.graph, each.precision, 100, None)


def test_nemo_s_variants_run_where_nemo_is(both: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By default: a GPU's environment has neither torch nor NeMo, the CPU's has where `make setup` made it."""
    monkeypatch.chdir(tmp_path)
    assert peer.nemo_python() == [sys.executable]
    export = Part(CPU, EXPORT)
    export.folder.mkdir(parents=True)
    export.stamp.touch()
    python = str(tmp_path / export.python)
    read = [python, "-m", "bench.step.encoder_config", read_bundle(both).checkpoint.name]
    monkeypatch.setattr(peer, "run_child", lambda command, _: json.dumps({"n_layers": 4, "read": command == read}))
    for each in VARIANTS:
        words = told_by(monkeypatch, both, each)
        on_torch = each.backend == "torch"
        assert words[0] == (python if on_torch else sys.executable)
        assert json.loads(words[-1])["encoder"] == ({"n_layers": 4, "read": True} if on_torch else None)


def test_without_nemo_only_its_variants_are_left_out(both: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "omegaconf", None)
    monkeypatch.setattr(peer, "nemo_python", lambda: [sys.executable])
    for each in VARIANTS:
        if each.backend == "torch":
            with pytest.raises(InputError, match="--encoder-config") as error:
                told_by(monkeypatch, both, each)
            assert "\n" not in str(error.value)
        else:
            told_by(monkeypatch, both, each)


def test_the_page_has_a_table_of_rungs(both: Path, tmp_path: Path, fates: dict[str, str]) -> None:
    fates[VARIANTS[4].name] = "fails"
    climbed(both, tmp_path / "results")
    page = tmp_path / "RESULTS.md"
    results_page.run(results_page.Options(page=page, results=tmp_path / "results"), [], Console(file=io.StringIO()))
    text = (tmp_path / "results" / "ladder.md").read_text()
    assert "| + CUDA graph | fp16 | 6.00 / 6.00 / 6.00 | 1.5 | 12.00 / 12.00 / 12.00 | 1.5 |" in text
    assert "| + CUDA graph | fp16 | 2.000 | 400 | 108 | 0 | 1.5 |" in text
    assert text.count("| NeMo in PyTorch, eager |") == 2 * 2
    assert not (tmp_path / "results" / "step.md").exists()  # of `bench steps`, which has none of these rows
    assert f"- {VARIANTS[4].name}: no room for it" in text
    assert "plots/ladder.svg" in text


TINY = RANDOM_CONFIG["encoder"] | {"n_layers": 2, "d_model": 16, "n_heads": 2, "subsampling_conv_channels": 8}


@pytest.fixture(scope="module")
def nemo_peer() -> ModuleType:
    """The peer's module, imported here: a process that only collects these tests need not wait for NeMo."""
    return import_module("bench.step.nemo_peer")


@torch.inference_mode()
def test_the_peer_streams_the_same_at_fixed_addresses(nemo_peer: ModuleType) -> None:
    eager, fixed = (nemo_peer.Peer(TINY, 1, torch.float32, "cpu") for _ in range(2))
    fixed._mel.copy_(eager._mel)
    addresses = [cache.data_ptr() for cache in fixed.caches]
    steps = []
    for _ in range(4):
        a, b = eager.eager(), fixed.fixed()
        assert a.shape == (1, 16, 2)
        assert torch.equal(a, b), (a - b).abs().max()
        steps.append(a)
    assert not torch.equal(steps[0], steps[1])  # the caches came back
    assert [cache.data_ptr() for cache in fixed.caches] == addresses
    assert all(torch.equal(a, b) for a, b in zip(eager.caches, fixed.caches, strict=True))


@torch.inference_mode()
def test_the_peer_s_streams_are_each_as_alone(nemo_peer: ModuleType) -> None:
    together, *alone = (nemo_peer.Peer(TINY, 1, torch.float32, "cpu", streams) for streams in (3, 1, 1, 1))
    for row, one in enumerate(alone):
        one._mel.copy_(together._mel[row : row + 1])
    most = 0.0
    for _ in range(4):
        encoded = together.fixed()
        assert encoded.shape == (3, 16, 2)
        most = max(most, *((encoded[row] - one.fixed()[0]).abs().max().item() for row, one in enumerate(alone)))
    print(f"three streams at once, from each alone: {most:.1e}")
    assert most <= 1e-5
    assert not torch.equal(encoded[0], encoded[1])


@pytest.mark.parametrize(("precision", "streams", "paced"), [("fp32", 1, None), ("fp16", 1, None), ("fp32", 3, 0)])
def test_the_peer_s_process(
    nemo_peer: ModuleType,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    *,
    precision: str,
    streams: int,
    paced: int | None,
) -> None:
    monkeypatch.setattr(timing, "WARM_UP", 1)
    variant = Variant(backend="torch", precision=precision, steps=10, encoder=TINY, lookahead_frames=1, chunk_s=0.01)
    told = asdict(variant) | {"device": "cpu", "streams": streams, "paced": paced}
    nemo_peer.run(Variant(**json.loads(json.dumps(told))))
    measured = TypeAdapter(StepMeasurement).validate_json(capsys.readouterr().out.splitlines()[-1])
    assert (len(measured.fast.seconds), len(measured.realtime.seconds)) == (10, 2 if paced is None else paced)
    assert measured.engine == f"torch {torch.__version__}"
    parameters = sum(each.numel() for each in nemo_peer.Peer(TINY, 1, torch.float32, "cpu").encoder.parameters())
    assert measured.weights_bytes == parameters * (4 if precision == "fp32" else 2)
    assert (measured.cuda_graph, measured.launches_per_step, measured.copy_bandwidth) == (None, None, None)


@pytest.mark.parametrize(("model", "layers"), [("large-random", 17), (EMBEDDED, 14), (Path(EMBEDDED).stem, 14)])
def test_an_encoder_s_configuration(model: str, layers: int, capsys: pytest.CaptureFixture[str]) -> None:
    encoder.run(encoder.parse_args([model]))
    config = json.loads(capsys.readouterr().out)
    assert (config["n_layers"], config["att_context_style"]) == (layers, "chunked_limited")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (None, None, "expected large-random or a .nemo archive"),
        (None, b"no tar", "expected large-random or a .nemo archive"),
        ("readme.txt", b"encoder: {}", "expected model_config.yaml with an encoder"),
        ("model_config.yaml", b"decoder: {}", "expected model_config.yaml with an encoder"),
        ("model_config.yaml", b"[encoder]", "expected model_config.yaml with an encoder"),
        ("model_config.yaml", b"encoder: {a: [", "expected model_config.yaml with an encoder"),
        ("model_config.yaml", b"encoder: {a: '${none}'}", "expected model_config.yaml with an encoder"),
        ("model_config.yaml", b"encoder: {a: 0x_}", "expected model_config.yaml with an encoder"),
        ("model_config.yaml", b"encoder: {a: !!bool x}", "expected model_config.yaml with an encoder"),
        ("model_config.yaml", b"encoder: \xff", "expected model_config.yaml with an encoder"),
        ("model_config.yaml", b"[" * 1_000, "expected model_config.yaml with an encoder"),
    ],
)
def test_no_encoder_s_configuration(tmp_path: Path, name: str | None, content: bytes | None, message: str) -> None:
    path = tmp_path / "a.nemo"
    if name and content:
        (tmp_path / name).write_bytes(content)
        with tarfile.open(path, "w") as archive:
            archive.add(tmp_path / name, name)
    elif content:
        path.write_bytes(content)
    with pytest.raises(InputError, match=message) as error:
        encoder_config(str(path))
    assert "\n" not in str(error.value)
