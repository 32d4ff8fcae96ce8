"""A real tritonserver that decodes RNN-T: a hybrid, and a transducer alone that is told the language, both small and of random weights."""

import copy
import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.bundle import write_bundle
from export.checkpoint import RANDOM_CONFIG, random_checkpoint
from export.companions import companions
from runtime import Recognizer
from runtime.errors import InputError
from runtime.events import Final
from runtime.stamp import plan_path
from runtime.word_models import FILE, WordModel, WordModels
from serving.options import Options
from serving.triton import health
from serving.triton.__main__ import parse_args, run
from serving.triton.repository import Served, model_name, write_repository
from tests.export.lively import enliven, enliven_kernel
from tests.runtime.rig import write_stamp
from tests.serving.triton.servers import Triton, running
from tests.serving.triton.test_server import CONFIDENCE, SILENCE, Requests, confidences, hear, ragged, rounded

pytestmark = pytest.mark.nemo

PLACES = 4
SERVED = Served(PLACES, backend="onnxruntime-cpu", decoder="rnnt")
RNNT = 'parameters { key: "decoder" value { string_value: "rnnt" } }'
"""In a model's configuration."""
SMALL = {"n_layers": 2, "d_model": 64, "n_heads": 4, "subsampling_conv_channels": 16}
PROMPTS = {"en-US": 0, "de-DE": 9, "fr-FR": 8}
KINDS: dict[str, dict[str, Any]] = {
    "hybrid": {},
    "transducer": {
        "target": "EncDecRNNTBPEModelWithPrompt",
        "model_defaults": {"initialize_prompt_feature": True, "num_prompts": 128, "prompt_dictionary": PROMPTS},
    },
}
"""Changes to the configuration."""
MEASURED = WordModel(start_delay_s=0.2, end_delay_s=0.1, pieces=0.7, offset=-0.3)
"""Moves each word's times and confidence."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The bundles: neither has the step over many streams, the hybrid has a words.json."""
    made = {}
    for kind, changes in KINDS.items():
        config = copy.deepcopy(RANDOM_CONFIG) | changes
        config["encoder"] |= SMALL
        config["decoder"]["prednet"] |= {"pred_hidden": 48}
        config["joint"]["jointnet"] |= {"joint_hidden": 32}
        checkpoint = random_checkpoint(kind, "0" * 64, config, 20)
        if checkpoint.prompts:
            enliven_kernel(checkpoint)
        enliven(checkpoint)
        made[kind] = tmp_path_factory.mktemp("bundles") / kind
        write_bundle(checkpoint, 80, made[kind], companions(kind, kind, "none"))
    told = {"checkpoint_sha256": "0" * 64, "lookahead_ms": 80, "clips": 1, "made_from": "0" * 64}
    WordModels.model_validate(told | {"searches": {"rnnt": MEASURED}}).write(made["hybrid"] / FILE)
    return made


@pytest.fixture(scope="module")
def server(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Triton]:
    """Both models in one server: what a repository holds is whole, and can be moved to another."""
    root = tmp_path_factory.mktemp("server")
    both = root / "models"
    both.mkdir()
    for kind, folder in folders.items():
        write_repository(folder, SERVED, root / kind)
        (root / kind / model_name(folder)).rename(both / kind)
    found = Triton(both, root)
    with running(found):
        yield found


def opened(folder: Path) -> Recognizer:
    return Recognizer(folder, backend="onnxruntime-cpu", decoder="rnnt")


ASKED: dict[str, list[Options]] = {
    "hybrid": [Options(early="off"), Options(early="off", endpoints=True)],
    "transducer": [Options(early="off", language=language) for language in (None, "de", "fr")],
}
"""Of streams that hear differently."""


@pytest.mark.parametrize("kind", KINDS)
def test_api_and_server_say_the_same(
    server: Triton, folders: dict[str, Path], sample: list[tuple[str, np.ndarray]], kind: str
) -> None:
    (_, first), (_, second) = sample[1:3]
    audio = np.concatenate([first, np.zeros(16_000, np.float32), second])
    asked = 2 * ASKED[kind]
    with ThreadPoolExecutor(PLACES) as pool:
        jobs = [pool.submit(hear, server.url, kind, ragged(audio, seed), options) for seed, options in enumerate(asked)]
        served = [job.result() for job in jobs]
    finals = set()
    with opened(folders[kind]) as recognizer:
        for seed, (options, theirs) in enumerate(zip(asked, served, strict=True)):
            stream = options.open(recognizer)
            ours = [event for piece in ragged(audio, seed) for event in stream.push(piece)] + [stream.end_utterance()]
            assert rounded(theirs) == rounded(ours)
            np.testing.assert_allclose(confidences(theirs), confidences(ours), atol=CONFIDENCE)
            assert (sum(isinstance(event, Final) for event in theirs) > 1) == bool(options.endpoints)
            finals.add(theirs[-1].tokens)
    print(f"{kind}: {len(finals)} finals, of {[len(tokens) for tokens in finals]} tokens")
    assert min(map(len, finals)) > 10
    assert len(finals) == len(ASKED[kind])


