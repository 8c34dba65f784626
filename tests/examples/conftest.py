"""What the tests of the examples share: the job's environment and a text of our own."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.examples import image


@pytest.fixture(scope="session")
def image_python() -> Path:
    """Interpreter of the main job's environment."""
    return image.interpreter()


@pytest.fixture(scope="session")
def arm_python() -> Path:
    """Interpreter of the robot arm's environment."""
    return image.interpreter(image.ARM)


@pytest.fixture(scope="session")
def small_text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with 120 short documents, a few thousand tokens in all."""
    folder = tmp_path_factory.mktemp("text")
    sentences = [
        "{n}番の関所では、旅人は手形を見せます。",
        "荷物が{n}個あれば、役人はすべてを帳面に書きます。",
        "峠を越える道は{n}里あり、雪の日には閉じます。",
    ]
    with (folder / "text.jsonl").open("w", encoding="utf-8") as file:
        for number in range(120):
            text = "\n".join(sentence.format(n=number * 7 % 41) for sentence in sentences)
            file.write(json.dumps({"name": f"page-{number}", "text": text}, ensure_ascii=False) + "\n")
    return folder
