"""A job file in the making: what was understood, what was not, and what its owner should know."""

from __future__ import annotations

import re
from typing import Any, Final

from sekisho_client.refusals import Refused

NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
GPU: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
COUNT_MAX: Final = 9999

WHY: Final[dict[str, tuple[str, str]]] = {
    "unknown": ("it has no equivalent here", "対応する項目がありません"),
    "value": ("its value cannot be read", "値を解釈できません"),
    "nodes": ("jobs of several nodes are not run yet", "複数ノードのジョブはまだ実行できません"),
    "array": (
        "arrays are not run yet: submit one job each",
        "配列ジョブはまだ実行できません。個別に投入してください",
    ),
    "place": (
        "the charter and the scheduler choose the place; narrow it with charter.sites or charter.residency",
        "場所は憲章とスケジューラーが決めます。charter.sitesやcharter.residencyで絞り込めます",
    ),
    "site": ("the site's operator sets it for all jobs", "拠点の運用者がまとめて設定する項目です"),
    "image": (
        "images are built here from a hashed lock file: name one with --image",
        "イメージはハッシュ付きロックファイルから作ります。--imageで名前を指定してください",
    ),
    "data": (
        "data comes as a dataset: add it, and name it under data:",
        "データはデータセットとして追加し、data:で指定してください",
    ),
    "secret": (
        "a secret's value does not belong into a file: sekisho secret set",
        "秘密の値はファイルに書かず、sekisho secret setで登録してください",
    ),
    "service": ("services are not run yet", "サービスはまだ実行できません"),
    "launcher": ("the site's own commands are not inside the wall", "壁の内側では拠点のコマンドを使えません"),
    "missing": ("it is needed", "必須です"),
    "several": ("one file holds one job", "1つのファイルに書けるジョブは1つです"),
}


class Draft:
    """Collects fields and refusals; `finish` answers the fields or refuses everything that was not understood."""

    def __init__(self, path: str) -> None:
        """`path` is what the person called the file."""
        self.path = path
        self.fields: dict[str, Any] = {}
        self.resources: dict[str, Any] = {}
        self.envs: dict[str, str] = {}
        self.secrets: list[str] = []
        self.prelude: list[str] = []
        self.notes: list[tuple[str, str]] = []
        self._refused: list[tuple[str, str]] = []

    def refuse(self, name: str, why: str = "unknown") -> None:
        """Something of this name cannot be kept."""
        if (name, why) not in self._refused:
            self._refused.append((name, why))

    def note(self, english: str, japanese: str) -> None:
        """Something is kept, but not as it was written."""
        self.notes.append((english, japanese))

    def name(self, text: object, where: str) -> None:
        """A job's name; ours are in lower case."""
        lowered = str(text).strip().lower().replace("_", "-")
        if NAME.fullmatch(lowered) is None:
            self.refuse(where, "value")
            return
        self.fields["name"] = lowered
        if lowered != text:
            self.note(f"name: {lowered}", f"名前：{lowered}")

    def accelerators(self, kind: str, count: int, where: str) -> None:
        """GPUs of one node; a type that is not named cannot be placed."""
        if not 0 <= count <= COUNT_MAX or (count and GPU.fullmatch(kind) is None):
            self.refuse(where, "value")
        elif count:
            self.resources["accelerators"] = f"{kind}:{count}"

    def variable(self, name: str, value: object, where: str) -> None:
        """One variable of the payload's environment."""
        if VARIABLE.fullmatch(name) is None or not isinstance(value, (str, int, float, bool)):
            self.refuse(where, "value")
        else:
            self.envs[name] = _text(value)

    def secret(self, name: str, where: str) -> None:
        """A secret that the payload expects in a variable of the same name."""
        if VARIABLE.fullmatch(name) is None:
            self.refuse(where, "value")
            return
        self.secrets.append(name)
        self.prelude.append(f'export {name}="$(cat "$SEKISHO_SECRETS/{name}")"')

    def finish(self, run: str) -> dict[str, Any]:
        """The job file's fields, in reading order. Refused `run.import` names everything that stood in the way."""
        if not run.strip() and not self._refused:
            self.refuse("run", "missing")
        if "\0" in run:
            self.refuse("NUL", "value")
        if self._refused:
            names = ", ".join(name for name, _ in self._refused)
            reasons = {why: None for _, why in self._refused}
            english = "; ".join(WHY[why][0] for why in reasons)
            japanese = "、".join(WHY[why][1] for why in reasons)
            raise Refused("run.import", path=self.path, names=names, why=english, why_ja=japanese)
        if "time_limit" not in self.fields:
            self.note("time_limit: 1h, because the file names none", "time_limit：1h（記載がないため）")
        return {
            "name": self.fields["name"],
            **({"resources": self.resources} if self.resources else {}),
            **{key: value for key, value in self.fields.items() if key != "name"},
            **({"envs": self.envs} if self.envs else {}),
            **({"secrets": self.secrets} if self.secrets else {}),
            "run": "\n".join([*self.prelude, run.strip("\n")]) + "\n",
        }


def duration(seconds: int) -> str:
    """Seconds in the largest unit that is exact."""
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _text(value: str | float) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)
