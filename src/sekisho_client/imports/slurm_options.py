"""What a script's `#SBATCH` options ask for, all of them together."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final, NamedTuple

from sekisho_client.imports import slurm_arrays
from sekisho_client.imports.draft import Draft

OPERATORS: Final = frozenset(
    {"account", "partition", "qos", "constraint", "reservation", "licenses", "comment"}
)
PLACES: Final = frozenset({"clusters", "nodelist", "exclude"})
TIME: Final = re.compile(r"(?:(\d{1,4})-)?(\d{1,5})(?::(\d{1,2}))?(?::(\d{1,2}))?")
MEMORY: Final = re.compile(r"(\d{1,9})([KMGT]?)B?", re.IGNORECASE)
UNIT_MIB: Final = {"k": 1 / 1024, "": 1, "m": 1, "g": 1024, "t": 1024 * 1024}
COUNT: Final = re.compile(r"[0-9]{1,4}")


class Shape(NamedTuple):
    """Where a script's tasks run: so many on each of so many nodes, each with so many processors."""

    nodes: int = 1
    tasks: int = 1
    cpus: int = 1


class UnevenError(ValueError):
    """Tasks that are not the same number on every node; the text is the option to blame."""


def shape(nodes: int, tasks: int, tasks_per_node: int) -> tuple[int, int]:
    """Nodes, and tasks on each; 0 is what was not asked for. UnevenError when nodes would differ.

    With both counts of tasks the one for a node is a maximum, which the total fills node by node.
    """
    if not nodes:
        nodes = max(1, tasks // tasks_per_node) if tasks_per_node else 1
    if not tasks:
        return nodes, tasks_per_node or 1
    if tasks % nodes:
        raise UnevenError("--ntasks")
    if tasks_per_node and tasks // nodes > tasks_per_node:
        raise UnevenError("--ntasks-per-node")
    return nodes, tasks // nodes


class Wanted:
    """What the options ask for; several of them multiply."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self.shape = Shape()
        self.tasks: slurm_arrays.Tasks | None = None
        self.cpus = 0
        self.cpus_of_node = 1
        self._nodes = 0
        self._tasks = 0
        self._tasks_per_node = 0
        self._memory_mib = 0.0
        self._memory_per_cpu_mib = 0.0
        self._gpus: dict[str, tuple[str, int]] = {}
        self._takers: dict[str, Callable[[str, str], None]] = {
            "job-name": lambda name, value: draft.name(value, f"--{name}"),
            "time": self._time,
            "cpus-per-task": self._cpus,
            "ntasks": self._count_tasks,
            "ntasks-per-node": self._count_tasks,
            "nodes": self._count_nodes,
            "array": self._array,
            "mem": self._memory,
            "mem-per-cpu": self._memory,
            "gres": self._gres,
            "gpus": self._gpu_count,
            "gpus-per-node": self._gpu_count,
            "gpus-per-task": self._gpu_count,
            "output": self._log,
            "error": self._log,
            "open-mode": self._log,
            "export": self._export,
        }

    def take(self, name: str, value: str) -> None:
        """One option."""
        taker = self._takers.get(name)
        if taker is not None:
            taker(name, value)
        elif name == "requeue":
            self._draft.note(
                "--requeue: lost attempts are placed again anyway",
                "--requeue：失われた試行は常に再配置されます",
            )
        else:
            why = "site" if name in OPERATORS else "place" if name in PLACES else "unknown"
            self._draft.refuse(f"--{name}", why)

    def settle(self) -> None:
        """Put together what several options say."""
        try:
            nodes, tasks = shape(self._nodes, self._tasks, self._tasks_per_node)
        except UnevenError as uneven:
            self._draft.refuse(str(uneven), "divide")
            nodes, tasks = self._nodes or 1, 1
        self.shape = Shape(nodes, tasks, self.cpus or 1)
        self._draft.nodes(nodes, "--nodes" if self._nodes else "--ntasks")
        self.cpus_of_node = tasks * self.shape.cpus
        if tasks > 1 or self.cpus:
            self._draft.cpus(self.cpus_of_node, "--cpus-per-task" if self.cpus else "--ntasks")
        mebibytes = self._memory_mib or self._memory_per_cpu_mib * self.cpus_of_node
        if mebibytes:
            self._draft.memory(max(1, -(-int(mebibytes * 1024) // 1024)), "--mem")
        self._settle_gpus()
        if self.tasks is not None:
            self._draft.array(len(self.tasks.numbers), self.tasks.parallel, "--array")

    def _settle_gpus(self) -> None:
        """Each option in GPUs of one node; options that disagree are refused."""
        found: set[tuple[str, int]] = set()
        for name, (kind, count) in self._gpus.items():
            if name == "gpus" and count % self.shape.nodes:
                self._draft.refuse("--gpus", "divide")
                return
            per_node = {"gpus": count // self.shape.nodes, "gpus-per-task": count * self.shape.tasks}
            found.add((kind, per_node.get(name, count)))
        if len(found) > 1:
            self._draft.refuse(", ".join(f"--{name}" for name in self._gpus), "value")
        for kind, count in found:
            self._draft.accelerators(kind, count, "--gpus")

    def _time(self, name: str, value: str) -> None:
        match = TIME.fullmatch(value)
        if match is None:
            self._draft.refuse(f"--{name}", "value")
            return
        days, first, second, third = (int(part) if part else None for part in match.groups())
        if days is not None:
            seconds = days * 86_400 + (first or 0) * 3600 + (second or 0) * 60 + (third or 0)
        elif third is not None:
            seconds = (first or 0) * 3600 + (second or 0) * 60 + third
        else:
            seconds = (first or 0) * 60 + (second or 0)
        if seconds:
            self._draft.time_limit(seconds, f"--{name}")
        else:
            self._draft.refuse(f"--{name}", "value")

    def _number(self, name: str, value: str) -> int:
        if value.isascii() and value.isdecimal() and len(value) < 9 and 0 < int(value) < 100_000:  # noqa: PLR2004 - more than any machine has
            return int(value)
        self._draft.refuse(f"--{name}", "value")
        return 1

    def _cpus(self, name: str, value: str) -> None:
        self.cpus = self._number(name, value)

    def _count_tasks(self, name: str, value: str) -> None:
        count = self._number(name, value)
        if name == "ntasks":
            self._tasks = count
        else:
            self._tasks_per_node = count

    def _count_nodes(self, name: str, value: str) -> None:
        """`4`, or `4-4`; of a range Slurm picks the number by itself."""
        least, dash, most = value.partition("-")
        count = self._number(name, least)
        if dash and most != least:
            self._draft.refuse(f"--{name}", "nodes" if most.isdecimal() else "value")
        self._nodes = count

    def _array(self, name: str, value: str) -> None:
        found = slurm_arrays.parse(value)
        if isinstance(found, str):
            self._draft.refuse(f"--{name}", found)
        else:
            self.tasks = found

    def _memory(self, name: str, value: str) -> None:
        match = MEMORY.fullmatch(value)
        if match is None or not int(match[1]):
            self._draft.refuse(f"--{name}", "value")
            return
        mebibytes = int(match[1]) * UNIT_MIB[match[2].lower()]
        if name == "mem":
            self._memory_mib = mebibytes
        else:
            self._memory_per_cpu_mib = mebibytes

    def _gres(self, name: str, value: str) -> None:
        for item in value.split(","):
            kind, _, rest = item.partition(":")
            if kind != "gpu":
                self._draft.refuse(f"--{name}={item}")
            else:
                self._gpu_count("gres", rest)

    def _gpu_count(self, name: str, value: str) -> None:
        kind, colon, count = value.rpartition(":")
        if not colon and value and not value.isdecimal():
            kind, count = value, "1"
        if not COUNT.fullmatch(count or "1"):
            self._draft.refuse(f"--{name}", "value")
            return
        if not kind:
            self._draft.refuse(f"--{name}={value}: the type of GPU", "missing")
            return
        self._gpus[name] = (kind.upper(), int(count or 1))

    def _log(self, name: str, value: str) -> None:
        del value
        self._draft.note(
            f"--{name}: the log is kept with the job: sekisho logs",
            f"--{name}：ログはジョブと共に保存されます（sekisho logs）",
        )

    def _export(self, name: str, value: str) -> None:
        for item in value.split(","):
            variable, equals, content = item.partition("=")
            if equals:
                self._draft.variable(variable, content, f"--{name}={variable}")
            elif item.upper() not in {"NONE", "NIL"}:
                self._draft.refuse(f"--{name}={item}", "value")