@pytest.fixture
def requests(server: Triton) -> Iterator[dict[str, Requests]]:
    """By the kind of the model that is asked."""
    made = {kind: Requests(server.url, kind) for kind in KINDS}
    with made["hybrid"].server, made["transducer"].server:
        yield made


@pytest.mark.parametrize(
    ("kind", "options", "says"),
    [
        ("hybrid", {"hotwords": ["7"]}, r"expected the decoder ctc with hotwords, which .*, found rnnt; leave one"),
        ("transducer", {"hotwords": {"7": 2.0}}, r"expected the decoder ctc with hotwords, which .*, found rnnt"),
        ("hybrid", {"language": "de"}, r"expected en, the one language of hybrid, found de; "),
        ("transducer", {"language": "it"}, r"expected one of the 3 languages of transducer, .*, found it; "),
    ],
)
def test_options_that_it_has_not_are_an_error_of_one_line(
    requests: dict[str, Requests], kind: str, options: dict[str, object], says: str
) -> None:
    asked = ("options", np.array([[json.dumps(options).encode()]], np.object_))
    said = requests[kind].send(2, SILENCE, asked, start=True)
    assert re.match(says, said), said
    assert "\n" not in said
    assert "expected START before other requests of sequence 2" in requests[kind].send(2, SILENCE)
    assert requests[kind].send(2, SILENCE, start=True) == "[]"
    assert json.loads(requests[kind].send(2, end=True))[0]["audio_s"] == 0.01


def test_a_sequence_ends_and_begins_anew(
    server: Triton, requests: dict[str, Requests], folders: dict[str, Path], speech: np.ndarray
) -> None:
    """As many as there are places at a time, the next ones in those that are given back; each hears as the first did."""
    assert health.check(server.url, "hybrid") == "it recognises"
    with opened(folders["hybrid"]) as recognizer:
        stream = recognizer.stream()
        stream.push(speech)
        final = stream.end_utterance()
    asking, audio = requests["hybrid"], ("audio", speech[None])
    for numbers in (range(10, 10 + PLACES), range(12, 12 + PLACES)):
        assert {asking.send(number, SILENCE, start=True) for number in numbers} == {"[]"}
        assert "timeout of the corresponding sequence" in asking.send(99, SILENCE, start=True, timeout=100_000)
        for number in numbers:
            asking.send(number, audio, start=True)  # anew: without that silence
            said = json.loads(asking.send(number, end=True))[-1]
            assert (said["text"], said["audio_s"]) == (final.text, final.audio_s)
            assert "must specify the START flag" in asking.send(number, audio)


def test_the_decoder_is_ctc_where_there_is_a_choice(folders: dict[str, Path], tmp_path: Path) -> None:
    default = Served(backend="onnxruntime-cpu")
    write_repository(folders["transducer"], default, tmp_path / "out")
    assert RNNT in (tmp_path / "out" / "transducer" / "config.pbtxt").read_text(encoding="utf-8")
    for kind, served, says in (
        ("hybrid", default, r"expected the step over many streams in fp32, found none"),
        ("transducer", Served(backend="onnxruntime-cpu", decoder="ctc"), r"expected a decoder of .*rnnt.*, found ctc"),
    ):
        with pytest.raises(InputError, match=says):
            write_repository(folders[kind], served, tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_both_plans_are_needed(folders: dict[str, Path], tmp_path: Path) -> None:
    folder = folders["hybrid"]
    served = Served(backend="tensorrt", precision="fp32", decoder="rnnt")
    plan_path(folder, "fp32").parent.mkdir()
    for graph in ("step", "rnnt"):
        plan = plan_path(folder, "fp32", graph)
        with pytest.raises(
            InputError, match=rf"expected a plan at .*{graph}.fp32.plan, found none; make it with `make"
        ):
            write_repository(folder, served, tmp_path / "out")
        plan.write_bytes(b"plan")
        write_stamp(folder, graph, step_sha256="0" * 64)
        with pytest.raises(InputError, match=rf"expected the plan .* from a {graph}.fp32.onnx with sha256 "):
            write_repository(folder, served, tmp_path / "out")
        write_stamp(folder, graph)
    write_repository(folder, served, tmp_path / "out")
    assert (tmp_path / "out" / "hybrid" / "1" / "bundle" / "plans" / "rnnt.fp32.plan").exists()


def test_the_plan_itself_goes_with_ctc(folders: dict[str, Path], tmp_path: Path) -> None:
    words = ["--bundle", str(folders["hybrid"]), "--out", str(tmp_path / "out"), "--decoder", "rnnt"]
    with pytest.raises(InputError, match=r"expected the decoder ctc with --plan, found rnnt; leave one of them out"):
        run(parse_args([*words, "--plan"]))
    run(parse_args([*words, "--backend", "onnxruntime-cpu"]))
    assert RNNT in (tmp_path / "out" / "hybrid" / "config.pbtxt").read_text(encoding="utf-8")
