"""Profiles of the step over many streams: sizes as they are written, a profile for each number, a plan for Turing."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

from engines.__main__ import parse_args, run
from engines.build import SOURCES, BuildOptions, PlanBuild
from engines.profiles import add_profiles
from engines.target import turing_without_gpu
from runtime.backends.sizes import SIZES, captured_sizes, profile_for, sizes_of
from runtime.errors import InputError
from runtime.files import sources_hash
from runtime.stamp import read_stamp


@pytest.mark.parametrize(
    ("text", "sizes"), [(SIZES, (1, 4, 16, 64, 256)), ("1", (1,)), ("32", (32,)), ("2,3", (2, 3)), ("8,64", (8, 64))]
)
def test_sizes(text: str, sizes: tuple[int, ...]) -> None:
    assert sizes_of(text) == sizes


@pytest.mark.parametrize("text", ["", "0", "-1", "4,4", "4,1", "1,,2", "1, 2", "one", "1.5", "²", "1,2,"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(InputError, match="--batch: expected numbers of streams that rise") as raised:
        sizes_of(text)
    assert "\n" not in str(raised.value)


class Builder:
    """What TensorRT's builder and its configuration have for profiles."""

    def __init__(self) -> None:
        self.profiles: list[dict[str, list[tuple[int, ...]]]] = []
        self.features: dict[str, bool] = {}
        self.told: list[str] = []

    def set_preview_feature(self, feature: str, on: bool) -> None:
        self.features[feature] = on
        self.told.append(feature)

    def get_preview_feature(self, feature: str) -> bool:
        return self.features.get(feature, False)

    def create_optimization_profile(self) -> SimpleNamespace:
        made: dict[str, list[tuple[int, ...]]] = {}
        return SimpleNamespace(set_shape=lambda name, *shapes: made.update({name: list(shapes)}), made=made)

    def add_optimization_profile(self, profile: SimpleNamespace) -> int:
        self.profiles.append(profile.made)
        return len(self.profiles) - 1


@pytest.mark.parametrize(
    ("sizes", "bounds"),
    [((1, 4, 16), [(1, 1), (2, 4), (5, 16)]), ((64,), [(1, 64)]), ((8, 9), [(1, 8), (9, 9)]), ((), [])],
)
def test_every_number_of_streams_has_one_profile(sizes: tuple[int, ...], bounds: list[tuple[int, int]]) -> None:
    inputs = [SimpleNamespace(name="valid", shape=(-1,)), SimpleNamespace(name="kv_cache", shape=(-1, 70, 4))]
    network = SimpleNamespace(num_inputs=len(inputs), get_input=inputs.__getitem__)
    builder, trt = Builder(), SimpleNamespace(PreviewFeature=SimpleNamespace())
    add_profiles(trt, builder, builder, network, sizes)
    assert builder.told == []
    assert builder.profiles == [
        {"valid": [(least,), (most,), (most,)], "kv_cache": [(least, 70, 4), (most, 70, 4), (most, 70, 4)]}
        for least, most in bounds
    ]
    for index, (least, most) in enumerate(bounds):
        assert {profile_for(sizes, streams) for streams in range(least, most + 1)} == {index}


@pytest.mark.parametrize(("sizes", "shared", "told"), [((), False, []), ((4,), False, ["sharing"]), ((4,), True, [])])
def test_contexts_may_share_a_profile(sizes: tuple[int, ...], shared: bool, told: list[str]) -> None:
    """TensorRT 8.6 is told so; 10 has the name and does so anyway."""
    trt = SimpleNamespace(PreviewFeature=SimpleNamespace(PROFILE_SHARING_0806="sharing"))
    builder = Builder()
    builder.features["sharing"] = shared
    add_profiles(trt, builder, builder, SimpleNamespace(num_inputs=0), sizes)
    assert builder.told == told
    assert builder.features["sharing"] == (shared or bool(sizes))


