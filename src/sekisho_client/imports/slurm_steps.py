"""The commands of an sbatch script, for one node or for several.

sbatch runs a script on the first node, and `srun` starts its command on all of them; a job of ours runs its text on
each node. So the text of several nodes is kept only where that is the same: settings, and one plain `srun`.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Final

from sekisho_client.imports import shell
from sekisho_client.imports.draft import Draft
from sekisho_client.imports.shell import Statement, UnreadableError, Word
from sekisho_client.imports.slurm_heads import Heads
from sekisho_client.imports.slurm_options import Shape

LAUNCHERS: Final = re.compile(
    r"^\s*(?:exec\s+|time\s+)?(mpirun|mpiexec|module|ml|sbatch|scontrol|squeue|sbcast|salloc|enroot|apptainer|singularity)\b"
)
ASKERS: Final = re.compile(r"(?:\$\(|[`|;&(])\s*(scontrol|squeue|sacct|sbatch|sinfo)\b")
"""Commands of Slurm inside another one."""
SRUN_ANY: Final = re.compile(r"(?<![\w./-])srun\b")
SETTINGS: Final = frozenset(
    {"export", "unset", "readonly", "set", "cd", "ulimit", "umask", "shopt", ":", "true"}
)
SPOKEN: Final = frozenset({"echo"})
TOLD: Final = frozenset({"pwd", "echo", "printf"})
"""What may stand in `$(...)`: the same on every node."""
SHOWN: Final = TOLD | {"date", "hostname", "whoami", "nproc"}
"""What may stand there when it is only printed."""
CLOSERS: Final = frozenset({"fi", "done", "esac", "then", "else", "do", "{", "}", ";;"})
PLAIN_NAME: Final = re.compile(r"\$(?:\w+|\{\w+\}|[$!?])")
DEPTH_MAX: Final = 8
RUN_MAX: Final = 100_000
"""As long as the job file takes it."""
VARYING: Final = frozenset(
    {
        *(
            "RANDOM",
            "SRANDOM",
            "HOSTNAME",
            "HOST",
            "BASHPID",
            "PPID",
            "SECONDS",
            "EPOCHSECONDS",
            "EPOCHREALTIME",
        ),
        *("SLURM_PROCID", "SLURM_NODEID", "SLURMD_NODENAME", "SLURM_TASK_PID", "SLURM_TOPOLOGY_ADDR"),
    }
)
OURS: Final = frozenset({"RANK", "NODE_RANK"})
"""Set by the site, and by no sbatch: as long as the script does not set them, they differ from node to node."""
PLAIN_FLAGS: Final = frozenset(
    {
        "-l",
        "--label",
        "-u",
        "--unbuffered",
        "-K",
        "-K1",
        "--kill-on-bad-exit",
        "--kill-on-bad-exit=1",
        "--export=ALL",
    }
)
COUNTED: Final = {
    "-N": "nodes",
    "--nodes": "nodes",
    "-n": "ntasks",
    "--ntasks": "ntasks",
    "--ntasks-per-node": "per-node",
    "-c": "cpus",
    "--cpus-per-task": "cpus",
    "--jobid": "job",
}
JOINED: Final = re.compile(r"(-[Nnc])(.+)")
SPELT: Final = {
    "nodes": {"SLURM_NNODES", "SLURM_JOB_NUM_NODES"},
    "ntasks": {"SLURM_NTASKS", "SLURM_NPROCS"},
    "per-node": {"SLURM_NTASKS_PER_NODE"},
    "cpus": {"SLURM_CPUS_PER_TASK"},
    "job": {"SLURM_JOB_ID", "SLURM_JOBID"},
}


def commands(body: str, draft: Draft, shape: Shape) -> str:
    """The script's commands as ours; what would be something else here is refused."""
    if len(body) > RUN_MAX:
        draft.refuse("run", "value")
        return body
    for line in body.split("\n"):
        code = "" if line.lstrip().startswith("#") else line
        launcher = LAUNCHERS.match(code)
        if launcher and launcher[1] != "scontrol":
            draft.refuse(launcher[1], "launcher")
    try:
        found = shell.statements(body)
    except UnreadableError:
        if shape.nodes > 1 or SRUN_ANY.search(body):
            draft.refuse("run", "value")
        return body
    script = _Script(draft, shape)
    lines = [line for statement in found if (line := script.line(statement)) is not None]
    return script.whole("\n".join(lines))


