"""Hybrid and transducer checkpoints, the kinds that are published, saved by NeMo itself at a small size."""

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from omegaconf import OmegaConf
from rich.console import Console

from bench import ablation
from bench.results import read_result
from bench.step import ladder, step_times
from calibration.__main__ import parse_args as calibration_args
from calibration.__main__ import run as calibrate
from calibration.calibrate import ObservedBackend, stream_speech
from calibration.compare import hear
from calibration.evidence import Ear
from calibration.speech import Selection
from data.manifest import read_manifest
from export.bundle import write_bundle
from export.checkpoint import load_checkpoint
from export.companions import companions
from export.parity import evaluated_rnnt
from runtime.audio import load_audio
from runtime.bundle import read_bundle
from runtime.errors import InputError
from runtime.recognizer import Recognizer
from serving.triton.plan_client import TritonRecognizer
from serving.triton.plan_repository import write_plan_repository
from tests.export.lively import enliven, noise
from tests.export.saved import PIECES, WIDTH, configuration, load, with_ctc

pytestmark = pytest.mark.nemo

BLANK_BIAS = 1.0  # so that the transducer emits blanks and tokens


def test_hybrid_gives_its_ctc_head_and_its_transducer(tokenizer: Path, tmp_path: Path) -> None:
    from nemo.collections.asr.models import EncDecHybridRNNTCTCBPEModel

    torch.manual_seed(0)
    model = EncDecHybridRNNTCTCBPEModel(cfg=OmegaConf.create(with_ctc(configuration(tokenizer))))
    with torch.no_grad():
        model.joint.enc.weight.mul_(4)
        model.joint.joint_net[-1].bias[-1] += BLANK_BIAS
    model.save_to(str(tmp_path / "hybrid.nemo"))

    checkpoint = load(tmp_path / "hybrid.nemo")
    head = model.ctc_decoder.state_dict()["decoder_layers.0.weight"].numpy()
    assert np.array_equal(checkpoint.weights["ctc.decoder_layers.0.weight"], head)
    assert len(checkpoint.vocabulary) == checkpoint.architecture.vocabulary == PIECES
    bundle = write_bundle(checkpoint, 80, tmp_path / "bundle", companions("hybrid", "hybrid", "none"))
    print(f"encoded frames within {bundle.parity['fp32'].encoded:.1e}")
    assert bundle.parity["fp32"].encoded <= 1e-4
    check_words(tmp_path / "bundle")

    assert bundle.decoders == ["rnnt", "ctc"]
    frames = torch.randn(1, WIDTH, 60, generator=torch.Generator().manual_seed(0))
    model.eval()
    with torch.inference_mode():
        (expected,) = model.decoding.rnnt_decoder_predictions_tensor(frames, torch.tensor([60]), return_hypotheses=True)
    found = evaluated_rnnt(tmp_path / "bundle", "fp32", frames[0].T.numpy()).tokens
    print(f"{len(found)} tokens, {len(set(found))} of them different")
    assert found == tuple(expected.y_sequence.tolist())
    assert 30 < len(found) < 600


def check_words(folder: Path) -> None:
    """What `make words` weighs are the words of both decoders, and theirs alone."""
    clips = read_manifest(Path("data/sample/manifest_en.jsonl"))[:2]
    with closing(Ear(folder, read_bundle(folder), "en")) as ear:
        heard = list(ear.clips(Selection(Path(), tuple(clips), [])))[::2]
    for clip, found in zip(clips, heard, strict=True):
        assert found.keys() == {"rnnt", "ctc"}
        for search, words in found.items():
            with Recognizer(folder, precision="fp32", backend="onnxruntime-cpu", decoder=search) as recognizer:
                stream = recognizer.stream()
                stream.push(load_audio(clip.audio))
                expected = [word.text for word in stream.end_utterance().words]
            print(search, len(expected), "words")
            assert [word.text for word in words.words] == expected


@dataclass(frozen=True)
class Transducer:
    """A transducer without a CTC head: NeMo's model, its file and its bundle at 80 ms."""

    model: Any
    file: Path
    folder: Path


