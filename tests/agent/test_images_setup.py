"""`setup`: a job's commands extend an image behind a wall of their own, for real, with packages from loopback."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from sekisho_agent import listeners
from sekisho_agent.builds import index_variables
from sekisho_agent.engines.contract import Image, Setup
from sekisho_agent.engines.local import LocalEngine
from sekisho_agent.errors import AttemptStoppedError, ImageError
from tests.agent.engine_suite import finish, make_task
from tests.agent.packages import Index, make_engine, make_wheel, needs_builds, write_lock
from tests.agent.support import processes_with

pytestmark = pytest.mark.wall


@pytest.fixture
def engine(image_engine: LocalEngine) -> LocalEngine:
    return image_engine


@pytest.fixture(scope="module")
def lone_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalEngine]:
    """An engine for setups that need no package."""
    needs_builds()
    folder = tmp_path_factory.mktemp("lone")
    with pytest.MonkeyPatch.context() as patch, closing(Index(folder)) as nothing:
        patch.setattr(listeners, "host_address", lambda: None)
        running = make_engine(folder / "state", nothing)
        yield running
        running.close()


@pytest.fixture(scope="module")
def lone_base(lone_engine: LocalEngine) -> Image:
    return lone_engine.extend_image(lone_engine.find_image("system"), Setup(text="true"), lambda _step: None)


def quiet(_step: str) -> None:
    """Progress that nobody watches."""


def base_image(engine: LocalEngine, index: Index, tmp_path: Path) -> Image:
    _, digest = make_wheel(index.folder, "alpha", body="def say():\n    print('forty-two')\n")
    return engine.build_image(write_lock(tmp_path, f"alpha==1.0 --hash=sha256:{digest}"), quiet)


def said(engine: LocalEngine, tmp_path: Path, image: Image, *argv: str) -> bytes:
    """What a program says that runs on an image; it must end well."""
    task = make_task(tmp_path, "", argv=argv, env={"PATH": "/image/bin:/usr/bin"})
    end = finish(engine, msgspec.structs.replace(task, image=image))
    output = engine.logs(task.attempt, 0, 10_000)
    assert end.reason == "finished", output
    return output


def failure(engine: LocalEngine, base: Image, setup: Setup) -> ImageError:
    with pytest.raises(ImageError) as caught:
        engine.extend_image(base, setup, quiet)
    return caught.value


def test_setup_installs_what_the_payload_then_runs(engine: LocalEngine, index: Index, tmp_path: Path) -> None:
    base = base_image(engine, index, tmp_path)
    make_wheel(index.folder, "beta", body="def say():\n    import alpha; alpha.say()\n")
    text = "pip install beta\nbeta-say\necho made > /image/note\nln -s note /image/link\n"
    steps: list[str] = []
    image = engine.extend_image(base, Setup(text=text), steps.append)
    assert steps[-1] == "done"
    assert image.digest not in {"", base.digest}
    assert said(engine, tmp_path, image, "beta-say") == b"forty-two\n"
    assert said(engine, tmp_path, image, "python", "-c", "import beta; beta.say()") == b"forty-two\n"
    assert said(engine, tmp_path, image, "cat", "/image/link") == b"made\n"
    assert said(engine, tmp_path, image, "sh", "-c", "touch /image/x 2>&1 || true") != b""
    assert base.folder is not None
    assert not list(base.folder.rglob("beta*")), "the base is as it was"
    assert engine.find_image(image.digest).folder == image.folder


def test_the_same_setup_is_run_once_and_another_text_again(
    engine: LocalEngine, index: Index, tmp_path: Path
) -> None:
    base = base_image(engine, index, tmp_path)
    make_wheel(index.folder, "beta")
    first = engine.extend_image(base, Setup(text="uv pip install beta"), quiet)
    asked = len(index.asked)
    steps: list[str] = []
    assert engine.extend_image(base, Setup(text="uv pip install beta"), steps.append) == first
    assert (len(index.asked), steps) == (asked, [])
    changed = engine.extend_image(base, Setup(text="uv pip install beta # again"), quiet)
    assert len(index.asked) > asked
    assert changed.digest != first.digest
    shutil.rmtree(tmp_path / "state" / "images")
    (tmp_path / "state" / "images").mkdir()
    again = engine.build_image(tmp_path / "image.lock", quiet)
    assert engine.extend_image(again, Setup(text="uv pip install beta"), quiet).digest == first.digest


def test_two_attempts_with_one_setup_make_one_build(
    engine: LocalEngine, index: Index, tmp_path: Path
) -> None:
    base = base_image(engine, index, tmp_path)
    setup = Setup(text="sleep 0.5; head -c 16 /dev/urandom > /image/random")
    with ThreadPoolExecutor(2) as pool:
        attempts = [pool.submit(engine.extend_image, base, setup, quiet) for _ in range(2)]
    assert attempts[0].result() == attempts[1].result()


def test_setup_without_an_image_begins_with_an_empty_one(
    tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_builds()
    monkeypatch.setattr(listeners, "host_address", lambda: None)
    make_wheel(index.folder, "beta", body="def say():\n    print('here')\n")
    engine = make_engine(tmp_path / "state", index, registry_hosts=[index.host])
    image = engine.extend_image(engine.find_image("system"), Setup(text="pip install beta"), quiet)
    assert said(engine, tmp_path, image, "beta-say") == b"here\n"
    engine.close()


def test_setup_sees_a_workdir_that_it_may_and_nothing_else(
    engine: LocalEngine, index: Index, tmp_path: Path
) -> None:
    base = base_image(engine, index, tmp_path)
    workdir = tmp_path / "workdir"
    workdir.mkdir()
    (workdir / "settings").write_text("one\n")
    look = "pwd; ls -d /work /data /ckpt /out 2>&1 || true; ls -A /run /run/secrets; env | sort; cat /proc/net/dev"
    text = f"({look}) > /image/seen; touch /work/new 2>/dev/null || cp /work/settings /image/settings"
    setup = Setup(text=text, workdir=workdir, workdir_digest="sha256:" + "1" * 64)
    image = engine.extend_image(base, setup, quiet)
    assert said(engine, tmp_path, image, "cat", "/image/settings") == b"one\n", "the workdir is read-only"
    seen = said(engine, tmp_path, image, "cat", "/image/seen").decode()
    assert seen.startswith("/work\n")
    assert "/data: No such file" in seen.replace("'", "").replace("cannot access ", "")
    assert "SEKISHO" not in seen
    assert "eth0" not in seen
    (workdir / "settings").write_text("two\n")
    other = engine.extend_image(
        base, Setup(text=text, workdir=workdir, workdir_digest="sha256:" + "2" * 64), quiet
    )
    assert other.digest != image.digest
    alone = engine.extend_image(base, Setup(text="! ls /work; pwd > /image/pwd"), quiet)
    assert said(engine, tmp_path, alone, "cat", "/image/pwd") == b"/home\n"


def test_setup_reaches_only_listed_hosts(
    tmp_path: Path, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs_builds()
    monkeypatch.setattr(listeners, "host_address", lambda: None)
    engine = make_engine(tmp_path / "state", index)
    base = base_image(engine, index, tmp_path)
    make_wheel(index.folder, "beta")
    with closing(Index(index.folder)) as other:
        fault = failure(engine, base, Setup(text=f"pip install --index-url http://{other.host}/simple beta"))
        assert fault.code == "image.setup_failed"
        assert "403" in fault.detail
        assert other.asked == []
        direct = f"unset HTTP_PROXY http_proxy; pip install --index-url http://{other.host}/simple beta"
        assert failure(engine, base, Setup(text=direct)).code == "image.setup_failed"
        assert other.asked == []
    engine.close()
    asked = len(index.asked)
    alone = make_engine(tmp_path / "alone", index)
    fault = failure(alone, alone.find_image("system"), Setup(text="pip install beta"))
    assert fault.code == "image.setup_failed"
    assert len(index.asked) == asked, "no list and no wheels: no way out"
    alone.close()


def test_a_failing_setup_is_reported_with_what_it_said(
    engine: LocalEngine, index: Index, tmp_path: Path
) -> None:
    base = base_image(engine, index, tmp_path)
    text = "seq 100000\necho the end is near >&2\nfalse\necho never > /image/never"
    fault = failure(engine, base, Setup(text=text))
    assert fault.code == "image.setup_failed"
    assert "the end is near" in fault.detail
    assert len(fault.detail) < 4000, "it fits into the report of an attempt"
    assert not [
        path for path in (tmp_path / "state" / "images").iterdir() if path.name.startswith((".", "setup"))
    ]
    assert "unset: parameter not set" in failure(engine, base, Setup(text="echo $unset")).detail


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("ln -sf /usr/bin/env /image/bin/python", "image.interpreter_changed"),
        ("rm /image/bin/python3", "image.interpreter_changed"),
        ("echo home = /tmp > /image/pyvenv.cfg", "image.interpreter_changed"),
        ("echo exit >> /image/bin/activate", "image.interpreter_changed"),
        ("echo exit > /image/bin/activate.sh", "image.interpreter_changed"),
        ("mv /image/bin /image/nib; ln -s nib /image/bin", "image.interpreter_changed"),
        ("ln -s /etc/passwd /image/accounts", "image.link"),
        ("ln -s ../../../../../../etc /image/lib/etc", "image.link"),
        ("mkdir /image/d; ln -s .. /image/d/up; ln -s d/up/../../etc /image/out", "image.link"),
        ("mkfifo /image/pipe", "image.file"),
        ("rm /image/pyvenv.cfg; mkfifo /image/pyvenv.cfg", "image.file"),
        ("touch $(printf '/image/\\377')", "image.file_name"),
        ("rm -r /image/lib /image/bin /image/*.cfg", "image.interpreter_changed"),
        ("exec sleep 100 & kill -9 $$", "image.setup_failed"),
        ("cd /image; for n in $(seq 1000); do mkdir d && cd d; done", "image.too_deep"),
    ],
)
def test_what_setup_may_not_leave(lone_engine: LocalEngine, lone_base: Image, text: str, code: str) -> None:
    assert failure(lone_engine, lone_base, Setup(text=text)).code == code
    shelf = lone_base.folder.parent if lone_base.folder else Path()
    assert not list(shelf.glob(".build-*"))


def test_what_setup_may_leave(lone_engine: LocalEngine, lone_base: Image, tmp_path: Path) -> None:
    text = "x=d; for n in 1 2 3 4 5 6; do x=$x/$x; done; mkdir -p /image/$x; ln -s ../$x /image/d/deep; :"
    image = lone_engine.extend_image(lone_base, Setup(text=text), quiet)
    assert said(lone_engine, tmp_path, image, "readlink", "-e", "/image/d/deep").startswith(b"/image/d/d/")


def test_files_of_a_setup_belong_to_the_agent_and_are_plain(
    engine: LocalEngine, index: Index, tmp_path: Path
) -> None:
    base = base_image(engine, index, tmp_path)
    text = (
        "umask 077; mkdir /image/deep; echo 1 > /image/deep/file; cp /usr/bin/true /image/suid; chmod 4755 /image/suid;"
        " mkdir /image/lib/__pycache__; touch /image/lib/__pycache__/x.pyc; chmod 0 /image/deep"
    )
    image = engine.extend_image(base, Setup(text=text), quiet)
    assert image.folder is not None
    found = {
        name: (image.folder / name).lstat()
        for name in (".", "deep", "deep/file", "suid", "lib", "bin/alpha-say")
    }
    assert {status.st_uid for status in found.values()} == {os.geteuid()}
    assert [oct(status.st_mode & 0o7777) for status in found.values()] == [
        "0o755",
        "0o755",
        "0o644",
        "0o755",
        "0o755",
        "0o755",
    ]
    assert not list(image.folder.rglob("__pycache__"))
    assert said(engine, tmp_path, image, "cat", "/image/deep/file") == b"1\n"


def test_a_setup_whose_attempt_stops_is_ended(engine: LocalEngine, index: Index, tmp_path: Path) -> None:
    base = base_image(engine, index, tmp_path)

    def stop(step: str) -> None:
        if step.startswith("unpacked"):
            raise AttemptStoppedError("job.cancelled", "ended before the payload ran")

    begun = time.monotonic()
    with pytest.raises(AttemptStoppedError):
        engine.extend_image(base, Setup(text="echo setup-that-sleeps; sleep 86399"), stop)
    assert time.monotonic() - begun < 30
    assert not processes_with("86399")
    assert not list((tmp_path / "state" / "images").glob(".build-*"))
    assert engine.capacity().attempts == 4


def test_a_build_that_was_killed_is_swept_away(tmp_path: Path, index: Index) -> None:
    left = tmp_path / "state" / "images" / ".build-abc"
    (left / "image" / "bin").mkdir(parents=True)
    make_engine(tmp_path / "state", index).close()
    assert not left.exists()


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--index-url", "https://index.invalid/simple"], "https://index.invalid/simple"),
        (["--default-index=https://index.invalid/simple"], "https://index.invalid/simple"),
        (["--index-url", "https://user:word@index.invalid/simple"], None),
        (["--index-url", "https://word@index.invalid/simple"], None),
        (["--index-url", "https://index.invalid/simple?token=word"], None),
        (["--index-url", "https://[index"], None),
        (["--index-url"], None),
        (["--no-index"], None),
        ([], None),
    ],
)
def test_only_an_index_without_a_password_is_told_to_setup(
    monkeypatch: pytest.MonkeyPatch, arguments: list[str], expected: str | None
) -> None:
    for name in ("UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"):
        monkeypatch.delenv(name, raising=False)
    assert index_variables(arguments).get("UV_INDEX_URL") == expected
