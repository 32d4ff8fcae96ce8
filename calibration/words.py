"""`python -m calibration.words`: calibration speech through a bundle's decoders, to the times and the confidence of their words."""

from runtime.command import begin

if __name__ == "__main__":
    begin()

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np

from bench.score.normalise import check_language, scorable
from calibration.evidence import Ear, Heard, Weighed
from calibration.speech import Selection, check_levels, default_folder, evaluation_folders, select, speech_arguments
from runtime.bundle import Bundle, read_bundle
from runtime.errors import InputError, exit_code, imported, install
from runtime.files import alone, check_room, sources_hash
from runtime.word_models import FILE, Search, WordModel, WordModels, remove_unfit
from runtime.words import Evidence

FROM_SILERO_S = 0.09
"""From the delays of an utterance's first start and last end by Silero's marks to those of all its words by PocketSphinx's alignment:
Silero marks an onset 0.04 s later, and words within speech are decided 0.05 s later than the first. Measured with the embedded checkpoint
at 80 ms on 193 calibration clips: PocketSphinx's medians are 0.28 and 0.12 s, greedy and with a language model."""
LEAST_CLIPS = 20
"""In which speech and words were found: delays are medians over them."""
LEAST_WORDS = 20
"""Right ones, and wrong ones, that confidence is measured from."""
SOURCES = (
    "bench/score/normalise.py",
    "bench/score/words.py",
    "calibration/evidence.py",
    "calibration/words.py",
    "data/voiced.py",
    "runtime/decoders/beam.py",
    "runtime/decoders/greedy.py",
    "runtime/decoders/hypotheses.py",
    "runtime/decoders/ngram.py",
    "runtime/decoders/transcript.py",
    "runtime/words.py",
)


def parse_args(argv: Sequence[str]) -> argparse.Namespace:
    """Parse the command line."""
    parser = speech_arguments(prog="python -m calibration.words", description=__doc__)
    return parser.parse_args(argv)


def run(args: argparse.Namespace) -> None:
    """Write words.json into the bundle unless it is there already, of this bundle, speech and measurement."""
    lang = check_language(args.lang)
    bundle = read_bundle(args.bundle)
    with alone(args.bundle.absolute().parent):  # as `export`, which replaces the bundle
        selection = select(
            args.data or default_folder(), lang, args.minutes, evaluation_folders(args.eval), bundle.sample_rate
        )
        kept = tuple(clip for clip in selection.utterances if scorable(clip.text, lang))
        if not kept:
            clips = len(selection.utterances)
            raise InputError(
                f"{selection.folder}: expected transcripts without digits, found {clips} with them; write numbers as words"
            )
        _write(args.bundle, bundle, replace(selection, utterances=kept), lang)


def _write(folder: Path, bundle: Bundle, selection: Selection, lang: str) -> None:
    started, path, made_from = time.perf_counter(), folder / FILE, _made_from(bundle, selection)
    if _is_current(path, made_from):
        print(f"words: {path} is up to date")
        return
    check_room(path)
    check_levels(selection, bundle.sample_rate)
    remove_unfit(folder, bundle)  # a recogniser would refuse it
    models = measure(folder, bundle, selection, lang)
    written = WordModels(
        checkpoint_sha256=bundle.checkpoint.sha256,
        lookahead_ms=bundle.lookahead_ms,
        clips=len(selection.utterances),
        made_from=made_from,
        searches=models,
    )
    written.write(path)
    for search, model in models.items():
        delays = f"{model.start_delay_s:.3f} s after their starts, {model.end_delay_s:.3f} s after their ends"
        print(f"words: {search}: decided {delays}")
    print(f"words: wrote {path} from {written.clips} clips in {time.perf_counter() - started:.0f} s")


def _made_from(bundle: Bundle, selection: Selection) -> str:
    lm, voice = bundle.language_model, bundle.voice_activity
    entries = [bundle.step(bundle.widest), *(bundle.rnnt or {}).values(), *((lm.model, lm.words) if lm else ()), voice]
    files = {entry.file: entry.sha256 for entry in entries if entry}
    sources = sources_hash(Path(__file__).parents[1] / name for name in SOURCES)
    data = [[data.sha256, data.clips] for data in selection.data]
    return hashlib.sha256(json.dumps([files, sources, data]).encode()).hexdigest()


def _is_current(path: Path, made_from: str) -> bool:
    try:
        return WordModels.read(path, "a bundle's word models", "`make words`").made_from == made_from
    except InputError:
        return False


def measure(folder: Path, bundle: Bundle, selection: Selection, lang: str) -> dict[Search, WordModel]:
    """Recognise the clips, with a progress bar, and return what is found of the words of each search of the bundle.

    Raises InputError for a bundle that is not whole, and for too few clips with speech, or words right or wrong.
    """
    heard: dict[Search, list[Heard]] = {}
    with closing(Ear(folder, bundle, lang)) as ear:
        for clip in ear.clips(selection):
            for search, found in clip.items():
                heard.setdefault(search, []).append(found)
    return {search: word_model(search, clips, bundle.encoder_frame_ms / 1e3) for search, clips in heard.items()}


def word_model(search: Search, clips: Sequence[Heard], frame_s: float) -> WordModel:
    """Return the model of a search's words in these clips; `frame_s`: length of an encoder frame.

    Raises InputError for too few clips with speech, or words right or wrong.
    """
    marked = [(clip.words, clip.speech) for clip in clips if clip.words and clip.speech]
    words = [each for clip in clips for each in zip(clip.words, clip.right, strict=True)]
    judged = [(word, right) for word, right in words if right is not None]
    right = sum(right for _, right in judged)
    if len(marked) < LEAST_CLIPS or min(right, len(judged) - right) < LEAST_WORDS:
        found = f"{len(marked)} clips, {right} right and {len(judged) - right} wrong"
        raise InputError(
            f"expected calibration speech in which {search} finds words in {LEAST_CLIPS} clips or more, {LEAST_WORDS} right ones and "
            f"{LEAST_WORDS} wrong ones, found {found}; add clips, or raise --minutes"
        )
    starts = [words[0].spelled.first * frame_s - speech.onset_s for words, speech in marked]
    ends = [words[-1].spelled.last * frame_s - speech.end_s for words, speech in marked]
    start_s, end_s = (round(float(np.median(delays)) + FROM_SILERO_S, 3) for delays in (starts, ends))
    weights, offset = _weights(judged)
    return WordModel(start_delay_s=start_s, end_delay_s=end_s, offset=offset, **weights._asdict())


def _weights(words: Sequence[tuple[Weighed, bool]]) -> tuple[Evidence, float]:
    """Weights and offset of a logistic regression. What never varies weighs nothing."""
    regression = imported("sklearn.linear_model", "scikit-learn", install("cpu")).LogisticRegression(C=1, max_iter=1000)
    evidence = np.array([word.evidence for word, _ in words], np.float64)  # [words, 5]
    varies = np.ptp(evidence, axis=0) > 0
    regression.fit(evidence[:, varies], [right for _, right in words])
    weights = np.zeros(len(varies))
    weights[varies] = regression.coef_[0]
    return Evidence(*np.round(weights, 3).tolist()), round(float(regression.intercept_[0]), 3)


if __name__ == "__main__":
    sys.exit(exit_code(lambda: run(parse_args(sys.argv[1:]))))
