"""The usual ways in which a script finds its first node: `scontrol show hostnames ... | head -n 1` and its kin.

The site sets MASTER_ADDR and MASTER_PORT on every node of a gang, so these lines give way to them.
"""

from __future__ import annotations

import re
from typing import Final

from sekisho_client.imports.draft import Draft

FIRST_NODE: Final = '"$MASTER_ADDR"'
ALONE: Final = "127.0.0.1"
PORT_ALONE: Final = "29500"
LINE_MAX: Final = 2000

_SETTING: Final = re.compile(
    r"(?P<lead>(?:export |declare -x |declare |readonly )?)(?P<name>[A-Za-z_]\w*)=(?P<value>.+)"
)
_LIST: Final = r"(?:\"?\$(?:SLURM_(?:JOB_)?NODELIST|\{SLURM_(?:JOB_)?NODELIST\})\"?)"
_SHOW: Final = rf"scontrol show hostnames?(?: {_LIST})?"
_FIRST: Final = r" ?\| ?(?:head (?:-n ?1|-1|--lines=1)|sed -n (?:1p|'1p'|\"1p\"))"
_FIELD: Final = r"(?: ?\| ?(?:awk '\{ ?print \$1;? ?\}'|cut -d ?(?:' '|\" \"|\\ ) -f ?1|head (?:-n ?1|-1)))?"
_HOST: Final = rf"hostname(?: (?:-[sfiI]|--short|--fqdn|--long|--ip-address|--all-ip-addresses))?{_FIELD}"
_ONE: Final = r"(?:(?:--nodes|--ntasks)[= ]1|-[Nn] ?1)"
_SRUN: Final = (
    rf"srun(?: {_ONE})*(?: (?:-w ?|--nodelist[= ])\"?\$\{{?(?P<host>\w+)\}}?\"?)(?: {_ONE})* {_HOST}"
)

_HEAD: Final = re.compile(rf"{_SHOW}{_FIRST}")
_HERE: Final = re.compile(_HOST)
"""sbatch's shell is on the first node, so its own name is that node's."""
_HEAD_THERE: Final = re.compile(_SRUN)
_ALL: Final = re.compile(_SHOW)
_ITEM: Final = re.compile(r"\$\{(\w+)\[0\]\}|\$(\w+)|\$\{(\w+)\}")
_PORT: Final = re.compile(
    r"\$\(\([\d +*/%()-]*(?:\$?\{?(?:RANDOM|SLURM_JOB_?ID)\}?[\d +*/%()-]*)+\)\)"
    r"|\$\(expr \d+ \+ \$\(echo -n \$\{?SLURM_JOB_?ID\}? ?\| ?tail -c \d\)\)"
    r"|\$\(shuf -i ?\d+-\d+ -n ?1\)"
)


class Heads:
    """Reads the lines of one script in order: a name that holds the nodes' names is of use only to take the first."""

    def __init__(self, draft: Draft, *, gang: bool) -> None:
        """`gang`: whether there are several nodes, so that the site sets MASTER_ADDR."""
        self._draft = draft
        self._gang = gang
        self._firsts: set[str] = set()
        self._lists: set[str] = set()

    def rewritten(self, line: str) -> str | None:
        """What the line becomes, nothing where it is left out; None for a line that is none of these."""
        if len(line) > LINE_MAX:
            return None
        flat = re.sub(r"(?:\\\n|\s)+", " ", re.sub(r"\s#[^'\"]*$", "", line)).strip().rstrip(";").strip()
        found = _SETTING.fullmatch(flat)
        if found is None:
            return None
        lead, name, value = found["lead"], found["name"], _bare(found["value"])
        if self._is_list(value):
            self._lists.add(name)
            self._note()
            return "" if self._gang else ":"
        if self._is_first(value):
            self._firsts.add(name)
            self._note()
            return self._set(lead, name, "MASTER_ADDR", FIRST_NODE if self._gang else ALONE)
        if name == "MASTER_PORT" and _PORT.fullmatch(value) and (self._gang or "SLURM_" in value):
            self._draft.note(
                "MASTER_PORT: the site sets it" if self._gang else f"MASTER_PORT: {PORT_ALONE}",
                "MASTER_PORT：拠点が設定します" if self._gang else f"MASTER_PORT：{PORT_ALONE}",
            )
            return self._set(lead, name, "MASTER_PORT", PORT_ALONE)
        return None

    def refuse_others(self, text: str) -> None:
        """Names of all nodes that something else than these lines goes on to use."""
        for name in sorted(self._lists):
            if re.search(rf"\$\{{?[#!]?{name}\b", text):
                self._draft.refuse(f"${name}", "addresses")

    def _set(self, lead: str, name: str, own: str, value: str) -> str:
        return "" if self._gang and name == own else f"{lead}{name}={value}"

    def _note(self) -> None:
        english = "the first node's address: MASTER_ADDR, which the site sets"
        japanese = "先頭ノードのアドレス：拠点が設定するMASTER_ADDRを使います"
        if not self._gang:
            english, japanese = f"the first node's address: {ALONE}", f"先頭ノードのアドレス：{ALONE}"
        if (english, japanese) not in self._draft.notes:
            self._draft.note(english, japanese)

    def _is_list(self, value: str) -> bool:
        inside = re.fullmatch(r"\( ?(.*?) ?\)", value)
        inner = _bare(inside[1]) if inside else value
        command = _substituted(inner)
        if command is not None and _ALL.fullmatch(command):
            return True
        item = _ITEM.fullmatch(inner)
        return inside is not None and item is not None and (item[2] or item[3]) in self._lists

    def _is_first(self, value: str) -> bool:
        command = _substituted(value)
        if command is not None:
            there = _HEAD_THERE.fullmatch(command)
            here = self._gang and _HERE.fullmatch(command) is not None
            return (
                here
                or _HEAD.fullmatch(command) is not None
                or (there is not None and there["host"] in self._firsts)
            )
        item = _ITEM.fullmatch(value)
        return item is not None and item[1] in self._lists


def _bare(value: str) -> str:
    return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value


def _substituted(value: str) -> str | None:
    """The command of `$(...)` or of backticks."""
    found = re.fullmatch(r"\$\( ?(.*?) ?\)|` ?(.*?) ?`", value)
    return (found[1] or found[2]) if found else None
