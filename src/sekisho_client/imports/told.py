"""What a pod's container is told by variables, and its command, which may name them and other pods."""

from __future__ import annotations

import re
import shlex
from typing import Any, Final

from sekisho_client.imports.draft import Draft
from sekisho_client.imports.roles import INDEX, Roles

SHELLS: Final = frozenset({"sh", "bash"})
SHELL_OPTIONS: Final = frozenset({"-c", "-ec", "-ce", "-lc", "-exc"})
REFERENCE: Final = re.compile(r"\$?\$\(([A-Za-z_][A-Za-z0-9_.-]*)\)")
OF_SETS: Final = re.compile(r"\$\{?(JOBSET_\w+)")


class Told:
    """The variables of one container, in their order: a later one may name an earlier one."""

    def __init__(self, draft: Draft, roles: Roles) -> None:
        """`roles` says what the pods are told apart by."""
        self._draft = draft
        self._roles = roles
        self._texts: dict[str, str | None] = {INDEX: None} if roles.index else {}
        self._indexed = roles.several and bool(roles.index)
        if self._indexed:
            draft.export(INDEX, roles.index)

    def take(self, variable: dict[str, Any]) -> None:
        """One entry of `env`."""
        name, source = str(variable.get("name", "")), variable.get("valueFrom")
        if source is None:
            self._text(name, variable.get("value", ""))
            return
        self._texts[name] = None
        reference = source.get("fieldRef") if isinstance(source, dict) and len(source) == 1 else None
        if isinstance(source, dict) and set(source) == {"secretKeyRef"}:
            self._draft.secret(name, f"env.{name}")
            self._draft.note(
                f"secret {name}: sekisho secret set {name}", f"秘密{name}：sekisho secret set {name}"
            )
        elif isinstance(reference, dict) and (text := self._roles.field(str(reference.get("fieldPath")))):
            self._draft.export(name, text, f"env.{name}")
        else:
            self._draft.refuse(f"env.{name}")

    def commands(self, words: list[str]) -> str:
        """A shell's own text as it stands, anything else as one quoted line."""
        text = "\n".join(words)
        for used in REFERENCE.finditer(text):
            if used[1] in self._texts and not used[0].startswith("$$"):
                self._draft.refuse(f"containers.command: $({used[1]})", "value")
        if INDEX in text and self._roles.index and not self._indexed:
            self._draft.export(INDEX, self._roles.index)
        for name in sorted(set(OF_SETS.findall(text)) - set(self._texts)):
            if name in self._roles.variables:
                self._draft.export(name, self._roles.variables[name])
            else:
                self._draft.refuse(f"${name}")
        pieces = [self._pieces(word, "containers.command") for word in words]
        match words:
            case [shell, option, whole] if (
                shell.rpartition("/")[2] in SHELLS and option in SHELL_OPTIONS and len(pieces[2]) == 1
            ):
                return ("set -e\n" if "e" in option else "") + whole
            case _:
                return " ".join(self._joined(parts) for parts in pieces)

    def _text(self, name: str, value: object) -> None:
        """A plain value, with the earlier variables that it names."""
        if not isinstance(value, str):
            self._draft.variable(name, value, f"env.{name}")
            self._texts[name] = self._draft.envs.get(name)
            return
        text = self._expanded(name, value)
        pieces = self._pieces(text, f"env.{name}")
        self._texts[name] = text
        if len(pieces) == 1:
            self._draft.variable(name, text, f"env.{name}")
            return
        self._draft.note(
            f"{name}: the first node's address, which is in MASTER_ADDR",
            f"{name}：先頭ノードのアドレス（MASTER_ADDRの値）です",
        )
        joined = self._joined(pieces)
        if name != "MASTER_ADDR" or joined != self._roles.head or not self._roles.several:
            self._draft.export(name, joined, f"env.{name}")

    def _expanded(self, name: str, value: str) -> str:
        def instead(found: re.Match[str]) -> str:
            if found[0].startswith("$$"):
                return found[0][1:]
            earlier = self._texts.get(found[1], found[0])
            if earlier is None:
                self._draft.refuse(f"env.{name}: $({found[1]})", "value")
            return earlier or ""

        return REFERENCE.sub(instead, value)

    def _pieces(self, text: str, where: str) -> list[str]:
        pieces, other = self._roles.pieces(text)
        if other:
            self._draft.refuse(f"{where}: {other}", "pod_name")
        return pieces

    def _joined(self, pieces: list[str]) -> str:
        """Shell text of one word, with the first pod's address between its pieces."""
        quoted = [shlex.quote(piece) if piece else "" for piece in pieces]
        return self._roles.head.join(quoted) if len(pieces) > 1 else shlex.quote(pieces[0])
