"""The echo canceller against rooms that are known: delay, response, what is left of the echo, and what is told from it."""

import numpy as np
import pytest

from runtime.echo import EchoCanceller
from runtime.echo_path import BINS, BLOCK, PARTITIONS, EchoPath, Real, Spectrum, find_delay, spectrum_of
from runtime.vad import WINDOW_SAMPLES

RATE = 16_000
MARGIN_DB = 12.0


@pytest.fixture(scope="module")
def agent(sample: list[tuple[str, np.ndarray]]) -> np.ndarray:
    played: np.ndarray = np.concatenate([audio for _, audio in sample[2:6]])
    played *= 0.1 / np.sqrt(np.mean(played**2))
    return played


def room(delay: int, attenuation_db: float = 10) -> np.ndarray:
    """60 ms of noise that decays by 60 dB, after `delay` samples."""
    response = np.random.default_rng(delay).standard_normal(960) * 10 ** np.linspace(0, -3, 960)
    response *= 10 ** (-attenuation_db / 20) / np.sqrt(np.sum(response**2))
    return np.concatenate([np.zeros(delay), response])


def echo_of(played: np.ndarray, response: np.ndarray) -> np.ndarray:
    noise = 10**-3.5 * np.random.default_rng(1).standard_normal(len(played))
    return (np.convolve(played, response)[: len(played)] + noise).astype(np.float32)