@pytest.fixture(scope="module")
def transducer(tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Transducer:
    """What is particular to nemotron-speech-streaming-en-0.6b is in it, but for its size."""
    from nemo.collections.asr.models import EncDecRNNTBPEModel

    config = configuration(tokenizer)
    config["preprocessor"]["features"] = config["encoder"]["feat_in"] = 128
    config["encoder"] |= {"n_layers": 2, "xscaling": False, "use_bias": False}
    config["decoder"]["prednet"]["pred_rnn_layers"] = 2
    torch.manual_seed(2)  # 0 gives a transducer that knows two tokens alone
    model, folder = EncDecRNNTBPEModel(cfg=OmegaConf.create(config)), tmp_path_factory.mktemp("transducer")
    file = folder / "transducer.nemo"
    model.save_to(str(file))
    made = load(file)
    enliven(made)
    model.joint.load_state_dict(made.joint.state_dict())
    model.save_to(str(file))
    bundle = write_bundle(load(file), 80, folder / "bundle")
    assert read_bundle(folder / "bundle") == bundle
    return Transducer(model.eval(), file, folder / "bundle")


def test_a_transducer_alone_gives_nemo_s_tokens(transducer: Transducer) -> None:
    model, bundle = transducer.model, read_bundle(transducer.folder)
    assert bundle.decoders == ["rnnt"]
    assert {step.results for step in bundle.steps.values()} == {("encoded",)}
    parity = bundle.parity["fp32"]
    print(f"encoded frames within {parity.encoded:.1e}")
    assert parity.encoded <= 1e-4
    assert (parity.log_probs, parity.tokens_identical, parity.rnnt_identical) == (None, None, True)
    model.encoder.set_default_att_context_size([70, 1])
    emitted, frames, kinds = 0, 0, set[int]()
    with Recognizer(transducer.folder, precision="fp32", backend="onnxruntime-cpu") as recognizer:
        stream = recognizer.stream()
        for samples in [1_481, 2_960, 16_000, 80_485, 160_077]:
            audio = noise(samples, samples)
            for start in range(0, samples, 777):
                stream.push(audio[start : start + 777])
            final = stream.end_utterance()
            with torch.inference_mode():
                signal, length = torch.from_numpy(audio)[None], torch.tensor([samples])
                encoded, lengths = model(input_signal=signal, input_signal_length=length)
                (expected,) = model.decoding.rnnt_decoder_predictions_tensor(encoded, lengths, return_hypotheses=True)
            assert final.tokens == tuple(expected.y_sequence.tolist()), samples
            emitted, frames = emitted + len(final.tokens), frames + int(lengths[0])
            kinds |= set(final.tokens)
    print(f"{emitted} tokens, {len(kinds)} of them different, in {frames} frames")
    assert 0.1 * frames < emitted < 3 * frames, "no mix of blanks and tokens"
    assert len(kinds) > 5


def test_its_steps_are_measured_with_its_decoder(transducer: Transducer, tmp_path: Path) -> None:
    given = {"backend": "onnxruntime-cpu", "precision": "fp32"}
    options = step_times.Options(bundle=transducer.folder, **given, steps=100, out=tmp_path)
    result = read_result(step_times.run(options, [], Console(quiet=True)).path)
    assert {each.decoder for each in result.rows} == {"rnnt"}


def test_its_activations_are_counted(transducer: Transducer) -> None:
    backend = ObservedBackend(transducer.folder, read_bundle(transducer.folder))
    with Recognizer(transducer.folder, backend=backend, lm=None) as recognizer:
        stream_speech(recognizer, [noise(30_000, 1), noise(20_000, 2)], 1)
    backend.flush()
    assert backend.steps > 15
    assert all(each.absolute_max > 0 for each in backend.histograms.values())


def test_a_step_beyond_an_onnx_file_is_left_out(
    transducer: Transducer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint, sizes = load(transducer.file), read_bundle(transducer.folder).steps
    monkeypatch.setattr("export.graph.MAX_BYTES", sizes["fp16"].bytes)
    assert write_bundle(checkpoint, 80, tmp_path / "bundle").steps.keys() == {"fp16"}
    with Recognizer(tmp_path / "bundle", precision=None, backend="onnxruntime-cpu") as recognizer:
        stream = recognizer.stream()
        stream.push(noise(48_000, 1))
        assert stream.end_utterance().tokens
    with pytest.raises(InputError, match=r"expected a precision of the bundle \(fp16\), found fp32; choose one"):
        Recognizer(tmp_path / "bundle", precision="fp32", backend="onnxruntime-cpu")
    monkeypatch.setattr("export.graph.MAX_BYTES", 1000)
    with pytest.raises(InputError, match="found transducer too large in fp32 and fp16; choose a smaller one"):
        write_bundle(checkpoint, 80, tmp_path / "none")
    assert not (tmp_path / "none").exists()


Refused = Callable[[Transducer], object]


@pytest.mark.parametrize(
    ("use", "message"),
    [
        (
            lambda of: Recognizer(of.folder, precision="fp32", backend="onnxruntime-cpu", decoder="ctc"),
            r"expected a decoder of the bundle \(rnnt\), found ctc; choose one",
        ),
        (
            lambda of: Recognizer(of.folder, precision="fp32", backend="onnxruntime-cpu", lm=Path("words.kenlm")),
            r"with a CTC head for the language model words\.kenlm, found transducer with rnnt alone; do without, or",
        ),
        (
            lambda of: write_plan_repository(of.folder, "fp16", of.folder.parent / "triton"),
            "for Triton's greedy decoder",
        ),
        (lambda of: TritonRecognizer(of.folder, "nowhere:0"), "for Triton's greedy decoder"),
        (
            lambda of: hear(of.folder, onnx.load(of.folder / "step.fp32.onnx"), []),
            "for a comparison of log-probabilities",
        ),
        (
            lambda of: calibrate(calibration_args(["--bundle", str(of.folder), "--keep", "search"])),
            "for --keep search",
        ),
        (lambda of: ladder.run(ladder.Options(bundle=of.folder), [], Console(quiet=True)), "for the ladder"),
        (lambda of: ablation.run(ablation.Options(bundle=(of.folder,)), [], Console(quiet=True)), "for the ablation"),
    ],
)
def test_what_needs_a_ctc_head_refuses_it(use: Refused, message: str, transducer: Transducer) -> None:
    with pytest.raises(InputError, match=message) as error:
        use(transducer)
    assert "\n" not in str(error.value)


def test_neither_a_ctc_head_nor_a_known_transducer(tokenizer: Path, tmp_path: Path) -> None:
    from nemo.collections.asr.models import EncDecRNNTBPEModel

    config = configuration(tokenizer)
    config["decoder"] |= {"normalization_mode": "layer"}
    EncDecRNNTBPEModel(cfg=OmegaConf.create(config)).save_to(str(tmp_path / "other.nemo"))
    with pytest.raises(InputError, match="with a CTC head or an RNN-T with an LSTM, found EncDecRNNTBPEModel") as error:
        load_checkpoint(str(tmp_path / "other.nemo"))
    assert "\n" not in str(error.value)
