"""Writes what is derived from the table of routes: `python -m sekisho.http.reference [--check]`.

The OpenAPI document goes to docs/reference, the catalogue into the client's package. With `--check` nothing is
written and the exit status is 1 when a file is not what the code says.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path

from sekisho.http import catalogue, openapi
from sekisho.http.routes import ROUTES

_ROOT = Path(__file__).resolve().parents[3]


def files() -> Mapping[Path, str]:
    """Each derived file with its text."""
    document = json.dumps(openapi.document(ROUTES), ensure_ascii=False, indent=1) + "\n"
    return {
        _ROOT / "docs" / "reference" / "openapi.json": document,
        _ROOT / "src" / "sekisho_client" / "catalogue.json": catalogue.encode(catalogue.catalogue(ROUTES)),
    }


def main(arguments: list[str]) -> int:
    """Write or compare."""
    different = [path for path, text in files().items() if not path.is_file() or path.read_text() != text]
    if "--check" not in arguments:
        for path in different:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(files()[path], encoding="utf-8")
    names = ", ".join(path.name for path in different) or "nothing"
    sys.stdout.write(f"{'different' if '--check' in arguments else 'written'}: {names}\n")
    return 1 if different and "--check" in arguments else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
