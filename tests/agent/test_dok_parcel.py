"""What comes back from a container is a stranger's: whatever it is, only plain files under plain names are written."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from sekisho_agent.engines import dok_parcel
from sekisho_agent.engines.contract import Task
from sekisho_agent.engines.dok_bootstrap import LOG, OUTPUTS, TOLD, TOLD_BYTES_MAX, Told, read_told
from sekisho_agent.errors import EngineError
from sekisho_agent.wall import Mount
from tests.agent.engine_suite import make_task
from tests.support.dok_container import packed

TOLD_TEXT = b"status=0\nbegan=10.50\nended=12.75\npacked=0\nlog_bytes=4\n0m0.00s 0m0.01s\n1m0.50s 0m1.25s\n"
Changes = Callable[[tarfile.TarFile], None]


def left(outputs: bytes, *, told: bytes = TOLD_TEXT, prefix: str = "artifact/") -> bytes:
    """An artefact such as the bootstrap leaves, around these outputs."""
    return packed({f"{prefix}{TOLD}": told, f"{prefix}{LOG}": b"log\n", f"{prefix}{OUTPUTS}": outputs})


def unpack(task: Task, archive: bytes) -> dok_parcel.Returned:
    scratch = task.folder / "scratch"
    scratch.mkdir()
    path = scratch / "artefact.tar.gz"
    path.write_bytes(archive)
    return dok_parcel.unpack(path, task, scratch)


def entry(name: str, kind: bytes = tarfile.REGTYPE, *, target: str = "", size_bytes: int = 0) -> Changes:
    def add(archive: tarfile.TarFile) -> None:
        made = tarfile.TarInfo(name)
        made.type, made.linkname, made.size = kind, target, size_bytes
        archive.addfile(made, io.BytesIO(b"x" * size_bytes))

    return add


@pytest.fixture
def task(tmp_path: Path) -> Task:
    made = make_task(tmp_path, "true")
    (made.folder / "out" / "before").write_text("before\n")
    return made


def names(task: Task) -> list[str]:
    out = task.folder / "out"
    return sorted(str(path.relative_to(out)) for path in out.rglob("*"))


@pytest.mark.parametrize("prefix", ["", "./", "artifact/", "opt/artifact/"])
def test_what_the_bootstrap_leaves(task: Task, prefix: str) -> None:
    outputs = packed({"./out/deep/file": b"kept\n", "./out/run": b"#!"})
    found = unpack(task, left(outputs, prefix=prefix))
    assert (found.told.status, found.told.seconds, found.told.cpu_seconds) == (0, 2.25, 61.75)
    assert (found.refused, found.problem, found.log.read_bytes()) == (0, None, b"log\n")
    assert names(task) == ["deep", "deep/file", "run"]
    assert (task.folder / "out" / "deep" / "file").read_bytes() == b"kept\n"
    assert [path.name for path in task.folder.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("name", "kind", "target"),
    [
        ("./out/link", tarfile.SYMTYPE, "/etc/passwd"),
        ("./out/hard", tarfile.LNKTYPE, "../../../etc/passwd"),
        ("./out/device", tarfile.CHRTYPE, ""),
        ("./out/pipe", tarfile.FIFOTYPE, ""),
        ("./out/../../escaped", tarfile.REGTYPE, ""),
        ("/out/../escaped", tarfile.REGTYPE, ""),
        ("../escaped", tarfile.REGTYPE, ""),
        ("/etc/escaped", tarfile.REGTYPE, ""),
        ("./elsewhere/escaped", tarfile.REGTYPE, ""),
        ("./out//doubled", tarfile.REGTYPE, ""),
        ("./out/.", tarfile.REGTYPE, ""),
        ("./out/line\nbreak", tarfile.REGTYPE, ""),
        ("./out/good", tarfile.REGTYPE, ""),
        ("./out/good/below", tarfile.REGTYPE, ""),
    ],
)
def test_what_is_no_plain_file_is_counted_and_left(task: Task, name: str, kind: bytes, target: str) -> None:
    change = entry(name, kind, target=target, size_bytes=1 if kind == tarfile.REGTYPE else 0)
    found = unpack(task, left(packed({"./out/good": b"good\n"}, changes=change)))
    assert (found.refused, found.problem, names(task)) == (1, None, ["good"])
    assert (task.folder / "out" / "good").read_bytes() == b"good\n"
    assert not list(task.folder.parent.rglob("*escaped*"))


def test_a_link_and_what_would_be_written_through_it(task: Task, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()

    def both(archive: tarfile.TarFile) -> None:
        entry("./out/way", tarfile.SYMTYPE, target=str(outside))(archive)
        entry("./out/way/file", size_bytes=1)(archive)

    found = unpack(task, left(packed({}, changes=both)))
    assert (found.refused, list(outside.iterdir())) == (1, [])
    assert names(task) == ["way", "way/file"]


def bomb(_task: Task) -> bytes:
    return left(gzip.compress(b"\0" * (100 << 20)))


def long_header(_task: Task) -> bytes:
    """A pax header of which each byte would be held in memory."""
    made = tarfile.TarInfo("x")
    made.type, made.size = tarfile.XHDTYPE, 8 << 20
    return left(gzip.compress(made.tobuf() + b"9 a=bcde\n" * (1 << 20)))


def many_bytes(task: Task) -> bytes:
    half = b"x" * (task.limits.output_bytes // 2 + 1)
    return left(packed({"./out/one": half, "./out/two": half}))


def no_archive(_task: Task) -> bytes:
    return left(b"no archive")


def cut_short(_task: Task) -> bytes:
    return left(packed({"./out/file": b"x"})[:-9])


def not_packed(_task: Task) -> bytes:
    return left(b"", told=TOLD_TEXT.replace(b"packed=0", b"packed=2"))


def no_outputs(_task: Task) -> bytes:
    return packed({TOLD: TOLD_TEXT})


@pytest.mark.parametrize(
    ("make", "code"),
    [
        (bomb, "output.too_large"),
        (many_bytes, "output.too_large"),
        (long_header, "output.unreadable"),
        (no_archive, "output.unreadable"),
        (cut_short, "output.unreadable"),
        (not_packed, "output.unreadable"),
        (no_outputs, "output.unreadable"),
    ],
)
def test_outputs_that_cannot_come_home_leave_the_folders_as_they_were(
    task: Task, make: Callable[[Task], bytes], code: str
) -> None:
    found = unpack(task, make(task))
    assert found.told.status == 0
    assert found.problem is not None
    assert (found.problem[0], names(task)) == (code, ["before"])


@pytest.mark.parametrize(
    "archive",
    [
        b"",
        b"no archive",
        gzip.compress(b"no archive" * 100),
        packed({"file": b"x"}),
        packed({TOLD: b"status=many\n"}),
        packed({TOLD: b"status=0\nbegan=9\nended=1\nlog_bytes=0\npacked=0\n"}),
        packed({TOLD: b"\xff\xfe"}),
        packed({TOLD: b"status=256\nbegan=1\nended=2\nlog_bytes=0\npacked=0\n"}),
        packed({TOLD: b"status=-1\nbegan=1\nended=2\nlog_bytes=0\npacked=0\n"}),
        packed({TOLD: b"status=0\nbegan=1\nended=2\nlog_bytes=9007199254740992\npacked=0\n"}),
        left(b"")[:-30],
    ],
    ids=[
        *("empty", "none", "no tar", "no word", "no number", "backwards", "no text"),
        *("no status", "below any status", "no length", "cut short"),
    ],
)
def test_an_artefact_that_says_nothing_is_unreadable(task: Task, archive: bytes) -> None:
    with pytest.raises(EngineError) as caught:
        unpack(task, archive)
    assert (caught.value.code, names(task)) == ("output.unreadable", ["before"])


def test_a_payload_that_writes_our_names_deeper_is_passed_over(task: Task) -> None:
    outputs = packed({"./out/file": b"x"})
    files = {f"a/deep/{TOLD}": b"status=9\n", f"a/{TOLD}": TOLD_TEXT, f"a/deep/er/{TOLD}": b"status=8\n"}
    found = unpack(task, packed({**files, f"a/{OUTPUTS}": outputs}))
    assert (found.told.status, names(task)) == (0, ["file"])


@pytest.mark.parametrize(
    ("status", "expected"), [(0, 0), (3, 3), (127, 127), (128, 128), (137, -9), (139, -11), (255, 255)]
)
def test_a_status_above_128_is_a_signal(status: int, expected: int) -> None:
    assert read_told(TOLD_TEXT.replace(b"status=0", b"status=%d" % status)).status == expected


def test_a_word_made_of_digits_costs_no_more_than_its_length() -> None:
    """The agent holds every other attempt's lease meanwhile."""
    began = time.process_time()
    assert read_told(TOLD_TEXT + b"1" * (TOLD_BYTES_MAX - len(TOLD_TEXT))).status == 0
    assert time.process_time() - began < 1


