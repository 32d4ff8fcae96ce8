"""The sensitivity search on a toy whose 8 bits are exact, but for one product made to clip; the fall-back list against brute force."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from calibration.compare import StepError, cosines, hear, step_error
from calibration.sensitivity import CHANGED, Kept, Probe, fall_back, harm, kinds, layers, weights_by_product
from export.placement import quantised_products
from runtime.bundle import read_bundle

EXACT = 127.0  # threshold of whole numbers: one level is 1
SENSITIVE = "layer1/conv.in"
CLIPPED = 2.2  # its threshold: whole numbers beyond 2 become 2, once the next product has rounded them


@pytest.fixture
def clips() -> list[np.ndarray]:
    """Impulses, so that the toy's first sums are small whole numbers."""
    rng = np.random.default_rng(3)
    made = []
    for length in (7000, 11_000, 4000):
        clip = np.zeros(length, np.float32)
        clip[rng.choice(length, length // 600, replace=False)] = rng.choice([-1.0, 1.0, 2.0], length // 600)
        made.append(clip)
    return made


@pytest.fixture
def probe(toy: Path, model: onnx.ModelProto, clips: list[np.ndarray]) -> Probe:
    return Probe(toy, model, clips)


@pytest.fixture
def amax(model: onnx.ModelProto) -> dict[str, float]:
    return dict.fromkeys(quantised_products(model), EXACT) | {SENSITIVE: CLIPPED}


def test_groups_share_out_the_products_twice(probe: Probe) -> None:
    for groups, size in ((kinds(probe.products), 2), (layers(probe.products), 8)):
        assert {len(each) for each in groups.values()} == {size}
        assert sorted(name for each in groups.values() for name in each) == sorted(probe.products)
    assert kinds(probe.products)["*/conv.in"] == ["layer0/conv.in", "layer1/conv.in"]
    assert layers(probe.products)["layer1/*"][0] == "layer1/ffn1.in"


def test_the_one_sensitive_product_is_found_and_kept(
    probe: Probe, model: onnx.ModelProto, amax: dict[str, float]
) -> None:
    groups = kinds(probe.products) | layers(probe.products)
    alone = dict(probe.alone(amax, groups))
    for name, error in alone.items():
        print(name, error)
    assert len(alone) == len(groups) == 10
    guilty = {name for name, error in alone.items() if error.rms > 1e-2}
    assert guilty == {"*/conv.in", "layer1/*"}
    harms = harm(alone, probe.products)
    assert max(harms, key=lambda each: harms[each]) == SENSITIVE
    weights = weights_by_product(model)
    assert set(weights.values()) == {16}
    found = list(fall_back(harms, weights, lambda kept: probe.error(probe.hear(amax, kept))))
    assert [each.products for each in found] == [(), (SENSITIVE,)]
    assert found[0].error.changed > CHANGED
    assert (found[1].error.changed, found[1].weights) == (0.0, 1 / 16)
    assert found[1].error.rms < 1e-5


def test_what_clipping_costs_against_numpy(
    probe: Probe, model: onnx.ModelProto, amax: dict[str, float], weights: dict[str, np.ndarray]
) -> None:
    """The toy's layers from the tensor that the clipped product reads, on numpy."""
    constants = {each.name: numpy_helper.to_array(each) for each in model.graph.initializer}
    data = quantised_products(model)[SENSITIVE]
    heard = hear(probe.folder, model, probe.clips, [data])
    x = np.clip(heard.frames[data].astype(np.float64), -2, 2)
    for name in probe.products[probe.products.index(SENSITIVE) :]:
        x = x @ constants[f"{name}.weight"] + weights[f"{name}.bias"]
    expected = x - np.log(np.exp(x - x.max(1, keepdims=True)).sum(1, keepdims=True)) - x.max(1, keepdims=True)
    found = probe.hear(amax).frames["log_probs"]
    worst = float(np.abs(found - expected).max())
    print(
        f"{len(found)} frames within {worst:.1e}; clipped {np.mean(np.abs(heard.frames[data]) > CLIPPED):.0%} of the values"
    )
    assert worst < 1e-4
    assert probe.error(probe.hear(amax)).rms == pytest.approx(
        float(np.sqrt(np.mean((expected - probe.fp32.frames["log_probs"]) ** 2))), rel=1e-4
    )


def test_frames_are_those_of_the_audio(bundle: Path) -> None:
    """As many as NeMo counts, clip by clip: what a flush computes beyond is no frame."""
    contract = read_bundle(bundle)
    lengths = [1480, 2600, 4040, 5000, 16_000]  # the second one's last frame lies in the look-ahead
    step = onnx.load(bundle / "step.fp32.onnx")
    heard = hear(bundle, step, [np.zeros(length, np.float32) for length in lengths])
    expected = sum(contract.encoder_frames(length) for length in lengths)
    assert {len(each) for each in heard.frames.values()} == {expected}
    assert heard.texts == ("",) * len(lengths)


@pytest.mark.parametrize(
    ("harms", "weights", "bound", "expected"),
    [
        pytest.param([0.0, 0.0], [1, 1], 0.01, [0], id="nothing to do"),
        pytest.param([1.0, 9.0], [1, 1], 0.11, [0, 1], id="the worst one is enough"),
        pytest.param([1.0, 9.0], [1, 100], 0.31, [0, 1], id="the cheap one first"),
        pytest.param([4.0, 3.0, 2.0, 1.0], [1] * 4, 0.18, [0, 2], id="two at once by forecast"),
        pytest.param([4.0, 3.0, 2.0, 1.0], [1] * 4, 0.0, [0, 4], id="everything"),
    ],
)
def test_fall_back_lists(harms: Sequence[float], weights: Sequence[int], bound: float, expected: list[int]) -> None:
    """With a measure that goes as the forecast says: a tenth of the root of what is left."""
    names = [f"layer0/{index}" for index in range(len(harms))]
    harm_of, weight_of = dict(zip(names, harms, strict=True)), dict(zip(names, weights, strict=True))

    def measure(kept: Sequence[str]) -> StepError:
        left = sum(harm_of[each] for each in names if each not in kept)
        return StepError(left**0.5, 0.1 * left**0.5)

    found: list[Kept] = list(fall_back(harm_of, weight_of, measure, bound))
    print([(len(each.products), each.error.changed) for each in found])
    assert [len(each.products) for each in found] == expected
    assert found[-1].error.changed <= bound
    for each in found:
        assert each.weights == pytest.approx(sum(weight_of[name] for name in each.products) / sum(weights))
    by_cost = sorted(names, key=lambda each: -harm_of[each] / weight_of[each])
    assert list(found[-1].products) == by_cost[: len(found[-1].products)]


def test_a_forecast_that_misses_goes_on_one_by_one() -> None:
    """A measure that does not fall: every product is kept in the end, and it ends."""
    harms = {f"layer0/{index}": 1.0 for index in range(5)}
    found = list(fall_back(harms, dict.fromkeys(harms, 1), lambda _: StepError(1.0, 0.02), 0.0199))
    assert [len(each.products) for each in found] == [0, 1, 2, 3, 4, 5]


def test_harm_adds_up_to_the_kinds() -> None:
    products = [f"layer{layer}/{kind.split('/')[1]}" for layer in range(3) for kind in kinds(["a/b"])]
    rng = np.random.default_rng(0)
    alone = {name: StepError(float(rng.random()), 0.0) for name in [*kinds(products), *layers(products)]}
    found = harm(alone, products)
    for name, members in kinds(products).items():
        assert sum(found[each] for each in members) == pytest.approx(alone[name].rms ** 2)
    assert set(harm(dict.fromkeys(alone, StepError(0.0, 0.0)), products).values()) == {0.0}


def test_measures_against_numpy() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.standard_normal((2, 50, 7)).astype(np.float32)
    error = step_error(a, b)
    assert error.rms == pytest.approx(float(np.sqrt(np.mean((a - b) ** 2))), rel=1e-5)
    assert error.changed == np.mean([x.argmax() != y.argmax() for x, y in zip(a, b, strict=True)])
    expected = [np.dot(x, y) / np.linalg.norm(x) / np.linalg.norm(y) for x, y in zip(a, b, strict=True)]
    assert cosines(a, b) == pytest.approx(expected, abs=1e-6)
    zeros = np.zeros((1, 7), np.float32)
    assert [*cosines(zeros, zeros), *cosines(zeros, a[:1])] == [1.0, 0.0]