@pytest.mark.parametrize(
    ("sizes", "most_streams", "captured"),
    [
        ((1, 4, 16, 64, 256), 256, [1, 4, 16, 64, 256]),
        ((1, 4, 16, 64, 256), 1000, [1, 4, 16, 64, 256]),
        ((1, 4, 16, 64, 256), 100, [1, 4, 16, 64, 100]),
        ((1, 4, 16, 64, 256), 64, [1, 4, 16, 64]),
        ((64,), 64, [1, 4, 16, 64]),
        ((1, 32), 1000, [1, 4, 16, 32]),
        ((8, 500), 300, [1, 4, 8, 16, 64, 256, 300]),
        ((64,), 1, [1]),
    ],
)
def test_what_a_runtime_captures(sizes: tuple[int, ...], most_streams: int, captured: list[int]) -> None:
    assert captured_sizes(sizes, most_streams) == captured
    assert all(profile_for(sizes, size) in range(len(sizes)) for size in captured)


def test_more_streams_than_the_plan_has() -> None:
    with pytest.raises(
        InputError, match=r"expected at most 16 streams for this plan, found 17; .* --batch 17"
    ) as raised:
        profile_for((1, 16), 17)
    assert "\n" not in str(raised.value)


@pytest.mark.own_process
def test_turing_compiles_the_step_over_many_streams(
    batched_bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx-cu13 of requirements/dev.txt is not installed")
    monkeypatch.setattr("engines.build.TIMING", tmp_path / "timing")
    folder = Path(shutil.copytree(batched_bundle, tmp_path / "bundle", ignore=shutil.ignore_patterns("plans")))
    target, sizes = turing_without_gpu("fp16"), (1, 32)
    build = PlanBuild(folder, "fp16", target, BuildOptions(level=0), "batched", sizes=sizes)
    build.run()
    assert build.plan == folder / "plans" / "batched.fp16.sm75.plan"
    parameters = build.entry.parameters
    print(f"{build.plan.stat().st_size / 1e6:.0f} MB of plan for {parameters / 1e6:.0f} M numbers and sizes {sizes}")
    assert build.plan.stat().st_size > 1.5 * parameters, "the weights are in it"
    options = read_stamp(build.plan).options
    assert (options["sizes"], options["products"]) == ("1,32", "matrix")
    assert options["sources"] != sources_hash(SOURCES), "those of the profiles are in it too"
    same, other = (
        PlanBuild(folder, "fp16", target, BuildOptions(level=0), "batched", sizes=each) for each in (sizes, (1, 64))
    )
    assert same.is_current()
    assert not other.is_current()
    step = PlanBuild(folder, "fp16", target, BuildOptions(level=0))
    assert "sizes" not in step.recorded
    assert step.recorded["sources"] == sources_hash(SOURCES), "plans of the step alone are as they were"

    arguments = ["--bundle", str(folder), "--precision", "fp16", "--for", "sm75", "--level", "0"]
    built: list[PlanBuild] = []

    def note(build: PlanBuild) -> bool:
        built.append(build)
        return True

    monkeypatch.setattr(PlanBuild, "is_current", note)
    for more, graphs in (([], ["step"]), (["--batch"], ["step", "batched"]), (["--batch", "8"], ["step", "batched"])):
        built.clear()
        run(parse_args([*arguments, *more]))
        assert [each.plan.name.partition(".")[0] for each in built] == graphs
    assert built[-1].sizes == (8,)
    assert built[-1].options.products == "matrix"
    assert "up to date" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("precision", "message"),
    [
        ("fp16", "found none; make the bundle again with `make export BATCH=1`"),
        ("int8", "make it with `make calibrate`"),
    ],
)
def test_a_bundle_without_it_is_refused_before_anything_is_built(
    manifest_of_one: Path, precision: str, message: str
) -> None:
    pytest.importorskip("tensorrt_rtx", reason="tensorrt-rtx-cu13 of requirements/dev.txt is not installed")
    with pytest.raises(InputError, match="expected") as raised:
        run(parse_args(["--bundle", str(manifest_of_one), "--precision", precision, "--for", "sm75", "--batch"]))
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)
