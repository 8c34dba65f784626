"""The text as a folder: from packages built here, from a folder of one's own, and from bad input."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.examples import programs
from tests.support import components

corpus = programs.load("corpus")
packages = programs.load("packages")
problems = programs.load("problems")

PAGE = ".SH 名前\ntegata \\- 旅の手形\n.SH 説明\n手形を持つ人だけが、この関所を通ります。\n"
COPYRIGHT = "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nLicense: Apache-2.0\n"


def made_package(folder: Path, name: str, files: dict[str, bytes]) -> Path:
    """A real package with these files, and one link to each of them."""
    components.program("dpkg-deb", package="dpkg")
    root = folder / f"{name}-root"
    (root / "DEBIAN").mkdir(parents=True)
    control = f"Package: {name}\nVersion: 1.0\nArchitecture: all\nMaintainer: Nobody <nobody@localhost>\n"
    (root / "DEBIAN/control").write_text(f"{control}Homepage: http://localhost/\nDescription: text\n")
    for path, content in files.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content)
        target.with_name(f"link-to-{target.name}").symlink_to(target.name)
    archive = folder / f"{name}_1.0_all.deb"
    subprocess.run(
        ["dpkg-deb", "--root-owner-group", "-b", str(root), str(archive)], check=True, capture_output=True
    )
    return archive


def pages(**sources: str) -> dict[str, bytes]:
    return {
        f"usr/share/man/ja/man1/{name}.1.gz": gzip.compress(source.encode())
        for name, source in sources.items()
    }


def notice_file(name: str, text: str = COPYRIGHT) -> dict[str, bytes]:
    return {f"usr/share/doc/{name}/copyright": text.encode()}


def run(*arguments: str | Path) -> int:
    status = corpus.main([str(argument) for argument in arguments])
    assert isinstance(status, int)
    return status


def documents(folder: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (folder / "text.jsonl").read_text(encoding="utf-8").splitlines()]


def test_pages_are_read_and_links_and_other_names_of_a_page_are_not(tmp_path: Path) -> None:
    files = pages(tegata=PAGE, other=".so man1/tegata.1\n") | {
        "usr/share/man/ja/readme": "本文ではありません".encode()
    }
    archive = made_package(tmp_path, "pages", files)
    assert list(corpus.package_documents([archive])) == [
        ("tegata.1", "tegata - 旅の手形\n手形を持つ人だけが、この関所を通ります。")
    ]


def test_the_reference_is_parted_into_chapters(tmp_path: Path) -> None:
    text = "序章の前の文です。\n第1章 関所の歴史\n昔の話をします。\n\n第2章 手形の書き方\n筆を使います。\n"
    files = {"usr/share/debian-reference/debian-reference.ja.txt.gz": gzip.compress(text.encode())}
    archive = made_package(tmp_path, "reference", files)
    assert [name for name, _ in corpus.package_documents([archive])] == [
        f"debian-reference.{i}" for i in range(3)
    ]


def test_a_page_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    page = {"usr/share/man/ja/man1/old.1.gz": gzip.compress("関所".encode("euc-jp"))}
    with pytest.raises(problems.CorpusError, match=r"old\.1.*corpus\.text\.not_utf8"):
        list(corpus.package_documents([made_package(tmp_path, "old", page)]))


def test_a_truncated_package_is_refused(tmp_path: Path) -> None:
    archive = made_package(tmp_path, "cut", pages(tegata=PAGE) | {"usr/share/filler": os.urandom(100_000)})
    archive.write_bytes(archive.read_bytes()[:50_000])
    with pytest.raises(problems.CorpusError, match=r"corpus\.package\.damaged"):
        list(packages.members(archive, str.strip))


@pytest.mark.parametrize("damage", ["large", "truncated", "no gzip"])
def test_a_member_that_does_not_inflate_within_bounds_is_refused(damage: str) -> None:
    data = gzip.compress(b"\0" * (packages.MEMBER_BYTES_MAX + 1) if damage == "large" else b"text" * 1000)
    data = {"large": data, "truncated": data[:-9], "no gzip": b"plain"}[damage]
    with pytest.raises(problems.CorpusError, match=r"corpus\.package\.damaged"):
        packages.inflated(data, "page.gz")


def test_licences_come_from_the_package_and_free_words_are_only_named(tmp_path: Path) -> None:
    short = packages.notice(made_package(tmp_path, "short", notice_file("short")))
    free = packages.notice(made_package(tmp_path, "free", notice_file("free", "You may copy this.\n")))
    assert (short.package, short.version, short.homepage) == ("short", "1.0", "http://localhost/")
    assert (short.licence, free.licence) == ("Apache-2.0", "LicenseRef-free-copyright")
    assert short.copyright_sha256 == hashlib.sha256(COPYRIGHT.encode()).hexdigest()
    with pytest.raises(problems.CorpusError, match=r"corpus\.package\.no_licence"):
        packages.notice(made_package(tmp_path, "none", pages(tegata=PAGE)))


def repository(folder: Path, monkeypatch: pytest.MonkeyPatch, *, trusted: bool) -> None:
    """A package source on this disk, and apt told to know no other."""
    components.program("apt-get", package="apt")
    folder.mkdir()
    index = []
    for name in corpus.PACKAGES:
        archive = made_package(folder, name, pages(**{name: PAGE.replace("旅", name)}) | notice_file(name))
        digest = hashlib.sha256(archive.read_bytes()).hexdigest()
        fields = {"Package": name, "Version": "1.0", "Architecture": "all", "Filename": f"./{archive.name}"}
        fields |= {"Size": str(archive.stat().st_size), "SHA256": digest}
        index.append("".join(f"{key}: {value}\n" for key, value in fields.items()))
    (folder / "Packages").write_text("\n".join(index))
    option = "[trusted=yes] " if trusted else ""
    (folder / "sources.list").write_text(f"deb {option}copy:{folder} ./\n")
    (folder / "empty/lists/partial").mkdir(parents=True)
    settings = {
        "Dir::Etc::sourcelist": folder / "sources.list",
        "Dir::Etc::sourceparts": "/dev/null",
        "Dir::State": folder / "empty",
        "Dir::State::status": "/dev/null",
    }
    (folder / "apt.conf").write_text("".join(f'{key} "{value}";\n' for key, value in settings.items()))
    monkeypatch.setenv("APT_CONFIG", str(folder / "apt.conf"))


def test_packages_are_fetched_through_apt_with_lists_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    repository(tmp_path / "source", monkeypatch, trusted=True)
    assert run("--out", tmp_path / "out", "--progress", "json") == 0
    events = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["event"] for event in events] == ["update", "download", "download", "download", "done"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["NOTICE.json", "text.jsonl"]
    assert {document["name"] for document in documents(tmp_path / "out")} == {
        f"{name}.1" for name in corpus.PACKAGES
    }
    notice = json.loads((tmp_path / "out/NOTICE.json").read_text())
    assert notice["licence"] == "Apache-2.0"
    assert {one["package"] for one in notice["packages"]} == set(corpus.PACKAGES)


def test_packages_without_a_signature_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    repository(tmp_path / "source", monkeypatch, trusted=False)
    assert run("--out", tmp_path / "out") == problems.UNREACHABLE
    assert "corpus.apt.failed" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_without_apt_the_way_out_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert run("--out", tmp_path / "out") == problems.BAD_INPUT
    error = capsys.readouterr().err
    assert "corpus.apt.missing" in error
    assert "--text" in error


@pytest.fixture
def own(tmp_path: Path) -> Path:
    folder = tmp_path / "own"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_text("一行目\r\n\r\n二行目\u200b\n", encoding="utf-8")
    (folder / "sub/b.md").write_text("# 見出し\n", encoding="utf-8")
    (folder / "c.jsonl").write_text('{"text": "一つ"}\n\n{"text": "二つ", "more": 1}\n', encoding="utf-8")
    (folder / "ignored.pdf").write_bytes(b"\xff")
    (folder / ".git").mkdir()
    (folder / ".git/d.txt").write_bytes(b"\xff")
    (folder / "e.txt").symlink_to("/etc/hostname")
    (folder / "linked").symlink_to("/etc")
    os.mkfifo(folder / "f.txt")
    return folder


def test_a_folder_of_ones_own_is_taken(own: Path, tmp_path: Path) -> None:
    assert run("--out", tmp_path / "out", "--text", own) == 0
    assert {document["name"]: document["text"] for document in documents(tmp_path / "out")} == {
        "a.txt": "一行目\n二行目",
        "c.jsonl:1": "一つ",
        "c.jsonl:3": "二つ",
        "sub/b.md": "# 見出し",
    }
    notice = json.loads((tmp_path / "out/NOTICE.json").read_text())
    assert (notice["source"], notice["documents"], notice["licence"]) == ("folder", 4, "LicenseRef-own-text")


@pytest.mark.parametrize(
    ("name", "content", "code"),
    [
        ("bad.txt", "関所".encode("shift_jis"), "corpus.text.not_utf8"),
        ("bad.jsonl", b'{"text": "a"}\nnot json\n', "corpus.text.not_json"),
        ("bad.jsonl", b'{"txt": "a"}\n', "corpus.text.not_json"),
        ("bad.jsonl", b'["text"]\n', "corpus.text.not_json"),
        ("bad.jsonl", b'{"text": "\\ud800"}\n', "corpus.text.not_utf8"),
        ("bad.jsonl", b"[" * 100_000, "corpus.text.not_json"),
    ],
)
def test_a_bad_file_is_refused_by_name_and_nothing_is_made(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], *, name: str, content: bytes, code: str
) -> None:
    (own / name).write_bytes(content)
    assert run("--out", tmp_path / "out", "--text", own) == problems.BAD_INPUT
    error = capsys.readouterr().err
    assert code in error
    assert name in error
    assert str(tmp_path) not in error
    assert not (tmp_path / "out").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["own"]


def test_too_large_a_file_is_refused(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(corpus, "FILE_BYTES_MAX", 5)
    with pytest.raises(problems.CorpusError, match=r"a\.txt.*corpus\.text\.too_large"):
        corpus.make(tmp_path / "out", text=own, progress=problems.Progress("json"))


@pytest.mark.parametrize(
    ("given", "code"), [("empty", "corpus.text.empty"), ("nowhere", "corpus.text.no_folder")]
)
def test_a_folder_without_text_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], given: str, code: str
) -> None:
    (tmp_path / "empty").mkdir()
    assert run("--out", tmp_path / "out", "--text", tmp_path / given) == problems.BAD_INPUT
    assert code in capsys.readouterr().err


def test_an_earlier_text_is_replaced_and_anything_else_is_left_alone(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run("--out", out, "--text", own) == 0
    assert run("--out", out, "--text", own) == 0
    before = (out / "text.jsonl").read_bytes()
    (out / "letter.txt").write_text("mine")
    assert run("--out", out, "--text", own) == problems.BAD_INPUT
    assert "corpus.out.not_empty" in capsys.readouterr().err
    assert (out / "text.jsonl").read_bytes() == before
