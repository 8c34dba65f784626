"""Scripts for Slurm's sbatch: their `#SBATCH` lines, and a shell text that runs on one node or on each of several."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from typing import Final

from sekisho_client.imports import slurm_steps
from sekisho_client.imports.draft import Draft
from sekisho_client.imports.slurm_options import Wanted

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
SHELLS: Final = frozenset({"sh", "bash"})
USED: Final = re.compile(r"(?<![\w./-])(SLURM_\w+)\b(?!=(?!=))")
ASSIGNED: Final = re.compile(r"(?:^|[\s;&|(])(SLURM_\w+)=(?!=)")
RECKONED: Final = re.compile(r"(?:\(\([^()\n]{0,200}|\bexpr\b[^\n]{0,200})\b(SLURM_(?:ARRAY_)?JOB_?ID)\b")
TOLD_ALWAYS: Final = frozenset(
    {"SLURM_PROCID", "SLURM_NODEID", "SLURM_LOCALID", "SLURM_NTASKS", "SLURM_NNODES", "SLURM_ARRAY_TASK_ID"}
)
"""What programs on several nodes and in arrays ask for by themselves, where it can be told."""
NODE_LISTS: Final = frozenset({"SLURM_JOB_NODELIST", "SLURM_NODELIST", "SLURM_STEP_NODELIST"})


def translate(text: str, draft: Draft) -> str:
    """Fill the draft from the script's options; answers the shell text to run."""
    lines = text.replace("\r\n", "\n").split("\n")
    shebang = lines[0] if lines and lines[0].startswith("#!") else ""
    words = shebang[2:].split()
    program = words[-1].rpartition("/")[2] if words else "sh"
    if (words and program not in SHELLS) and not (program.startswith("-") and "bash" in shebang):
        draft.refuse(shebang, "value")
    wanted = Wanted(draft)
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


def _body(body: str, draft: Draft, wanted: Wanted) -> str:
    """The commands, and before them the variables that Slurm would have told them."""
    text = slurm_steps.commands(body, draft, wanted.shape)
    code = "\n".join(line for line in text.split("\n") if not line.lstrip().startswith(("#", "unset ")))
    known = _variables(draft, wanted)
    used, assigned = set(USED.findall(code)), set(ASSIGNED.findall(code))
    gang = wanted.shape.nodes > 1
    if gang:
        count = wanted.shape.nodes
        draft.note(
            f"{count} nodes: the text runs on each; of Slurm's variables only those at its head are set",
            f"{count}ノード：本文は各ノードで実行されます。Slurmの変数は冒頭にあるものだけです",
        )
    always = TOLD_ALWAYS & set(known) if gang else {"SLURM_ARRAY_TASK_ID"} & set(known)
    for name in sorted(used | always):
        if name in known:
            draft.export(name, known[name])
        elif name not in assigned:
            draft.refuse(f"${name}", "addresses" if gang and name in NODE_LISTS else "unknown")
    for name in RECKONED.findall(code):
        draft.refuse(f"${name}", "number")
    return text


def _variables(draft: Draft, wanted: Wanted) -> dict[str, str]:
    """What Slurm tells a task, as shell text; of several tasks on one node nobody knows which one asks."""
    nodes, tasks, cpus = wanted.shape
    gpus = str(draft.resources.get("accelerators", "")).rpartition(":")[2]
    rank = '"$NODE_RANK"' if nodes > 1 else "0"
    known = {
        "SLURM_JOB_ID": '"$SEKISHO_JOB"',
        "SLURM_JOBID": '"$SEKISHO_JOB"',
        "SLURM_JOB_NAME": str(draft.fields.get("name", "job")),
        "SLURM_NTASKS": str(nodes * tasks),
        "SLURM_NPROCS": str(nodes * tasks),
        "SLURM_CPUS_PER_TASK": str(cpus),
        "SLURM_CPUS_ON_NODE": str(wanted.cpus_of_node),
        "SLURM_NNODES": str(nodes),
        "SLURM_JOB_NUM_NODES": str(nodes),
        "SLURM_NODEID": rank,
        "SLURM_SUBMIT_DIR": '"$PWD"',
        **({"SLURM_NTASKS_PER_NODE": str(tasks)} if nodes > 1 else {}),
        **({"SLURM_GPUS_ON_NODE": gpus} if gpus else {}),
        **({"SLURM_PROCID": rank, "SLURM_LOCALID": "0"} if tasks == 1 or nodes == 1 else {}),
    }
    if wanted.tasks is not None:
        known |= wanted.tasks.variables()
    return known
