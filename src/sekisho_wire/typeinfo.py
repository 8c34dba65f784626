"""Builds what msgspec needs to know of every struct, in one thread, before there are others.

msgspec collects a struct's field types when it first decodes one, and two threads that do so for the same type at the
same time crash the interpreter (0.22.0: a segmentation fault, every time in a loop of 300 types and four threads).
Programs with threads call `build` after their imports and before their first thread.
"""

from __future__ import annotations

import weakref

import msgspec

_tried: weakref.WeakSet[type[msgspec.Struct]] = weakref.WeakSet()


def build() -> int:
    """Build the type information of every struct that exists; answers how many there are.

    Structs that nobody can decode (unions that JSON cannot tell apart, names only known to type checkers) are left
    out: decoding one raises, it does not crash. Asked again, it looks only at what is new.
    """
    waiting: list[type[msgspec.Struct]] = [msgspec.Struct]
    seen: set[type[msgspec.Struct]] = set()
    while waiting:
        for struct in waiting.pop().__subclasses__():
            if struct in seen:
                continue
            seen.add(struct)
            waiting.append(struct)
            if struct in _tried:
                continue
            _tried.add(struct)
            try:
                msgspec.json.Decoder(struct)
            except (TypeError, NameError):
                continue
    return len(seen)
