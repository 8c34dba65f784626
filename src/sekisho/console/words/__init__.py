"""Every text of the console in both languages. Written twice, not translated; a test holds the pair to one shape.

A key names where the text stands. Placeholders in braces are the same in both languages. English avoids forms
that depend on a number.
"""

from __future__ import annotations

from collections.abc import Mapping

from sekisho.console.words import charter, evidence, frame, jobs, keys, places, problems, states
from sekisho_wire.problems import Text

WORDS: Mapping[str, Text] = {
    key: Text(*pair)
    for table in (
        charter.WORDS,
        evidence.WORDS,
        frame.WORDS,
        jobs.WORDS,
        keys.WORDS,
        places.WORDS,
        problems.WORDS,
        states.WORDS,
    )
    for key, pair in table.items()
}
