"""Scripts for Slurm's sbatch: their `#SBATCH` lines, and a shell text that runs on one node."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator
from typing import Final

from sekisho_client.imports.draft import Draft, duration

SHORT: Final = {
    "A": "account",
    "a": "array",
    "c": "cpus-per-task",
    "C": "constraint",
    "D": "chdir",
    "d": "dependency",
    "e": "error",
    "G": "gpus",
    "i": "input",
    "J": "job-name",
    "L": "licenses",
    "M": "clusters",
    "m": "distribution",
    "N": "nodes",
    "n": "ntasks",
    "o": "output",
    "p": "partition",
    "q": "qos",
    "t": "time",
    "w": "nodelist",
    "x": "exclude",
}
WITHOUT_VALUE: Final = frozenset({"exclusive", "requeue", "no-requeue", "hold", "contiguous", "overcommit"})
OPERATORS: Final = frozenset(
    {"account", "partition", "qos", "constraint", "reservation", "licenses", "comment"}
)
PLACES: Final = frozenset({"clusters", "nodelist", "exclude"})
TIME: Final = re.compile(r"(?:(\d{1,4})-)?(\d{1,5})(?::(\d{1,2}))?(?::(\d{1,2}))?")
MEMORY: Final = re.compile(r"(\d{1,9})([KMGT]?)B?", re.IGNORECASE)
UNIT_MIB: Final = {"k": 1 / 1024, "": 1, "m": 1, "g": 1024, "t": 1024 * 1024}
SHELLS: Final = frozenset({"sh", "bash"})
LAUNCHERS: Final = re.compile(
    r"^\s*(?:exec\s+|time\s+)?(mpirun|mpiexec|module|ml|sbatch|scontrol|squeue|sbcast|salloc|enroot|apptainer|singularity)\b"
)
SRUN: Final = re.compile(r"^(\s*)srun[ \t]+(?=[^-\s])")
SRUN_ANY: Final = re.compile(r"(?<![\w./-])srun\b")
VARIABLE: Final = re.compile(r"\$\{?(SLURM_\w+)")


def translate(text: str, draft: Draft) -> str:
    """Fill the draft from the script's options; answers the shell text to run."""
    lines = text.replace("\r\n", "\n").split("\n")
    shebang = lines[0] if lines and lines[0].startswith("#!") else ""
    words = shebang[2:].split()
    program = words[-1].rpartition("/")[2] if words else "sh"
    if (words and program not in SHELLS) and not (program.startswith("-") and "bash" in shebang):
        draft.refuse(shebang, "value")
    wanted = _Wanted(draft)
    for name, value in _options(lines, draft):
        wanted.take(name, value)
    wanted.settle()
    body = "\n".join(line for line in lines[1 if shebang else 0 :] if not line.startswith("#SBATCH"))
    return _body(body, draft, wanted)


def _options(lines: list[str], draft: Draft) -> Iterator[tuple[str, str]]:
    """Name and value of each option; sbatch stops at the first line that is neither comment nor empty."""
    for line in lines:
        stripped = line.strip()
        if stripped and not stripped.startswith("#"):
            return
        if not line.startswith("#SBATCH"):
            continue
        try:
            words = shlex.split(line[len("#SBATCH") :], comments=True)
        except ValueError:
            draft.refuse(line.strip(), "value")
            continue
        while words:
            word = words.pop(0)
            if word.startswith("--"):
                name, equals, value = word[2:].partition("=")
                if not equals and name not in WITHOUT_VALUE and words and not words[0].startswith("-"):
                    value = words.pop(0)
                yield name, value
            elif word.startswith("-") and word[1:2] in SHORT:
                value = word[2:].removeprefix("=") or (words.pop(0) if words else "")
                yield SHORT[word[1]], value
            else:
                draft.refuse(word)