def test_what_broke_before_the_payload_is_told() -> None:
    assert read_told(b"broken=no inputs\n") == Told(broken="no inputs")
    assert read_told(TOLD_TEXT + b"limit=1\n").limit


def test_a_parcel_is_the_same_bytes_each_time_and_holds_no_links(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "deep").mkdir(parents=True)
    (data / "deep" / "file").write_text("x")
    (data / "link").symlink_to("/etc/passwd")
    os.mkfifo(data / "pipe")
    mounts = (Mount(source=data, inside="/data/in"), Mount(source=data / "deep" / "file", inside="/one"))
    first = dok_parcel.pack_small(mounts, 10_000)
    os.utime(data / "deep" / "file", (1, 1))
    assert first is not None
    assert first == dok_parcel.pack_small(mounts, 10_000)
    with tarfile.open(fileobj=io.BytesIO(first)) as opened:
        assert opened.getnames() == ["data/in", "data/in/deep", "data/in/deep/file", "one"]


def test_a_parcel_has_a_limit(tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.write_bytes(os.urandom(2000))
    mounts = (Mount(source=data, inside="/data"),)
    assert dok_parcel.pack_small(mounts, 1500) is None
    assert dok_parcel.pack_small(mounts, 20) is None
    assert dok_parcel.pack_small(mounts, 3000) is not None


def test_two_writable_folders_share_one_limit(task: Task) -> None:
    second = task.folder / "second"
    second.mkdir()
    two = msgspec.structs.replace(
        task, mounts=(*task.mounts, Mount(source=second, inside="/out2", writable=True))
    )
    found = unpack(two, left(packed({"./out/a": b"a", "./out2/b": b"b", "./out3/c": b"c"})))
    assert (found.refused, names(task), [path.name for path in second.iterdir()]) == (1, ["a"], ["b"])
