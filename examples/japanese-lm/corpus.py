"""Make the example's text: one folder with `text.jsonl` and `NOTICE.json`, and nothing else.

    python corpus.py --out DIR                    Japanese manual pages and the Debian reference, fetched now
    python corpus.py --out DIR --text FOLDER      the .txt, .md and .jsonl files of a folder of your own

`text.jsonl` holds one document a line, `{"name": ..., "text": ...}`, paragraphs parted by one newline.
`NOTICE.json` says where the text came from and under which licence; it travels with the text.
Exit status: 0 made, 2 the input cannot be taken, 7 the packages could not be fetched.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import packages
import prose
import roff
from problems import CorpusError, Progress

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    Document = tuple[str, str]

PACKAGES = ("manpages-ja", "manpages-ja-dev", "debian-reference-ja")
TEXT_NAME = "text.jsonl"
NOTICE_NAME = "NOTICE.json"
FILE_BYTES_MAX = 256 * 1024 * 1024
_REFERENCE = "usr/share/debian-reference/debian-reference.ja.txt"
_CHAPTER = re.compile(r"\n(?=第\d+章|付録|序章)")
_SHOWN_DOCUMENTS = 400


def _is_text(path: str) -> bool:
    return path == f"{_REFERENCE}.gz" or re.fullmatch(r"usr/share/man/ja/man\w+/[^/]+\.gz", path) is not None


def package_documents(archives: Iterable[Path]) -> Iterator[Document]:
    """Yield (name, text) of each page and chapter; a page that is not UTF-8 is refused, not guessed at."""
    seen = prose.Seen()
    for archive in archives:
        for path, data in packages.members(archive, _is_text):
            source = _utf8(data, path)
            if path == _REFERENCE:
                parts = [(f"debian-reference.{i}", part) for i, part in enumerate(_CHAPTER.split(source))]
                found = [(name, (line.strip() for line in part.splitlines())) for name, part in parts]
            elif roff.points_elsewhere(source):
                continue
            else:
                found = [(path.rsplit("/", 1)[-1], roff.lines(source))]
            for name, lines in found:
                kept = [
                    p
                    for p in map(prose.clean, prose.paragraphs(lines))
                    if prose.is_japanese(p) and seen.is_new(p)
                ]
                if kept:
                    yield name, "\n".join(kept)


def folder_documents(folder: Path) -> Iterator[Document]:
    """Yield (name, text) of each .txt and .md file and of each line of a .jsonl file, in order of names.

    Links and hidden folders are passed over.

    Raises `CorpusError`: `corpus.text.no_folder`, `.too_large`, `.not_utf8`, `.not_json`.
    """
    if not folder.is_dir():
        raise CorpusError("corpus.text.no_folder", f"{str(folder)!r} is not a folder")
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.suffix not in {".txt", ".md", ".jsonl"} or not _is_offered(path, folder):
            continue
        if path.stat().st_size > FILE_BYTES_MAX:
            raise CorpusError("corpus.text.too_large", f"{name!r} is larger than {FILE_BYTES_MAX:,} bytes")
        source = _utf8(path.read_bytes(), name)
        documents = _jsonl_documents(source, name) if path.suffix == ".jsonl" else [(name, source)]
        for document, text in documents:
            kept = [line for line in map(prose.clean, text.splitlines()) if line]
            if kept:
                yield document, "\n".join(kept)


def _is_offered(path: Path, folder: Path) -> bool:
    """A regular file that neither a link nor a hidden folder (a repository's, an editor's) leads to."""
    steps = [path, *path.parents]
    below = steps[: steps.index(folder)]
    return path.is_file() and not any(step.is_symlink() or step.name.startswith(".") for step in below)


def _jsonl_documents(source: str, name: str) -> Iterator[Document]:
    for number, line in enumerate(source.split("\n"), 1):
        if not line.strip():
            continue
        try:
            document = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise CorpusError("corpus.text.not_json", f"{name!r}, line {number}, is not JSON") from error
        text = document.get("text") if isinstance(document, dict) else None
        if not isinstance(text, str):
            message = f"{name!r}, line {number}, is not an object with a string named text"
            raise CorpusError("corpus.text.not_json", message)
        # JSON can spell half a character (a lone surrogate), which no UTF-8 file can hold.
        if re.search(r"[\ud800-\udfff]", text):
            raise CorpusError("corpus.text.not_utf8", f"{name!r}, line {number}, holds half a character")
        yield f"{name}:{number}", text


def _utf8(data: bytes, name: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise CorpusError("corpus.text.not_utf8", f"{name!r} is not UTF-8 (byte {error.start:,})") from error


def write(
    out: Path, documents: Iterable[Document], notice: dict[str, object], progress: Progress
) -> dict[str, int]:
    """Write both files beside the target and move them in, so that a folder is never half made. Returns the counts."""
    refuse_foreign(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    counts = {"documents": 0, "characters": 0}
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".corpus-") as made:
        with (Path(made) / TEXT_NAME).open("w", encoding="utf-8", newline="\n") as file:
            for name, text in documents:
                file.write(json.dumps({"name": name, "text": text}, ensure_ascii=False) + "\n")
                counts["documents"] += 1
                counts["characters"] += len(text)
                if counts["documents"] % _SHOWN_DOCUMENTS == 0:
                    progress.say("progress", **counts)
        if not counts["documents"]:
            raise CorpusError("corpus.text.empty", "there is no text to train on")
        (Path(made) / NOTICE_NAME).write_text(
            json.dumps({"v": 1, **notice, **counts}, ensure_ascii=False, indent=1) + "\n", encoding="utf-8"
        )
        out.mkdir(exist_ok=True)
        for name in (NOTICE_NAME, TEXT_NAME):
            (Path(made) / name).replace(out / name)
    return counts


def refuse_foreign(out: Path) -> None:
    """Refuse a target that holds anything but an earlier text: what lies in the folder becomes part of a data set."""
    if out.is_symlink() or (out.exists() and not out.is_dir()):
        raise CorpusError("corpus.out.not_empty", f"{str(out)!r} is not a folder")
    foreign = (
        sorted(path.name for path in out.iterdir() if path.name not in {TEXT_NAME, NOTICE_NAME})
        if out.exists()
        else []
    )
    if foreign:
        raise CorpusError("corpus.out.not_empty", f"{str(out)!r} holds something else: {foreign[0]!r}")


def make(out: Path, *, text: Path | None, progress: Progress) -> None:
    """Make the text from the folder `text`, or from packages fetched now.

    Raises `CorpusError`; then nothing was written.
    """
    started = time.monotonic()
    refuse_foreign(out)
    if text is not None:
        notice: dict[str, object] = {"source": "folder", "licence": "LicenseRef-own-text", "packages": []}
        counts = write(out, folder_documents(text), notice, progress)
    else:
        with tempfile.TemporaryDirectory(prefix="corpus-") as scratch:
            archives = packages.download(PACKAGES, Path(scratch), progress)
            notices = [packages.notice(archive) for archive in archives]
            licence = " AND ".join(dict.fromkeys(one.licence for one in notices))
            notice = {
                "source": "debian-packages",
                "licence": licence,
                "packages": [asdict(one) for one in notices],
            }
            counts = write(out, package_documents(archives), notice, progress)
    progress.say(
        "done",
        folder=str(out),
        **counts,
        size_bytes=(out / TEXT_NAME).stat().st_size,
        licence=notice["licence"],
        seconds=round(time.monotonic() - started, 1),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run as a program; returns the exit status."""
    summary, _, rest = (__doc__ or "").partition("\n")
    parser = argparse.ArgumentParser(
        description=summary, epilog=rest, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--out", type=Path, required=True, help="folder to make; an earlier text in it is replaced"
    )
    parser.add_argument("--text", type=Path, help="take this folder of .txt, .md and .jsonl files instead")
    parser.add_argument(
        "--progress", choices=("json", "text"), default="text", help="form of the progress lines"
    )
    options = parser.parse_args(arguments)
    progress = Progress(options.progress)
    try:
        make(options.out.absolute(), text=options.text, progress=progress)
    except CorpusError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.status
    except OSError as error:
        # No path of the machine and no trace: the file's own name and the system's word are enough to act on.
        name = Path(str(error.filename)).name if error.filename else "a file"
        sys.stderr.write(f"error: {name}: {error.strerror}  [corpus.io.failed]\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
