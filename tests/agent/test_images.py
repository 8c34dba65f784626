"""Images built for real: a package index on loopback with wheels made here, uv behind the wall."""

from __future__ import annotations

import shutil
from pathlib import Path

import msgspec
import pytest

from sekisho_agent import wheels
from sekisho_agent.engines.contract import Image
from sekisho_agent.engines.local import LocalEngine
from sekisho_agent.errors import ImageError
from tests.agent.engine_suite import finish, make_task
from tests.agent.packages import Index, make_engine, make_wheel, write_lock
from tests.agent.support import needs_bubblewrap

pytestmark = pytest.mark.wall


@pytest.fixture
def engine(image_engine: LocalEngine) -> LocalEngine:
    return image_engine


def test_an_image_is_built_used_and_built_again_alike(
    engine: LocalEngine, index: Index, tmp_path: Path
) -> None:
    _, digest = make_wheel(index.folder, "alpha", body="def say():\n    print('forty-two')\n")
    lock = write_lock(tmp_path, "# a comment", "alpha==1.0 \\", f"    --hash=sha256:{digest}")
    steps: list[str] = []
    image = engine.build_image(lock, steps.append)
    assert steps[0] == "resolving"
    assert steps[-1] == "done"
    assert image.digest.startswith("sha256:")
    for argv in (("alpha-say",), ("python", "-c", "import alpha; alpha.say()")):
        task = make_task(tmp_path, "", argv=argv, env={"PATH": "/image/bin:/usr/bin"})
        assert finish(engine, msgspec.structs.replace(task, image=image)).reason == "finished"
        assert engine.logs(task.attempt, 0, 1000) == b"forty-two\n"
    asked = len(index.asked)
    assert engine.build_image(lock, steps.append) == image, "the same lock is built once"
    assert len(index.asked) == asked
    shutil.rmtree(tmp_path / "state" / "images")
    (tmp_path / "state" / "images").mkdir()
    assert engine.build_image(lock, steps.append).digest == image.digest, "two builds have one digest"


def test_the_payload_cannot_change_its_image(engine: LocalEngine, index: Index, tmp_path: Path) -> None:
    _, digest = make_wheel(index.folder, "alpha")
    image = engine.build_image(write_lock(tmp_path, f"alpha==1.0 --hash=sha256:{digest}"), lambda _step: None)
    run = "touch /image/x /image/lib/x /image/bin/alpha-say; rm -f /image/bin/alpha-say; ls /image/bin/alpha-say"
    task = msgspec.structs.replace(make_task(tmp_path, run), image=image)
    finish(engine, task)
    assert b"/image/bin/alpha-say\n" in engine.logs(task.attempt, 0, 10_000)
    assert not (image.folder / "x").exists() if image.folder else False


@pytest.mark.parametrize(
    "line",
    [
        "alpha==1.0",
        "alpha>=1.0 --hash=sha256:" + "0" * 64,
        "alpha @ https://files.invalid/alpha.whl --hash=sha256:" + "0" * 64,
        "-r other.txt",
        "--index-url https://files.invalid/simple",
        "-e . --hash=sha256:" + "0" * 64,
    ],
)
def test_a_lock_that_locks_nothing_is_refused(tmp_path: Path, line: str) -> None:
    with pytest.raises(ImageError) as caught:
        wheels.locked_hashes(write_lock(tmp_path, line))
    assert caught.value.code == "image.lock"


def test_a_wheel_that_is_not_the_locked_one_is_refused(tmp_path: Path, index: Index) -> None:
    needs_bubblewrap()
    make_wheel(index.folder, "alpha")
    engine = make_engine(tmp_path / "state", index)
    with pytest.raises(ImageError) as caught:
        engine.build_image(write_lock(tmp_path, "alpha==1.0 --hash=sha256:" + "0" * 64), lambda _step: None)
    assert caught.value.code in {"image.resolve_failed", "image.build_failed"}
    engine.close()
    assert not [path for path in (tmp_path / "state" / "images").iterdir() if not path.name.startswith(".")]


def test_a_host_that_the_operator_does_not_list_is_refused(tmp_path: Path, index: Index) -> None:
    needs_bubblewrap()
    _, digest = make_wheel(index.folder, "alpha")
    engine = make_engine(tmp_path / "state", index, registry_hosts=["packages.invalid:443"])
    with pytest.raises(ImageError) as caught:
        engine.build_image(write_lock(tmp_path, f"alpha==1.0 --hash=sha256:{digest}"), lambda _step: None)
    assert caught.value.code == "image.host_not_listed"
    engine.close()


def test_a_package_cannot_replace_the_interpreter(tmp_path: Path, index: Index) -> None:
    """A wheel may bring any script; the wall takes no image whose bin/python is not a link to the host's."""
    needs_bubblewrap()
    engine = make_engine(tmp_path / "state", index)
    folder = tmp_path / "image"
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").write_text("#!/bin/sh\necho taken\n")
    task = msgspec.structs.replace(
        make_task(tmp_path, "true"), image=Image(name="bad", digest="", folder=folder)
    )
    with pytest.raises(ImageError) as caught:
        engine.submit(task)
    assert caught.value.code == "image.no_interpreter"
    engine.close()


@pytest.mark.parametrize("name", ["", "unknown", "sha256:", "sha256:../../etc", "sha256:" + "0" * 64, "/etc"])
def test_names_that_are_no_image(tmp_path: Path, index: Index, name: str) -> None:
    engine = make_engine(tmp_path / "state", index)
    with pytest.raises(ImageError) as caught:
        engine.find_image(name)
    assert caught.value.code == "image.unknown"
    engine.close()
