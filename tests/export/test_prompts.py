"""Checkpoints that are told the language: saved by NeMo at a small size, each language against NeMo's own forward with that prompt."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from omegaconf import OmegaConf

from bench.speech.offline import load_recognizer
from calibration.calibrate import ObservedBackend, stream_speech
from export.bundle import export_bundle, is_current, write_bundle
from export.checkpoint import check_choice
from export.parity import Recorder
from runtime import Recognizer
from runtime.backends import open_backend
from runtime.bundle import read_bundle
from runtime.errors import InputError
from tests.export.lively import enliven, enliven_ctc, enliven_kernel, noise
from tests.export.saved import configuration, load, with_ctc

pytestmark = pytest.mark.nemo

PROMPTS = {"en-US": 0, "en": 0, "de-DE": 9, "fr-FR": 8, "ja-JP": 10, "pt-BR": 12, "auto": 101}
DIFFERENT = ["en-US", "de-DE", "fr-FR", "ja-JP", "pt-BR", "auto"]
LENGTHS = [1, 1_481, 48_000, 80_485]


@dataclass(frozen=True)
class Prompted:
    """NeMo's model, its file and its bundle at 80 ms, with the step over many streams."""

    model: Any
    file: Path
    folder: Path

    def offline(self, audio: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        """NeMo's own forward of a batch, with the prompt of each of DIFFERENT: encoded frames [languages, D, T], and their numbers."""
        self.model.encoder.set_default_att_context_size([70, 1])
        with torch.inference_mode():
            encoded, lengths = self.model(
                input_signal=torch.from_numpy(audio).repeat(len(DIFFERENT), 1),
                input_signal_length=torch.full((len(DIFFERENT),), len(audio)),
                prompt_indices=torch.tensor([PROMPTS[language] for language in DIFFERENT]),
            )
        return encoded, lengths

    def tokens(self, decoder: str, encoded: torch.Tensor, lengths: torch.Tensor) -> list[list[int]]:
        """NeMo's own greedy decoding of a batch."""
        with torch.inference_mode():
            if decoder == "rnnt":
                decoding = self.model.decoding
                found = decoding.rnnt_decoder_predictions_tensor(encoded, lengths, return_hypotheses=True)
                return [[int(token) for token in each.y_sequence] for each in found]
            best = self.model.ctc_decoder(encoder_output=encoded)[:, : lengths[0]].argmax(-1).tolist()
        blank = self.model.joint.num_classes_with_blank - 1
        return [[token for before, token in pairwise([blank, *each]) if token not in (before, blank)] for each in best]


@pytest.fixture(scope="module", params=["hybrid", "transducer"])
def prompted(request: pytest.FixtureRequest, tokenizer: Path, tmp_path_factory: pytest.TempPathFactory) -> Prompted:
    from nemo.collections.asr.models import EncDecHybridRNNTCTCBPEModelWithPrompt, EncDecRNNTBPEModelWithPrompt

    config = configuration(tokenizer)
    config["model_defaults"] |= {"initialize_prompt_feature": True, "num_prompts": 128, "prompt_dictionary": PROMPTS}
    config["encoder"] |= {"n_layers": 2}
    torch.manual_seed(0)
    if request.param == "hybrid":
        model = EncDecHybridRNNTCTCBPEModelWithPrompt(cfg=OmegaConf.create(with_ctc(config)))
    else:
        model = EncDecRNNTBPEModelWithPrompt(cfg=OmegaConf.create(config))
    folder = tmp_path_factory.mktemp(request.param)
    file = folder / f"{request.param}.nemo"
    model.save_to(str(file))
    made = load(file)
    enliven_kernel(made)
    model.prompt_kernel.load_state_dict(made.prompt_kernel.state_dict())
    enliven(made)
    model.joint.load_state_dict(made.joint.state_dict())
    if request.param == "hybrid":
        enliven_ctc(made)
        model.ctc_decoder.load_state_dict(made.ctc_head.state_dict())
    model.save_to(str(file))
    assert file.stat().st_size < 5e6
    bundle = write_bundle(load(file), 80, folder / "bundle", batched=True)
    assert read_bundle(folder / "bundle") == bundle
    return Prompted(model.eval(), file, folder / "bundle")


def opened(of: Prompted, **options: Any) -> Recognizer:
    return Recognizer(of.folder, precision="fp32", backend="onnxruntime-cpu", lm=None, **options)


def test_each_language_is_nemo_s(prompted: Prompted) -> None:
    """Every frame of the stream is the offline forward's, and so is every token; what languages hear differs."""
    bundle = read_bundle(prompted.folder)
    decoders = bundle.decoders
    offline = {samples: prompted.offline(noise(samples, samples)) for samples in LENGTHS}
    worst, heard = 0.0, dict[str, np.ndarray]()
    for decoder in decoders:
        backend = Recorder(open_backend(prompted.folder, bundle, "onnxruntime-cpu", "fp32", decoder))
        emitted = 0
        with Recognizer(prompted.folder, backend=backend, lm=None, decoder=decoder) as recognizer:
            for samples, (encoded, lengths) in offline.items():
                audio = noise(samples, samples)
                tokens = prompted.tokens(decoder, encoded, lengths)
                for place, language in enumerate(DIFFERENT):
                    heard[language] = encoded[place, :, : lengths[place]].T.numpy()
                    stream = recognizer.stream(language=language)
                    for start in range(0, samples, 777):
                        stream.push(audio[start : start + 777])
                    assert list(stream.end_utterance().tokens) == tokens[place], (decoder, language, samples)
                    found = backend.frames(bundle.encoder_frames(samples))
                    worst = max(worst, float(np.abs(found.encoded - heard[language]).max()))
                    emitted += len(tokens[place])
        print(f"{decoder}: {emitted} tokens in {len(DIFFERENT)} languages, encoded frames within {worst:.1e}")
        assert emitted > 100
    assert worst <= 1e-4
    apart = [np.abs(heard[one] - heard[other]).max() for one, other in pairwise(DIFFERENT)]
    print("languages apart by", [f"{each:.1e}" for each in apart])
    assert min(apart) > 1e-2
    parity = bundle.parity
    print(parity)
    assert parity["fp32"].encoded <= 1e-4
    assert (parity["fp32"].rnnt_identical, parity["fp32"].tokens_identical) == (
        True,
        True if "ctc" in decoders else None,
    )
    assert parity["fp16"].encoded <= 3e-2
    assert max(each.batched for each in parity.values() if each.batched is not None) <= 3e-2


def alone(of: Prompted, language: str, audio: np.ndarray, **options: Any) -> tuple[int, ...]:
    with opened(of, **options) as recognizer:
        stream = recognizer.stream(language=language)
        stream.push(audio)
        return stream.end_utterance().tokens


def test_a_stream_changes_its_language_between_utterances(prompted: Prompted) -> None:
    audio = noise(60_000, 3)
    expected = {language: alone(prompted, language, audio) for language in ("auto", "de-DE", "ja-JP")}
    assert len(set(expected.values())) == 3
    with opened(prompted) as recognizer:
        stream = recognizer.stream()  # auto, the bundle's own
        stream.push(audio[:20_000])
        stream.set_language("de")
        stream.push(audio[20_000:])
        assert stream.end_utterance().tokens == expected["auto"], "the language of an utterance in progress stays"
        found = []
        for language in ("de-DE", "ja", None):
            stream.push(audio)
            found.append(stream.end_utterance().tokens)
            stream.set_language({"de-DE": "JA_jp", "ja": None, None: "de"}[language])
        assert found == [expected["de-DE"], expected["ja-JP"], expected["auto"]]
        stream.set_language("ja")  # where no audio has come, from now on
        stream.reset()
        stream.push(audio)
        assert stream.end_utterance().tokens == expected["ja-JP"], "a reset keeps the language"


@pytest.mark.parametrize("prompted", ["hybrid"], indirect=True)  # steps run together for CTC alone
def test_streams_of_several_languages_step_together(prompted: Prompted) -> None:
    audio = noise(60_000, 4)
    languages = ["de-DE", "auto", "fr-FR"]
    expected = [alone(prompted, language, audio, decoder="ctc") for language in languages]
    assert len(set(expected)) == 3
    with opened(prompted, decoder="ctc", max_streams=3, search_processes=1) as recognizer:
        streams = [recognizer.stream(language=language) for language in languages]
        for stream in streams:
            stream.feed(audio)
        found = [stream.end_utterance().tokens for stream in streams]
    assert found == expected


def test_a_quantised_step_is_told_too(prompted: Prompted) -> None:
    backend = ObservedBackend(prompted.folder, read_bundle(prompted.folder))
    with Recognizer(prompted.folder, backend=backend, lm=None, language="de") as recognizer:
        stream_speech(recognizer, [noise(30_000, 1), noise(20_000, 2)], 1)
    backend.flush()
    assert backend.steps > 15


def test_nemo_s_offline_forward_hears_the_language_too(prompted: Prompted) -> None:
    """As `bench offline` measures it: by CTC where there is a head, else by greedy RNN-T."""
    audio, decoder = noise(60_000, 6), read_bundle(prompted.folder).decoders[-1]
    texts = []
    for language in ("de", "ja-JP"):
        offline = load_recognizer(str(prompted.file), 80, language)
        assert (offline.decoder, offline.told) == (decoder, True)
        with opened(prompted, decoder=decoder, language=language) as recognizer:
            stream = recognizer.stream()
            stream.push(audio)
            texts.append(stream.end_utterance().text)
        assert offline.transcribe(audio).split() == texts[-1].split()
    assert texts[0] != texts[1]
    with pytest.raises(InputError, match=r"expected one of the 7 languages of .*, found xx; choose one of them"):
        load_recognizer(str(prompted.file), 80, "xx")


@pytest.mark.parametrize(
    ("language", "message"),
    [
        ("da", "expected one of the 7 languages of NAME, such as .*de-DE.*, found da; choose one of them"),
        ("en-DE", None),
        ("pt", None),
        ("", "expected one of the 7 languages of NAME, such as .*, found ; choose one of them"),
    ],
)
def test_what_no_language_is(prompted: Prompted, language: str, message: str | None) -> None:
    with opened(prompted) as recognizer:
        if message is None:
            recognizer.stream(language=language)
            return
        stream = recognizer.stream()
        for use in (lambda: recognizer.stream(language=language), lambda: stream.set_language(language)):
            with pytest.raises(InputError, match=message.replace("NAME", prompted.file.stem)) as error:
                use()
            assert "\n" not in str(error.value)


@pytest.mark.parametrize("prompted", ["transducer"], indirect=True)  # its decoders have no part in this
def test_the_bundle_s_own_language(prompted: Prompted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told at export, kept by an export anew, changed alone; and refused in the first second."""
    file = str(prompted.file)
    folder = export_bundle(file, 80, tmp_path, language="de")
    assert read_bundle(folder).language == "de-DE"
    assert read_bundle(folder).prompts == PROMPTS
    assert is_current(folder, file, language="de_DE")
    assert not is_current(folder, file, language="auto")
    export_bundle(file, 80, tmp_path)
    assert read_bundle(folder).language == "de-DE"
    monkeypatch.setattr("export.bundle.load_checkpoint", None)  # nothing is exported again
    export_bundle(file, 80, tmp_path, language="ja")
    assert read_bundle(folder).language == "ja-JP"
    with pytest.raises(InputError, match=r"expected one of the 7 languages of .*, found xx; choose one of them"):
        export_bundle(file, 80, tmp_path, language="xx")
    with pytest.raises(InputError, match="expected one of the 41 languages of multilingual-random"):
        check_choice("multilingual-random", 80, "xx")


def test_the_step_takes_the_prompt_as_an_input(prompted: Prompted) -> None:
    """One number of each stream, and a row of a table: the product with the one-hot vector is not computed."""
    bundle = read_bundle(prompted.folder)
    for graph in ("step", "batched"):
        _, entry = bundle.graph("fp32", graph)
        assert (entry.input("prompt").dtype, entry.input("prompt").shape) == ("int32", [1])
        model = onnx.load(prompted.folder / entry.file)
        told = [node.op_type for node in model.graph.node if node.name.startswith("prompt/")]
        assert told.count("Gather") == 1
        assert told.count("Gemm") == 2
