"""What the robot arm's example decides without a simulator: which try an index is, what is read back, the picture."""

from __future__ import annotations

import itertools
import json
import math
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.examples import programs

plan = programs.load("plan", programs.ARM / "work")
failures = programs.load("failures", programs.ARM / "work")
curves = programs.load("curves", programs.ARM)
collect = programs.load("collect", programs.ARM)

SIZES = st.integers(1, plan.SIZE_MAX)
REWARDS = st.floats(0, 1)
LANGUAGES = re.compile(r"[ぁ-んァ-ヶ一-龯]"), re.compile(r"[a-z]{3}")


def refusal(error: type[Exception], call: Callable[[], Any]) -> str:
    """The code of the refusal that a call ends in."""
    with pytest.raises(error) as caught:
        call()
    return str(getattr(caught.value, "code", ""))


# ------------------------------------------------------------------------------------------------ which try it is
@given(st.data(), SIZES)
def test_each_index_tries_something_within_the_bounds(data: st.DataObject, size: int) -> None:
    index = data.draw(st.integers(0, size - 1))
    found = plan.tried(index, size)
    assert (found.index, found.size, found.seed) == (index, size, index)
    assert plan.RATE_MIN <= found.rate <= plan.RATE_MAX
    assert plan.NOISE_MIN <= found.noise <= plan.NOISE_MAX
    assert found.directions in plan.DIRECTIONS
    assert 1 <= found.best <= found.directions


@given(st.integers(0, 1000), st.integers(1001, plan.SIZE_MAX))
def test_a_larger_array_adds_tries_and_changes_none(index: int, size: int) -> None:
    one, other = plan.tried(index, index + 1), plan.tried(index, size)
    assert (one.rate, one.noise, one.directions) == (other.rate, other.noise, other.directions)


def test_tries_are_spread_over_their_range() -> None:
    tries = [plan.tried(index, 64) for index in range(64)]
    assert len({(one.rate, one.noise, one.directions) for one in tries}) == 64
    middle = math.sqrt(plan.RATE_MIN * plan.RATE_MAX)
    assert 28 <= sum(one.rate < middle for one in tries) <= 36
    assert {one.directions for one in tries} == set(plan.DIRECTIONS)


@given(st.integers(0, 10**6), st.sampled_from([2, 3, 5]))
def test_mirrored_digits_stay_below_one(number: int, base: int) -> None:
    assert 0 <= plan.spread(number, base) < 1


@pytest.mark.parametrize(("index", "size"), [(-1, 8), (8, 8), (0, 0), (9, 8), (0, plan.SIZE_MAX + 1)])
def test_an_index_outside_its_array_is_refused(index: int, size: int) -> None:
    assert refusal(failures.TrainError, lambda: plan.tried(index, size)) == "train.array.out_of_range"


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_place_is_read_from_the_environment(index: int, size: int) -> None:
    assert plan.place({plan.INDEX_VARIABLE: str(index), plan.SIZE_VARIABLE: str(size)}) == (index, size)


def test_outside_an_array_it_is_the_only_part() -> None:
    assert plan.place({"PATH": "/bin"}) == (0, 1)


@pytest.mark.parametrize(
    "text", ["", " 1", "1 ", "-1", "+1", "01", "1.0", "0x1", "１", "1e3", "9" * 8, "1\n"]
)
@pytest.mark.parametrize("name", [plan.INDEX_VARIABLE, plan.SIZE_VARIABLE])
def test_what_is_no_plain_number_is_refused(name: str, text: str) -> None:
    environment = {plan.INDEX_VARIABLE: "0", plan.SIZE_VARIABLE: "8", name: text}
    assert refusal(failures.TrainError, lambda: plan.place(environment)) == "train.array.malformed"


@pytest.mark.parametrize("name", [plan.INDEX_VARIABLE, plan.SIZE_VARIABLE])
def test_one_without_the_other_is_refused(name: str) -> None:
    assert refusal(failures.TrainError, lambda: plan.place({name: "0"})) == "train.array.incomplete"