class _Script:
    """One script's lines, in order."""

    def __init__(self, draft: Draft, shape: Shape) -> None:
        self._draft = draft
        self._shape = shape
        self._gang = shape.nodes > 1
        self._heads = Heads(draft, gang=self._gang)
        self._assigned: set[str] = set()
        self._steps = 0

    def line(self, statement: Statement) -> str | None:
        """What a line becomes; None for one that is left out."""
        if not statement.words and not statement.operators:
            return statement.text
        instead = self._heads.rewritten(statement.text)
        if instead is not None:
            return instead or None
        asked = LAUNCHERS.match(statement.text) or ASKERS.search(statement.text)
        if asked:
            self._draft.refuse(asked[1], "launcher")
            return statement.text
        if self._gang:
            return self._of_every_node(statement)
        return self._of_one_node(statement)

    def whole(self, text: str) -> str:
        """All lines together."""
        self._heads.refuse_others(text)
        return text

    def _of_one_node(self, statement: Statement) -> str:
        """Anything at all; a plain `srun` of one task is left out."""
        begins = statement.command
        text = statement.text
        if _word(statement, begins) == "srun" and self._shape.tasks == 1:
            text = self._without_srun(statement, begins)
        code = "\n".join(line for line in text.split("\n") if not line.lstrip().startswith("#"))
        if SRUN_ANY.search(code):
            self._draft.refuse("srun", "tasks" if self._shape.tasks > 1 else "launcher")
        return text

    def _of_every_node(self, statement: Statement) -> str:
        begins = statement.command
        command = _word(statement, begins)
        if command in CLOSERS:
            return statement.text
        if statement.operators:
            self._draft.refuse(f"{command or statement.first} {statement.operators[0]}".strip(), "first_node")
            return statement.text
        if command not in {"", "srun", *SETTINGS, *SPOKEN}:
            self._draft.refuse(command, "first_node")
            return statement.text
        for expansion in statement.expansions:
            self._look_into(expansion, spoken=command in SPOKEN)
        self._remember(statement)
        if command in SPOKEN:
            self._say(f"{command}: printed on every node", f"{command}：すべてのノードで出力されます")
        return self._without_srun(statement, begins) if command == "srun" else statement.text

    def _remember(self, statement: Statement) -> None:
        for word in statement.words:
            if shell.ASSIGNMENT.match(word.text):
                self._assigned.add(word.text.partition("=")[0].rstrip("+"))

    def _look_into(self, expansion: str, *, spoken: bool) -> None:
        """What the shell replaces before the command begins must be the same on every node."""
        if expansion.startswith(("$((", "${")):
            names = set(re.findall(r"[A-Za-z_]\w*", expansion))
            if expansion.startswith("${!") or "$(" in expansion[2:] or "`" in expansion:
                self._draft.refuse(expansion, "varies")
        elif expansion.startswith(("$(", "`")):
            self._look_into_command(expansion, spoken=spoken)
            return
        else:
            names = {expansion[1:]}
        varying = names & {*VARYING, *(OURS - self._assigned), "$", "!", "?"}
        if varying and not (spoken and PLAIN_NAME.fullmatch(expansion)):
            self._draft.refuse(f"${min(varying)}", "varies")

    def _look_into_command(self, expansion: str, *, spoken: bool) -> None:
        inner = expansion[2:-1] if expansion.startswith("$(") else expansion[1:-1]
        try:
            found = shell.statements(inner)
        except UnreadableError:
            found = list[Statement]()
        known = SHOWN if spoken else TOLD
        if (
            inner.count("$(") > DEPTH_MAX
            or len(found) != 1
            or found[0].operators
            or found[0].first not in known
        ):
            self._draft.refuse(expansion, "varies")
            return
        for further in found[0].expansions:
            self._look_into(further, spoken=spoken)

    def _without_srun(self, statement: Statement, begins: int) -> str:
        """The line from srun's command on, when its options change nothing here."""
        self._steps += 1
        if self._gang and self._shape.tasks > 1:
            self._draft.refuse("srun", "tasks")
        elif self._gang and self._steps > 1:
            self._draft.refuse("srun", "steps")
        words, base = statement.words, statement.start
        lead = statement.text[: words[begins].start - base]
        at = self._after_options(words, begins + 1)
        if at is None:
            return f"{lead}true"
        between = [
            statement.text[before.end - base : after.start - base]
            for before, after in pairwise(words[begins : at + 1])
        ]
        if "".join(between).replace("\\\n", "").strip():
            self._draft.refuse("srun", "srun")
        return lead + statement.text[words[at].start - base :]

    def _after_options(self, words: tuple[Word, ...], at: int) -> int | None:
        """The number of the command's word; None, and a refusal, where something stands in the way."""
        while at < len(words) and words[at].text.startswith("-") and words[at].text != "--":
            option, equals, value = words[at].text.partition("=")
            if words[at].text in PLAIN_FLAGS:
                self._say(f"srun {option}: left out", f"srun {option}：省きました")
                at += 1
                continue
            joined = JOINED.fullmatch(option)
            if joined:
                option, value = joined.groups()
            elif option in COUNTED and not equals:
                at += 1
                value = words[at].text if at < len(words) else ""
            if option not in COUNTED or not self._same(COUNTED[option], value):
                self._draft.refuse(f"srun {option}", "srun")
                return None
            at += 1
        at += at < len(words) and words[at].text == "--"
        if at >= len(words) or shell.ASSIGNMENT.match(words[at].text):
            self._draft.refuse("srun", "value")
            return None
        return at

    def _same(self, what: str, value: str) -> bool:
        """Whether a number of srun's is the job's own."""
        shape = self._shape
        own: dict[str, int] = {
            "nodes": shape.nodes,
            "ntasks": shape.nodes * shape.tasks,
            "per-node": shape.tasks,
            "cpus": shape.cpus,
        }
        plain = shell.unquoted(value)
        name = re.fullmatch(r"\$(?:(\w+)|\{(\w+)\})", plain)
        return plain == str(own.get(what)) or (name is not None and (name[1] or name[2]) in SPELT[what])

    def _say(self, english: str, japanese: str) -> None:
        if (english, japanese) not in self._draft.notes:
            self._draft.note(english, japanese)


def _word(statement: Statement, number: int) -> str:
    return statement.words[number].text if number < len(statement.words) else ""
