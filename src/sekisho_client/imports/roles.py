"""Which of its pods a text runs in: what Kubernetes tells each, as text of the shell that runs it here."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, NamedTuple

INDEX: Final = "JOB_COMPLETION_INDEX"
INDEX_FIELD: Final = "batch.kubernetes.io/job-completion-index"
FIELD: Final = re.compile(r"metadata\.(?:labels|annotations)\['([^'\]]+)'\]")
HOST: Final = re.compile(r"[A-Za-z0-9._-]+")
NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
HEAD: Final = '"$MASTER_ADDR"'


class Roles(NamedTuple):
    """What the pods of one document are told apart by.

    `index` is the text of JOB_COMPLETION_INDEX, nothing where there is none; `fields` are texts of labels and
    annotations; `variables` are what a script may ask for. `stem` begins the name of every pod, and `kind` stands in
    it; `first` are the names under which the first one is found, `head` is its address here. `several`: whether there
    is more than one pod.
    """

    index: str = ""
    fields: Mapping[str, str] = NOTHING
    variables: Mapping[str, str] = NOTHING
    stem: str = ""
    kind: str = ""
    first: tuple[str, ...] = ()
    head: str = HEAD
    several: bool = False

    def field(self, path: str) -> str:
        """The text of what a `fieldRef` names, nothing where it cannot be known."""
        found = FIELD.fullmatch(path)
        if found is None:
            return ""
        return self.index if found[1] == INDEX_FIELD else self.fields.get(found[1], "")

    def pieces(self, text: str) -> tuple[list[str], str]:
        """The text cut where it names the first pod, and another pod's name when it has one."""
        pieces: list[str] = []
        last = 0
        for found in HOST.finditer(text):
            if not self.stem or not found[0].startswith(self.stem):
                continue
            if found[0] not in self.first:
                return [text], found[0]
            pieces.append(text[last : found.start()])
            last = found.end()
        pieces.append(text[last:])
        number = r"(?:\d+|\$\w+|\$\{\w+\})"
        composed = re.search(rf"-{re.escape(self.kind)}-{number}-{number}", "\n".join(pieces))
        return pieces, composed[0] if self.kind and composed else ""
