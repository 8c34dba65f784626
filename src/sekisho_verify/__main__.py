"""The command `sekisho-verify`: one bundle, one trust file, one verdict; no network, no configuration."""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from io import TextIOWrapper
from itertools import pairwise
from pathlib import Path

from sekisho_verify.against import head_seen
from sekisho_verify.archive import ARCHIVE_BYTES_MAX
from sekisho_verify.errors import Exit, TrustError, VerifyError
from sekisho_verify.showing import LANGUAGES, visible
from sekisho_verify.text import document, render
from sekisho_verify.trust import Trust, parse_trust
from sekisho_verify.verdict import verify_bundle

_HELP = {
    "what": (
        "Check a bundle of evidence offline.",
        "証跡一式を、ネットワークを使わずに検証します。",
    ),
    "bundle": ("the bundle (.zip)", "証跡一式（.zip）"),
    "trust": (
        "whom to believe: origin, keys, witnesses, demands; never taken from the bundle",
        "信頼の根拠（台帳、鍵、立会人、要求事項）。証跡一式の中からは取りません",
    ),
    "against": (
        "another bundle or checkpoint of the same log: fails if the two tell different histories",
        "同じ台帳の別の証跡一式または確認点。二つの履歴が食い違う場合は失敗となります",
    ),
    "json": ("print one JSON object", "結果を一つのJSONオブジェクトとして出力する"),
    "lang": ("language of the text", "表示する言語"),
    "codes": (
        """Exit codes: 0 all holds, 2 wrong use, 10 malformed, 11 digest, 12 signature, 13 inclusion,
        14 consistency, 15 completeness, 16 place, 17 decision, 18 key, 19 egress, 20 less than the trust file
        demands, 21 self-consistent but not trusted, 22 attestation, 23 location proof.""",
        """終了コード：0 すべて確認、2 使い方の誤り、10 形式、11 要約値、12 署名、13 収録、14 一貫性、15 完全性、
        16 位置、17 判断、18 鍵、19 外向き通信、20 信頼ファイルの要求に不足、21 矛盾はないが信頼は未確認、22 機器の証明、23 位置証明。""",
    ),
}


class _UsageError(Exception):
    """Wrong use: a stable code and one sentence."""

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code. Standard output holds the verdict and nothing else."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    options = _parser(_language(given)).parse_args(given)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    try:
        trust = _read_trust(options.trust) if options.trust else None
        if options.against:
            trust = _with_head(trust, options.against)
        verdict = verify_bundle(_read(options.bundle, limit=ARCHIVE_BYTES_MAX), trust)
    except _UsageError as error:
        _complain(error, as_json=options.json)
        return Exit.USAGE
    if options.json:
        print(json.dumps(document(verdict), ensure_ascii=False))
    else:
        print(render(verdict, options.lang), end="")
    return verdict.exit_code


def _parser(language: str) -> argparse.ArgumentParser:
    column = LANGUAGES.index(language)
    parser = argparse.ArgumentParser(
        "sekisho-verify", description=_HELP["what"][column], epilog=_HELP["codes"][column], allow_abbrev=False
    )
    parser.add_argument("bundle", type=Path, metavar="BUNDLE", help=_HELP["bundle"][column])
    parser.add_argument("--trust", type=Path, metavar="FILE", help=_HELP["trust"][column])
    parser.add_argument("--against", type=Path, metavar="FILE", help=_HELP["against"][column])
    parser.add_argument("--json", action="store_true", help=_HELP["json"][column])
    parser.add_argument("--lang", choices=LANGUAGES, default=language, help=_HELP["lang"][column])
    return parser


def _language(given: Sequence[str]) -> str:
    """Language before the arguments are parsed, so that help and complaints have it too."""
    wished = [after for before, after in pairwise(given) if before == "--lang"]
    wished += [os.environ.get(name, "") for name in ("SEKISHO_LANG", "LC_ALL", "LC_MESSAGES", "LANG")]
    first = next(filter(None, wished), "")
    return "ja" if first.startswith("ja") else "en"


def _read_trust(path: Path) -> Trust:
    try:
        return parse_trust(_read(path, limit=ARCHIVE_BYTES_MAX))
    except TrustError as error:
        raise _UsageError(error.code, f"{path}: {error.where or 'file'}: {error.detail}") from error


def _with_head(trust: Trust | None, path: Path) -> Trust:
    """The other file's head as the one seen before."""
    if trust is None:
        raise _UsageError("input.against_untrusted", "--against needs --trust: anybody can make up a history")
    if trust.seen is not None:
        raise _UsageError("input.against_seen", "--against and `seen` in the trust file exclude each other")
    try:
        return replace(trust, seen=head_seen(_read(path, limit=ARCHIVE_BYTES_MAX), trust))
    except VerifyError as error:
        raise _UsageError(error.code, f"{path}: {error.where or 'file'}: {error.detail}") from error


def _read(path: Path, *, limit: int) -> bytes:
    """Bytes of a file, at most one more than the limit: an endless one must not fill the memory."""
    try:
        with path.open("rb") as file:
            return file.read(limit + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a file name"
        raise _UsageError("input.no_file", f"{path}: {reason}") from error


def _complain(error: _UsageError, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"code": error.code, "detail": str(error)}, ensure_ascii=False), file=sys.stderr)
    else:
        print(f"error: {visible(str(error))} [{error.code}]", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