@pytest.mark.parametrize(
    ("environment", "code"),
    [
        ({"SEKISHO_ARRAY_INDEX": "8", "SEKISHO_ARRAY_SIZE": "8"}, "train.array.out_of_range"),
        ({"SEKISHO_ARRAY_INDEX": "one", "SEKISHO_ARRAY_SIZE": "8"}, "train.array.malformed"),
        ({"SEKISHO_ARRAY_SIZE": "8"}, "train.array.incomplete"),
        ({"REACHES_TO_TRAIN": "0"}, ""),
        ({"REACHES_TO_TRAIN": "many"}, ""),
    ],
)
def test_the_program_refuses_before_it_needs_a_simulator(environment: dict[str, str], code: str) -> None:
    done = subprocess.run(
        [sys.executable, "-B", str(programs.ARM / "work" / "train.py")],
        env={"PATH": os.environ["PATH"]} | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    if code:
        assert json.loads(done.stdout)["code"] == code
    else:
        assert "--reaches" in done.stderr


# ------------------------------------------------------------------------------------------------ what is read back
def result(**changes: Any) -> dict[str, Any]:
    """A result as training writes it, as far as it is read."""
    held_out = {"held_out_reward": 0.5, "held_out_success": 0.9}
    common = {"untrained_reward": 0.04, "untrained_success": 0.0, "tolerance_mm": 1.0}
    return {"v": 1, "index": 3, **held_out, **common} | changes


def curve(**changes: Any) -> dict[str, Any]:
    """A curve as training writes it."""
    points = [{"reaches": 0, "reward": 0.04, "success": 0.0}, {"reaches": 64, "reward": 0.5, "success": 0.9}]
    return {"v": 1, "index": 3, "points": points} | changes


def written(folder: Path, **files: Any) -> Path:
    for name, value in files.items():
        (folder / f"{name}.json").write_text(value if isinstance(value, str) else json.dumps(value))
    return folder


def test_a_try_is_read_with_what_is_drawn_of_it(tmp_path: Path) -> None:
    found, common = collect.read_try(
        written(tmp_path, result=result(), curve=curve()), index=3, site="edge-hamamatsu"
    )
    assert found == curves.Curve(3, "edge-hamamatsu", 0.5, 0.9, [(0, 0.04), (64, 0.5)])
    assert common == {"untrained_reward": 0.04, "untrained_success": 0.0, "tolerance_mm": 1.0}


@pytest.mark.parametrize(
    "files",
    [
        {"result": "{", "curve": curve()},
        {"result": "[]", "curve": curve()},
        {"result": "[" * 100_000, "curve": curve()},
        {"result": '{"index": 3}' + " " * 1_000_000, "curve": curve()},
        {"result": result(held_out_reward=math.nan), "curve": curve()},
        {"result": result(held_out_reward=1.5), "curve": curve()},
        {"result": result(held_out_success=True), "curve": curve()},
        {"result": result(tolerance_mm="1"), "curve": curve()},
        {"result": result(tolerance_mm=math.inf), "curve": curve()},
        {"result": result(), "curve": curve(points=[])},
        {"result": result(), "curve": curve(points="many")},
        {"result": result(), "curve": curve(points=[1, 2])},
        {"result": result(), "curve": curve(points=[{"reaches": 0, "reward": 0.1}])},
        {"result": result(), "curve": curve(points=[{"reaches": n, "reward": 0.1} for n in (5, 4)])},
        {"result": result()},
    ],
)
def test_what_no_training_wrote_is_refused(tmp_path: Path, files: dict[str, Any]) -> None:
    folder = written(tmp_path, **files)
    code = refusal(collect.CollectError, lambda: collect.read_try(folder, index=3, site="s"))
    assert code == "collect.result.malformed"


@pytest.mark.parametrize("files", [{"result": result(index=4)}, {"curve": curve(index=4)}])
def test_the_result_of_another_index_is_refused(tmp_path: Path, files: dict[str, Any]) -> None:
    folder = written(tmp_path, **({"result": result(), "curve": curve()} | files))
    code = refusal(collect.CollectError, lambda: collect.read_try(folder, index=3, site="s"))
    assert code == "collect.result.other_index"


@given(st.lists(REWARDS, min_size=1, max_size=20))
def test_the_best_is_chosen_by_validation_and_of_equals_the_lowest_index(rewards: list[float]) -> None:
    drawn = [a_curve(index, reward)._replace(reward=1 - reward) for index, reward in enumerate(rewards)]
    tries = [collect.Try("j", "a", "d", one, {}) for one in drawn]
    assert collect.best_of(tries[::-1]).curve.index == rewards.index(max(rewards))


def test_an_earlier_collection_is_taken_and_anything_else_is_left_alone(tmp_path: Path) -> None:
    for name in collect.OWN_NAMES:
        (tmp_path / name).mkdir()
    collect.refuse_foreign(tmp_path)
    (tmp_path / "letter.txt").write_text("mine")
    code = refusal(collect.CollectError, lambda: collect.refuse_foreign(tmp_path))
    assert code == refusal(collect.CollectError, lambda: collect.refuse_foreign(tmp_path / "letter.txt"))
    assert code == "collect.out.not_empty"


# ------------------------------------------------------------------------------------------------ the picture
def a_curve(index: int, reward: float = 0.5, *, site: str = "edge-hamamatsu", reaches: int = 640) -> Any:
    return curves.Curve(index, site, reward, reward, [(0, 0.04), (reaches, reward)])


@given(st.floats(1e-3, 1e9))
def test_ticks_are_round_even_and_reach_the_largest_value(largest: float) -> None:
    found = curves.ticks(largest)
    assert found[0] == 0
    assert found[-1] >= largest * (1 - 1e-6)
    assert found[-2] < largest
    assert 3 <= len(found) <= curves.TICKS_WANTED + 2
    assert all(
        math.isclose(after - before, found[1], rel_tol=1e-4) for before, after in itertools.pairwise(found)
    )


@given(st.lists(st.floats(132, 516), min_size=1, max_size=16))
def test_labels_keep_their_order_and_their_distance(wanted: list[float]) -> None:
    found = curves.parted(wanted, gap=15.0, end=516)
    assert max(found) <= 516
    order = sorted(range(len(wanted)), key=lambda number: wanted[number])
    assert all(found[after] - found[before] >= 15 - 1e-6 for before, after in itertools.pairwise(order))


def test_labels_that_have_room_stay_where_they_are_wanted() -> None:
    assert curves.parted([300.0, 200.0], gap=15.0, end=516) == [300.0, 200.0]


def parsed(text: str) -> ElementTree.Element:
    """The picture as a reader of XML sees it."""
    return ElementTree.fromstring(text)  # noqa: S314 - our own text, drawn a line before


def test_the_picture_is_whole_and_says_what_it_shows_in_both_languages() -> None:
    tries = [a_curve(0), a_curve(1, 0.6, site="sakura-ishikari"), a_curve(2, 0.6)]
    text = curves.drawn(tries, best=1, untrained=0.04, tolerance_mm=1.0)
    root = parsed(text)
    words = ["".join(node.itertext()) for node in root.iter("{http://www.w3.org/2000/svg}text")]
    for language in LANGUAGES:
        assert sum(bool(language.search(word)) for word in words) >= 6
    shown = "\n".join(words)
    for expected in (
        "1 mm",
        "60.0%",
        "edge-hamamatsu",
        "sakura-ishikari",
        "#0",
        "#1",
        "#2",
        "0.04",
        "回",
        "無単位",
    ):
        assert expected in shown
    paths = [
        node for node in root.iter("{http://www.w3.org/2000/svg}path") if node.get("stroke") == curves.BEST
    ]
    assert [path.get("stroke-width") for path in paths] == ["3", "0.7"]
    assert paths[0].get("stroke-dasharray") is not None
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")


def test_a_hostile_name_of_a_site_stays_text() -> None:
    text = curves.drawn([a_curve(0, site="<script>&\"'")], best=0, untrained=0.04, tolerance_mm=1.0)
    assert "<script" not in text
    assert parsed(text) is not None


@given(st.lists(st.tuples(REWARDS, st.integers(1, 10**6)), min_size=1, max_size=12), REWARDS)
def test_nothing_is_drawn_outside_the_picture(ends: list[tuple[float, int]], untrained: float) -> None:
    tries = [a_curve(index, reward, reaches=reaches) for index, (reward, reaches) in enumerate(ends)]
    root = parsed(curves.drawn(tries, best=0, untrained=untrained, tolerance_mm=1.0))
    for node in root.iter("{http://www.w3.org/2000/svg}text"):
        assert 0 <= float(node.get("x", "-1")) <= curves.WIDTH
        assert 0 <= float(node.get("y", "-1")) <= curves.HEIGHT