class _Wanted:
    """What the options ask for; several of them multiply."""

    def __init__(self, draft: Draft) -> None:
        self._draft = draft
        self.tasks = 1
        self.cpus = 0
        self._memory_mib = 0.0
        self._memory_per_cpu_mib = 0.0
        self._gpus: tuple[str, int] | None = None
        self._gpus_per_task = False
        self._takers: dict[str, Callable[[str, str], None]] = {
            "job-name": lambda name, value: draft.name(value, f"--{name}"),
            "time": self._time,
            "cpus-per-task": self._cpus,
            "ntasks": self._tasks,
            "ntasks-per-node": self._tasks,
            "nodes": self._nodes,
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
        elif name == "array":
            self._draft.refuse("--array", "array")
        else:
            why = "site" if name in OPERATORS else "place" if name in PLACES else "unknown"
            self._draft.refuse(f"--{name}", why)

    def settle(self) -> None:
        """Put together what several options say."""
        cpus = self.tasks * (self.cpus or 1)
        if self.tasks > 1 or self.cpus:
            self._draft.resources["cpus"] = cpus
        mebibytes = self._memory_mib or self._memory_per_cpu_mib * cpus
        if mebibytes:
            whole = max(1, -(-int(mebibytes * 1024) // 1024))
            self._draft.resources["memory"] = f"{whole}MiB"
        if self._gpus is not None:
            kind, count = self._gpus
            self._draft.accelerators(kind, count * (self.tasks if self._gpus_per_task else 1), "--gpus")

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
            self._draft.fields["time_limit"] = duration(seconds)
        else:
            self._draft.refuse(f"--{name}", "value")

    def _number(self, name: str, value: str) -> int:
        if value.isdecimal() and 0 < int(value) < 100_000:  # noqa: PLR2004 - more than any machine has
            return int(value)
        self._draft.refuse(f"--{name}", "value")
        return 1

    def _cpus(self, name: str, value: str) -> None:
        self.cpus = self._number(name, value)

    def _tasks(self, name: str, value: str) -> None:
        self.tasks = max(self.tasks, self._number(name, value))

    def _nodes(self, name: str, value: str) -> None:
        if value.partition("-")[2] or self._number(name, value) > 1:
            self._draft.refuse(f"--{name}", "nodes")

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
        if not (count or "1").isdecimal():
            self._draft.refuse(f"--{name}", "value")
            return
        if not kind:
            self._draft.refuse(f"--{name}={value}: the type of GPU", "missing")
            return
        self._gpus, self._gpus_per_task = (kind.upper(), int(count or 1)), name == "gpus-per-task"

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


def _body(body: str, draft: Draft, wanted: _Wanted) -> str:
    """The commands, with plain `srun` left out where there is one task to start; the rest of Slurm is refused."""
    lines = []
    for line in body.split("\n"):
        code = line.split("#", 1)[0] if line.lstrip().startswith("#") else line
        launcher = LAUNCHERS.match(code)
        if launcher:
            draft.refuse(launcher[1], "launcher")
        plain = SRUN.sub(r"\1", code) if wanted.tasks == 1 else code
        if SRUN_ANY.search(plain) and code.strip():
            draft.refuse("srun", "launcher")
        lines.append(plain if code.strip() else line)
    known = {
        "SLURM_JOB_ID": '"$SEKISHO_JOB"',
        "SLURM_JOBID": '"$SEKISHO_JOB"',
        "SLURM_JOB_NAME": draft.fields.get("name", "job"),
        "SLURM_NTASKS": str(wanted.tasks),
        "SLURM_CPUS_PER_TASK": str(wanted.cpus or 1),
        "SLURM_NNODES": "1",
        "SLURM_JOB_NUM_NODES": "1",
        "SLURM_NODEID": "0",
        "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0",
        "SLURM_SUBMIT_DIR": '"$PWD"',
    }
    for used in sorted(set(VARIABLE.findall(body))):
        if used in known:
            draft.prelude.append(f"export {used}={known[used]}")
        else:
            draft.refuse(f"${used}")
    return "\n".join(lines)
