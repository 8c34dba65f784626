"""What a verb is given: the settings of this run and the way to speak to the person."""

from __future__ import annotations

from typing import NamedTuple

from sekisho_client.commands import Entry
from sekisho_client.render import Screen
from sekisho_client.settings import Settings


class Session(NamedTuple):
    """One run of the command line. `progress` is False where none may be drawn."""

    settings: Settings
    screen: Screen
    entry: Entry
    progress: bool
    yes: bool
    take_all: bool
    output: str