def cancelled(canceller: EchoCanceller, heard: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What is left [n], and by how much each window is unexplained."""
    windows = heard[: len(heard) // WINDOW_SAMPLES * WINDOW_SAMPLES].reshape(-1, WINDOW_SAMPLES)
    left, unexplained = [], []
    for window in windows:
        left.append(canceller.push(window))
        unexplained.append(canceller.unexplained_db(1)[0])
    return np.concatenate(left), np.array(unexplained)


def decibels(numerator: np.ndarray, denominator: np.ndarray) -> float:
    return float(10 * np.log10(np.mean(np.square(numerator)) / np.mean(np.square(denominator))))


def together(unexplained: np.ndarray) -> int:
    """The most unexplained windows among five in a row: three of them, voiced, are an interruption."""
    return int(np.convolve(unexplained > MARGIN_DB, np.ones(5)).max())


@pytest.mark.parametrize("delay", [0, 320, 1_000, 2_345, 3_200])
def test_the_delay_is_found_in_half_a_second(agent: np.ndarray, delay: int) -> None:
    played = agent[4_000:12_000].astype(np.float64)
    found = find_delay(played, echo_of(played, room(delay)).astype(np.float64))
    print(f"delay {delay}: found {found}")
    assert delay - 300 <= found <= delay + 100  # the response's loudest 32 ms, or what comes before them and is quiet


def test_the_path_is_the_room() -> None:
    """Against the room itself, and against the least squares over all of it (numpy)."""
    rng = np.random.default_rng(0)
    played = rng.standard_normal(64 * BLOCK)
    taps = PARTITIONS * BLOCK
    response = np.pad(room(100), (0, taps - 1_060))
    heard = np.convolve(played, response)[: len(played)] + 0.01 * rng.standard_normal(len(played))
    path = EchoPath(1.0, np.full(BINS, float(BLOCK)))
    spectra: list[Spectrum] = [np.zeros(BINS, np.complex128)] * PARTITIONS
    older: Real = np.zeros(BLOCK)
    for at in range(0, len(played), BLOCK):
        spectra = [spectrum_of(older, played[at : at + BLOCK]), *spectra[:-1]]
        older = played[at : at + BLOCK]
        path.step(np.stack(spectra), heard[at : at + BLOCK], twice=True)
    followed = np.fft.irfft(path.response, axis=1)[:, :BLOCK].ravel()
    shifted = np.lib.stride_tricks.sliding_window_view(np.pad(played, (taps - 1, 0)), taps)[:, ::-1].copy()
    exact = np.linalg.solve(shifted.T @ shifted, shifted.T @ heard)
    print(
        f"misalignment {decibels(followed - response, response):.1f} dB; least squares {decibels(exact - response, response):.1f} dB"
    )
    assert decibels(followed - response, response) < -15
    assert decibels(followed - exact, response) < -15


@pytest.mark.parametrize("delay", [320, 1_600, 3_200])
@pytest.mark.parametrize("attenuation_db", [10, 30])
def test_the_echo_goes_and_is_explained(agent: np.ndarray, delay: int, attenuation_db: float) -> None:
    agent = agent[: 4 * RATE]
    heard = echo_of(agent, room(delay, attenuation_db))
    canceller = EchoCanceller()
    canceller.turn()
    canceller.play(agent)
    left, unexplained = cancelled(canceller, heard)
    after = slice(2 * RATE, len(left))
    gone = decibels(heard[after], left[after])
    print(f"delay {delay}, {attenuation_db} dB: {gone:.1f} dB gone, at most {unexplained.max():.1f} dB unexplained")
    assert gone > (
        15 if attenuation_db == 10 else 4
    )  # the microphone's noise is 25 dB below the echo of -30 dBFS, or 20 dB above none
    assert together(unexplained) < 3
    canceller.again()
    again = canceller.recent(RATE)
    assert decibels(again, left[-RATE:]) < 3.0  # of two seconds instead of four


def test_a_user_is_not_explained_and_not_subtracted(agent: np.ndarray, sample: list[tuple[str, np.ndarray]]) -> None:
    user = sample[0][1][4_000:20_000]
    user = (user * 10 ** (-32 / 20) / np.sqrt(np.mean(user**2))).astype(np.float32)
    start = RATE
    heard = echo_of(agent, room(800))
    heard[start : start + len(user)] += user
    canceller = EchoCanceller()
    canceller.turn()
    canceller.play(agent)
    left, unexplained = cancelled(canceller, heard[: start + len(user)])
    loud = np.array([decibels(user[at : at + 512], np.ones(1)) > -35 for at in range(0, len(user) - 511, 512)])
    found = unexplained[start // 512 :][: len(loud)][loud[: len(unexplained) - start // 512]]
    rest = left[start:] - user[: len(left) - start]
    canceller.again()
    again = canceller.recent(8_000) - user[: len(left) - start][-8_000:]
    print(
        f"unexplained {np.median(found):.1f} dB; rest {decibels(rest, user):.1f} dB, again {decibels(again, user):.1f} dB"
    )
    assert np.median(found) > MARGIN_DB
    assert decibels(rest, user) < -5
    assert decibels(again, user) < -5


def test_before_anything_is_known_the_bar_is_what_is_played() -> None:
    rng = np.random.default_rng(0)
    played = (0.1 * rng.standard_normal(4 * WINDOW_SAMPLES)).astype(np.float32)
    for level_db, over in ((0.0, False), (20.0, True)):
        canceller = EchoCanceller()
        canceller.turn()
        canceller.play(played)
        heard = (0.1 * 10 ** (level_db / 20) * rng.standard_normal(len(played))).astype(np.float32)
        left, unexplained = cancelled(canceller, heard)
        assert np.array_equal(left, heard)
        assert bool(unexplained[-1] > MARGIN_DB) is over


def test_what_is_not_played_explains_nothing_and_audio_stays_as_it_is(sample: list[tuple[str, np.ndarray]]) -> None:
    heard = sample[0][1][: 40 * WINDOW_SAMPLES]
    canceller = EchoCanceller()
    canceller.turn()
    left, unexplained = cancelled(canceller, heard)
    assert np.array_equal(left, heard)
    assert unexplained.max() > 20
    assert len(canceller.recent(8_000)) == 8_000
    assert np.array_equal(canceller.recent(8_000), heard[-8_000:])


def test_the_next_turn_knows_the_path(agent: np.ndarray) -> None:
    canceller, response = EchoCanceller(), room(800)
    gone = []
    for played in (agent[: 3 * RATE], agent[3 * RATE : 6 * RATE]):
        canceller.turn()
        canceller.play(played)
        heard = echo_of(played, response)
        left, unexplained = cancelled(canceller, heard)
        gone.append(decibels(heard[: RATE // 2], left[: RATE // 2]))
        assert together(unexplained) < 3
    print(f"{gone[0]:.1f} dB gone in the first turn's first half second, {gone[1]:.1f} dB in the second's")
    assert gone[1] > gone[0] + 8


def test_the_reference_is_in_step_with_a_microphone_that_is_amid_a_window(agent: np.ndarray) -> None:
    """What is played begins at the sample at which it is given, whatever of a window was heard before."""
    whole, amid = EchoCanceller(), EchoCanceller()
    heard = echo_of(agent[: 2 * RATE], room(320))
    for canceller, before in ((whole, 0), (amid, 200)):
        canceller.turn()
        canceller.push(np.zeros(before, np.float32))
        canceller.play(agent[: 2 * RATE])
    cleaned = []
    for canceller in (whole, amid):
        parts, rest = [], heard
        while len(rest) >= canceller.wanting:
            piece, rest = rest[: canceller.wanting], rest[canceller.wanting :]
            parts.append(canceller.push(piece))
        cleaned.append(np.concatenate(parts))
    later = cleaned[1][200:]
    assert decibels(later[16_000:31_000] - cleaned[0][16_000:31_000], cleaned[0][16_000:31_000]) < 5
    assert decibels(heard[16_000:31_000], later[16_000:31_000]) > 5


def test_what_is_cleaned_is_no_louder_than_full_scale(agent: np.ndarray) -> None:
    """An echo that grew and is clipped: what the filter learned while it was faint is too much by far."""
    played = np.concatenate([0.01 * agent, agent])[: 2 * len(agent)].astype(np.float32)
    heard = np.clip(30 * np.pad(played, (800, 0))[: len(played)], -1, 1)
    canceller = EchoCanceller()
    canceller.play(played)
    cleaned = [canceller.push(heard[start : start + 512]) for start in range(0, len(heard) - 511, 512)]
    loudest = max(float(np.abs(window).max(initial=0.0)) for window in cleaned)
    print(f"loudest: {loudest:.2f}")
    assert loudest <= 1.0
