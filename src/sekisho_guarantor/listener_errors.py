"""Problems of a listener beside those of every guarantor."""

from __future__ import annotations

from sekisho_wire.problems import Exit, Text, define

KEY_UNREADABLE = define(
    "listener.key_unreadable",
    500,
    Exit.INTERNAL,
    Text(
        "The key in {folder} is missing, can be read by others, or cannot be read. A new listener begins with init.",
        "{folder}の鍵がないか、ほかの利用者から読み取れるか、読み取れません。新しい観測者はinitから始めます。",
    ),
)
