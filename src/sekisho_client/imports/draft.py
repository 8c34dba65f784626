"""A job file in the making: what was understood, what was not, and what its owner should know."""

from __future__ import annotations

import re
from typing import Any, Final

from sekisho_client.refusals import Refused
from sekisho_wire.messages import NODES_MAX

NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
GPU: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,31}")
COUNT_MAX: Final = 9999
CPUS_MAX: Final = 4096
DISK_MAX: Final = 1_000_000
MEBIBYTES_MAX: Final = 999_999_999
AMOUNT_MAX: Final = 999_999
ARRAY_MAX: Final = 1000
"""As many jobs as the job file takes in one array, and replicas in one service."""

WHY: Final[dict[str, tuple[str, str]]] = {
    "unknown": ("it has no equivalent here", "対応する項目がありません"),
    "value": ("its value cannot be read", "値を解釈できません"),
    "nodes": (
        f"a job has one fixed number of nodes, at most {NODES_MAX}",
        f"ノード数は1つの固定値で、{NODES_MAX}までです",
    ),
    "divide": (
        "it does not divide evenly among the nodes",
        "ノード間で均等に割り切れません",
    ),
    "first_node": (
        "the text of a job of several nodes runs on each of them, and Slurm runs this on the first one only",
        "複数ノードのジョブの本文は全ノードで実行されますが、Slurmではこれは先頭ノードだけで実行されます",
    ),
    "varies": (
        "each node would read something else here, Slurm reads it once: sh -c '...' behind srun reads it on each node",
        "ノードごとに値が変わりますが、Slurmでは一度だけ評価されます。各ノードで評価するにはsrunの後でsh -c '...'を使ってください",
    ),
    "tasks": (
        "one process is started on each node: let that one start the others, as torchrun does",
        "各ノードで起動するプロセスは1つです。残りはtorchrunのように、そのプロセスから起動してください",
    ),
    "steps": (
        "several steps on several nodes would not wait for each other",
        "複数ノードでは、複数のステップが互いの終了を待ちません",
    ),
    "srun": (
        "srun can be left out only where its options change nothing",
        "srunを省けるのは、オプションが結果を変えない場合だけです",
    ),
    "addresses": (
        "the nodes' addresses are in SEKISHO_NODE_ADDRESSES, separated by commas",
        "各ノードのアドレスはSEKISHO_NODE_ADDRESSESにカンマ区切りで入っています",
    ),
    "number": ("a job's id is no number here", "ここではジョブIDは数値ではありません"),
    "array": (
        f"an array has at most {ARRAY_MAX} jobs",
        f"配列ジョブに含められるジョブは{ARRAY_MAX}件までです",
    ),
    "queue": (
        "how many jobs there are must be known beforehand: name completions",
        "ジョブの数をあらかじめ決める必要があります。completionsを指定してください",
    ),
    "alike": (
        "the nodes of a job all run the same text, and start together",
        "1つのジョブのノードはすべて同じ本文を実行し、同時に始まります",
    ),
    "pod_name": (
        "this name would not be found: nodes are called node-0, node-1 and so on, the first one is at $MASTER_ADDR",
        "この名前は解決できません。ノード名はnode-0、node-1などで、先頭ノードのアドレスは$MASTER_ADDRです",
    ),
    "setup": (
        "setup is a build of its own, without nodes and variables",
        "setupは独立したビルドで、ノードも変数もありません",
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
    "probe": (
        "whether a replica is well is asked by a command inside it: name one under service.health",
        "レプリカの状態は内側のコマンドで確かめます。service.healthで指定してください",
    ),
    "scaling": (
        "a service has one fixed number of replicas",
        "サービスのレプリカ数は1つの固定値です",
    ),
    "port": ("no port leads to a job from outside", "外部からジョブに届くポートはありません"),
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

    def cpus(self, count: int, where: str) -> None:
        """Processors of one node."""
        if count > CPUS_MAX:
            self.refuse(where, "value")
        else:
            self.resources["cpus"] = count

    def memory(self, mebibytes: int, where: str) -> None:
        """Memory of one node."""
        if mebibytes > MEBIBYTES_MAX:
            self.refuse(where, "value")
        else:
            self.resources["memory"] = f"{mebibytes}MiB"

    def disk(self, gigabytes: int, where: str) -> None:
        """Room for files on one node."""
        if gigabytes > DISK_MAX:
            self.refuse(where, "value")
        else:
            self.resources["disk"] = gigabytes

    def time_limit(self, seconds: int, where: str) -> None:
        """How long one attempt may take."""
        text = duration(seconds)
        if int(text[:-1]) > AMOUNT_MAX:
            self.refuse(where, "value")
        else:
            self.fields["time_limit"] = text

    def nodes(self, count: int, where: str) -> None:
        """How many nodes start together; each runs the whole text."""
        if not 1 <= count <= NODES_MAX:
            self.refuse(where, "nodes")
        elif count > 1:
            self.fields["num_nodes"] = count

    def array(self, size: int, parallel: int, where: str) -> None:
        """As many jobs of this file, `parallel` of them at once; 0 for all."""
        if not 1 <= size <= ARRAY_MAX:
            self.refuse(where, "array")
            return
        self.fields["kind"] = "array"
        self.fields["array"] = {"size": size, **({"parallel": parallel} if 0 < parallel < size else {})}

    def service(self, replicas: int, where: str) -> None:
        """So many replicas, each begun again whenever it ends."""
        if not 1 <= replicas <= ARRAY_MAX:
            self.refuse(where, "value")
            return
        self.fields["kind"] = "service"
        self.fields["service"] = {"replicas": replicas}

    def export(self, name: str, text: str, where: str = "") -> None:
        """A variable that is known only where the text runs; `text` is the shell's, quoted as it needs to be."""
        if VARIABLE.fullmatch(name) is None:
            self.refuse(where, "value")
        else:
            self.prelude.append(f"export {name}={text}")

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
        self._note_time_limit()
        return {
            "name": self.fields["name"],
            **({"resources": self.resources} if self.resources else {}),
            **{key: value for key, value in self.fields.items() if key != "name"},
            **({"envs": self.envs} if self.envs else {}),
            **({"secrets": self.secrets} if self.secrets else {}),
            "run": "\n".join([*self.prelude, run.strip("\n")]) + "\n",
        }

    def _note_time_limit(self) -> None:
        if "time_limit" in self.fields:
            return
        if "service" in self.fields:
            self.note(
                "time_limit: 1h, because the file names none; a replica is begun again after it",
                "time_limit：1h（記載がないため）。経過したレプリカは再び開始します",
            )
        else:
            self.note("time_limit: 1h, because the file names none", "time_limit：1h（記載がないため）")


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
