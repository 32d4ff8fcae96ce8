"""Which environment each verb runs in and what it sets up first, as `make -n` tells, by the machine's driver."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

VERSION = "{}.{}".format(*sys.version_info)
BUNDLE = "build/bundles/streaming_fastconformer_ctc_en_small-80ms"
RUNS = re.compile(rf"(?<![\w/])build/venv-{re.escape(VERSION)}-(\w+)/bin/python -m ([\w.]+)")
INSTALLS = re.compile(r"-m setup\.install (\w+) (\w+)")


def make(*words: str, driver: str | None = None, folder: Path = Path()) -> "subprocess.CompletedProcess[str]":
    """Run make in the working folder, on a machine with a T4 and this driver, or without a GPU."""
    programs = folder / "programs"
    programs.mkdir(exist_ok=True)
    if driver:
        (programs / "nvidia-smi").write_text(f"#!/bin/sh\necho Tesla T4, {driver}, 7.5, 15360 MiB\n")
        (programs / "nvidia-smi").chmod(0o755)
    command = ["make", "--no-print-directory", f"PYTHON={sys.executable}", *words]
    path = f"{programs.absolute()}:/usr/bin:/bin"
    return subprocess.run(command, env={"PATH": path}, capture_output=True, text=True, check=False)


def planned(*words: str, driver: str | None = None) -> tuple[list[str], list[str]]:
    """What make would install, as `cpu runtime`, and what it would run then, as `cpu export`."""
    done = make("-n", *words, driver=driver)
    assert done.returncode == 0, done.stderr
    return (
        [" ".join(found) for found in INSTALLS.findall(done.stdout)],
        [" ".join(found) for found in RUNS.findall(done.stdout)],
    )


def copy_bundle(folder: str = BUNDLE) -> None:
    Path(folder).mkdir(parents=True)
    (Path(folder) / "bundle.json").touch()


ALL = {"cpu runtime", "cpu export"}
OF_TESTS = {"cpu dev", "triton server", "clients clients"}
T4, H100 = "550.54.15", "595.71"


@pytest.mark.usefixtures("checkout")
@pytest.mark.parametrize(
    ("words", "driver", "installed", "run"),
    [
        ("setup", None, ALL, []),
        ("setup", T4, ALL | {"cuda12 runtime"}, []),
        ("setup", H100, ALL | {"cuda13 runtime"}, []),
        ("setup HARDWARE=cpu", H100, ALL, []),
        ("setup FOR=runtime", None, {"cpu runtime"}, []),
        ("setup FOR=runtime", T4, {"cuda12 runtime"}, []),
        ("setup FOR=runtime HARDWARE=cuda12", None, {"cuda12 runtime"}, []),
        ("bench", None, ALL, ["cpu export", "cpu bench"]),
        ("bench", T4, ALL | {"cuda12 runtime"}, ["cpu export", "cuda12 engines", "cuda12 bench"]),
        (
            "bench PRECISION=int8",
            T4,
            ALL | {"cuda12 runtime"},
            ["cpu export", "cpu calibration", "cuda12 engines", "cuda12 bench"],
        ),
        ("bench HARDWARE=cpu", T4, ALL, ["cpu export", "cpu bench"]),
        ("inspect", None, ALL, ["cpu export", "cpu engines.inspect"]),
        ("triton", H100, ALL | {"cuda13 runtime"}, ["cpu export", "cuda13 engines", "cuda13 serving.triton"]),
        ("triton", None, ALL, ["cpu export", "cpu serving.triton"]),
        ("export", H100, ALL, ["cpu export"]),
        ("calibrate", H100, ALL, ["cpu export", "cpu calibration"]),
        ("words", H100, ALL, ["cpu export", "cpu calibration.words"]),
        ("report", H100, {"cuda13 runtime"}, ["cuda13 bench"]),
        ("ablation ABLATED=80", T4, ALL | {"cuda12 runtime"}, ["cpu export", "cpu calibration", "cuda12 bench"]),
        ("test-quick", T4, {"cpu runtime", "cpu dev"}, ["cpu pytest"]),
        ("lint", T4, ALL | {"cpu dev"}, ["cpu ruff", "cpu ruff", "cpu mypy"]),
        ("test", None, ALL | OF_TESTS, ["cpu pytest"]),
        ("test", T4, ALL | OF_TESTS | {"cuda12 runtime"}, ["cpu pytest", "cuda12 pytest"]),
    ],
)
def test_fresh_checkout(words: str, driver: str | None, installed: set[str], run: list[str]) -> None:
    found, then = planned(*words.split(), driver=driver)
    assert (set(found), then) == (installed, run)


@pytest.mark.usefixtures("checkout")
@pytest.mark.parametrize(
    ("words", "installed", "run"),
    [
        ("engines", {"cuda12 runtime"}, ["cuda12 engines"]),
        ("bench", {"cuda12 runtime"}, ["cuda12 engines", "cuda12 bench"]),
        ("bench FOR=runtime", {"cuda12 runtime"}, ["cuda12 engines", "cuda12 bench"]),
        (
            "bench PRECISION=int8",
            {"cuda12 runtime", "cpu runtime"},
            ["cpu calibration", "cuda12 engines", "cuda12 bench"],
        ),
        ("ablation ABLATED=80", {"cuda12 runtime", "cpu runtime"}, ["cpu calibration", "cuda12 bench"]),
        ("bench LOOKAHEAD=480", ALL | {"cuda12 runtime"}, ["cpu export", "cuda12 engines", "cuda12 bench"]),
        ("export", ALL, ["cpu export"]),
    ],
)
def test_a_bundle_made_elsewhere_is_taken_as_it_is(words: str, installed: set[str], run: list[str]) -> None:
    copy_bundle()
    found, then = planned(*words.split(), driver=T4)
    assert (set(found), then) == (installed, run)


@pytest.mark.usefixtures("checkout")
def test_where_torch_and_nemo_are_a_bundle_is_checked() -> None:
    copy_bundle()
    environment = Path(f"build/venv-{VERSION}-cpu")
    environment.mkdir()
    for name in (".runtime", ".export"):
        (environment / name).touch()
    assert planned("bench") == ([], ["cpu export", "cpu bench"])
    assert planned("bench", "FOR=runtime") == ([], ["cpu bench"])


@pytest.mark.usefixtures("checkout")
@pytest.mark.parametrize("verb", ["export", "calibrate", "engines", "triton", "inspect", "bench", "ablation"])
@pytest.mark.parametrize(
    ("model", "name"),
    [
        ("my models/foo.nemo", "foo"),
        ("my models/foo bar.v2.nemo", "foo bar.v2"),
        ("nvidia/some-model", "some-model"),
        ("large-random", "large-random"),
    ],
)
def test_every_verb_names_the_same_bundle(verb: str, model: str, name: str) -> None:
    done = make("-n", verb, f"MODEL={model}", "ABLATED=80", driver=T4)
    assert f'--model "{model}"' in done.stdout
    bundles = re.findall(r'--bundle "([^"]*)"', done.stdout)
    assert set(bundles) == (set() if verb == "export" else {f"build/bundles/{name}-80ms"})
    copy_bundle(f"build/bundles/{name}-80ms")
    assert ("-m export" in make("-n", verb, f"MODEL={model}", "ABLATED=80", driver=T4).stdout) == (verb == "export")


@pytest.mark.usefixtures("checkout")
@pytest.mark.parametrize(
    ("words", "batched"),
    [
        ("engines", []),
        ("engines BATCH=1", ["export", "engines"]),
        ("triton", ["export", "engines"]),
        ("triton DECODER=ctc", ["export", "engines"]),
        ("triton DECODER=rnnt", []),
    ],
)
def test_the_step_over_many_streams_is_made_only_when_asked_for(words: str, batched: list[str]) -> None:
    lines = make("-n", *words.split(), driver=T4).stdout.replace("\\\n", "").splitlines()
    assert [found[2] for line in lines if "--batch" in line and (found := RUNS.search(line))] == batched


@pytest.mark.usefixtures("checkout")
@pytest.mark.parametrize(
    ("verb", "module"), [("triton", "serving.triton"), ("serve", "serving.web"), ("bench", "bench")]
)
def test_what_recognises_is_told_the_decoder(verb: str, module: str) -> None:
    lines = make("-n", verb, "DECODER=rnnt").stdout.replace("\\\n", "").splitlines()
    (found,) = (line for line in lines if "--decoder" in line)
    assert re.search(rf'-m {re.escape(module)} .*--decoder "rnnt"', found)


@pytest.mark.usefixtures("checkout")
@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("export", {"export": None}),
        ("export LANGUAGE=de", {"export": "--language de"}),
        ("bench", {"export": None, "bench": "--lang en"}),
        ("bench LANGUAGE=de", {"export": None, "bench": "--lang de"}),
        ("words LANGUAGE=de", {"export": None, "calibration.words": "--lang de"}),
    ],
)
def test_a_language_is_stated_by_an_export_that_is_asked_for_and_heard_by_all_else(
    words: str, told: dict[str, str | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANGUAGE", "fr")  # as desktops do
    lines = make("-n", *words.split()).stdout.replace("\\\n", "").splitlines()
    found = {}
    for line in lines:
        if run := re.search(r"-m (export|bench|calibration\S*) ", line):
            language = re.search(r"--lang(?:uage)? \"?\w+", line)
            found[run[1]] = language and language[0].replace('"', "")
    assert found == told


@pytest.mark.usefixtures("checkout")
@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("setup HARDWARE=gpu", "Expected cpu, cuda12, cuda13 as HARDWARE, found gpu"),
        ("setup FOR=export", "Expected runtime as FOR, found export"),
        ("bench PRECISION=fp61", "Expected fp32, fp16, int8 as PRECISION, found fp61"),
        ("triton PRECISION=int8", "Expected fp32, fp16 as PRECISION, found int8"),
        ("engines PRODUCTS=sums", "Expected matrix, sum as PRODUCTS, found sums"),
        ("engines BATCH=64", "Expected 1 as BATCH, found 64"),
        ("bench DECODER=rnn-t", "Expected ctc, rnnt as DECODER, found rnn-t"),
        ("bench PACE=slow", "Expected auto, realtime, fast as PACE, found slow"),
        ("bench FRAME_MS=7", "Expected 20 to 40 as FRAME_MS, found 7"),
        ("calibrate METHOD=entropie", "percentile_99.999, mse as METHOD, found entropie"),
        ("ablation METHODS=max,mes", "percentile_99.999, mse as METHODS, found mes"),
        ("calibrate KEEP=all", "Expected none, search as KEEP, found all"),
        ("bench HARDWEAR=cpu", "found HARDWEAR: did you mean HARDWARE?"),
        ("bench FOR=runtime", f"found {BUNDLE} or another missing"),
        ("ablation FOR=runtime", "copy it there, or leave FOR out"),
        ("bench PYTHON=no-python", "found no no-python: name one, as in `make setup PYTHON=python3.12`"),
    ],
)
def test_errors_are_one_line(words: str, says: str) -> None:
    done = make("-n", *words.split())
    assert done.returncode != 0
    assert says in done.stderr
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.usefixtures("checkout")
def test_a_driver_that_is_too_old_stops_setup_before_anything_is_there() -> None:
    done = make("setup", driver="470.256.02")
    assert done.returncode != 0
    assert "no: expected NVIDIA driver 535 or later, found 470.256.02" in done.stdout.splitlines()[0]
    assert not Path("build").exists()
    assert "verdict" in make("doctor", driver="470.256.02").stdout


@pytest.mark.usefixtures("checkout")
@pytest.mark.parametrize("verb", ["help", "export", "calibrate", "test-quick", "lint", "clean"])
def test_what_needs_no_gpu_asks_for_none(tmp_path: Path, verb: str) -> None:
    asked = tmp_path / "asked"
    Path("programs").mkdir()
    Path("programs/nvidia-smi").write_text(f"#!/bin/sh\ntouch {asked}\n")
    Path("programs/nvidia-smi").chmod(0o755)
    make("-n", verb)
    assert not asked.exists()
    make("-n", "bench")
    assert asked.exists()


def test_methods_are_those_of_the_calibration() -> None:
    from calibration.thresholds import METHODS

    named = re.search(r"^METHOD_NAMES := (.*)$", Path("Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert named
    assert named[1].split() == list(METHODS)
