"""Makes a territory file from Natural Earth's land, as npm's `world-atlas` carries it; nothing of it lies in here.

The package is fetched with the machine's own npm client, held to its digest, and kept in build/territory. Which
disputed areas there are is in territory_disputed.json: names and rough boxes of our own, no map. How each is counted
is nobody's default: every one of them needs a `--decide CODE=home` or `--decide CODE=foreign`.

    python -m scripts.territory --home JP=Japan --version 2026-11 --decide takeshima=home ... > territory.json

A disputed area is made of the rings that lie wholly in one of its boxes, whoever the map gives them to; where the map
has none, of the box itself. Holes are left out: what lies in one is an area of its own, or water, which counts as land.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import math
import subprocess
import sys
import tarfile
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from sekisho_verify import canonical
from sekisho_verify.location_reach import cut, nested
from sekisho_verify.location_sphere import UDEG_PER_DEGREE, ring_area, turn
from sekisho_verify.location_territory import DISPUTED, FOREIGN, HOME, KIND, parse_territory

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "build" / "territory"
DISPUTES = Path(__file__).with_name("territory_disputed.json")
PACKAGE = "world-atlas@2.0.2"
MEMBER = "package/countries-10m.json"
SHA512 = "IXfV0qwlKXpckz1FhwXVwKRjiIhOnWttOskm5CtxMsjgE/MXAYRHWJqgXOpM8IkcPBoXnyTU5lFHcYa5ChG0LQ=="
SOURCE = "Natural Earth 1:10m admin 0 countries, public domain, from npm world-atlas 2.0.2"
FETCH_SECONDS = 120
TOLERANCE_M = 1000
"""The drawn points lie on a grid of 0.0036 by 0.0017 degrees (400 by 190 m); the rest is for the map's own lines."""

_EDGE_UDEG = UDEG_PER_DEGREE // 2
_HEMISPHERE = 2 * math.pi
_CORNERS_MIN = 4
_AREA_MIN = 1e-14

Ring = list[tuple[int, int]]
Grid = tuple[tuple[float, float], tuple[float, float]]


class TerritoryInputError(Exception):
    """The map or a decision is missing or not what it should be; one sentence."""


def archive(folder: Path = FOLDER) -> Path:
    """The package's file, fetched once; TerritoryInputError where npm has none or its digest differs."""
    path = folder / f"{PACKAGE.replace('@', '-')}.tgz"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        command = ["npm", "pack", PACKAGE, "--ignore-scripts", "--silent", "--pack-destination", str(folder)]
        try:
            subprocess.run(command, check=True, capture_output=True, timeout=FETCH_SECONDS)
        except (OSError, subprocess.SubprocessError) as error:
            raise TerritoryInputError(f"npm could not fetch {PACKAGE}: {type(error).__name__}") from error
    if base64.b64encode(hashlib.sha512(path.read_bytes()).digest()).decode() != SHA512:
        raise TerritoryInputError(f"{path.name} does not have the digest of {PACKAGE}")
    return path


def read_map(path: Path) -> dict[str, Any]:
    """The TopoJSON document inside the package."""
    with tarfile.open(path) as package:
        member = package.extractfile(MEMBER)
        if member is None:
            raise TerritoryInputError(f"no {MEMBER} in the package")
        document: dict[str, Any] = json.load(member)
        return document


def build(document: Mapping[str, Any], **choices: Any) -> bytes:
    """As `compose`, and read again as anybody would read it."""
    data = compose(document, **choices)
    parse_territory(data)
    return data


def compose(
    document: Mapping[str, Any],
    *,
    home: Mapping[str, str],
    version: str,
    decisions: Mapping[str, str],
) -> bytes:
    """The bytes of a territory file. `home` gives codes to the map's names; `decisions` count each disputed area."""
    disputes: list[dict[str, Any]] = json.loads(DISPUTES.read_text())
    if {dispute["code"] for dispute in disputes} != decisions.keys():
        raise TerritoryInputError(f"decide exactly: {', '.join(d['code'] for d in disputes)}")
    taken: dict[str, list[Ring]] = {dispute["code"]: [] for dispute in disputes}
    areas: list[dict[str, object]] = []
    for name, rings in outlines(document):
        kept = []
        for ring in rings:
            owner = next((d["code"] for d in disputes if any(_inside(ring, box) for box in d["boxes"])), None)
            (kept if owner is None else taken[owner]).append(ring)
        if kept:
            status = HOME if name in home.values() else FOREIGN
            code = next((code for code, known in home.items() if known == name), _ascii(name))
            areas.append({"code": code, "name": name, "status": status, "rings": _flat(kept)})
    if set(home) - {str(area["code"]) for area in areas}:
        raise TerritoryInputError("the map has no area of the name given for home")
    for dispute in disputes:
        rings = taken[dispute["code"]] or [_outline(box) for box in dispute["boxes"]]
        areas.append(
            {
                "code": dispute["code"],
                "name": dispute["name"],
                "status": DISPUTED,
                "counts_as": decisions[dispute["code"]],
                "rings": _flat(rings),
            }
        )
    body = {
        "v": 1,
        "kind": KIND,
        "name": "Land by 1:10m coastlines",
        "version": version,
        "sources": [SOURCE],
        "home": sorted(home),
        "tolerance_m": TOLERANCE_M,
        "areas": areas,
    }
    return canonical.encode(body)


def outlines(document: Mapping[str, Any]) -> Iterator[tuple[str, list[Ring]]]:
    """Name and outer rings of each country, closed and counter-clockwise."""
    grid: Grid = (tuple(document["transform"]["scale"]), tuple(document["transform"]["translate"]))
    arcs = [_arc(arc, grid) for arc in document["arcs"]]
    for geometry in document["objects"]["countries"]["geometries"]:
        polygons = [geometry["arcs"]] if geometry["type"] == "Polygon" else geometry["arcs"]
        rings = [_ring(arcs, polygon[0], grid) for polygon in polygons]
        inner = set(nested(rings, cut(rings)))
        yield geometry["properties"]["name"], [r for number, r in enumerate(rings) if number not in inner]


def _arc(arc: Sequence[Sequence[int]], grid: Grid) -> Ring:
    (wide, high), (west, south) = grid
    x = y = 0
    points = []
    for step in arc:
        x, y = x + step[0], y + step[1]
        points.append(
            (
                round((x * wide + west) * UDEG_PER_DEGREE),
                round((y * high + south) * UDEG_PER_DEGREE),
            )
        )
    return points


def _ring(arcs: Sequence[Ring], indices: Sequence[int], grid: Grid) -> Ring:
    line: Ring = []
    for index in indices:
        arc = arcs[index] if index >= 0 else arcs[~index][::-1]
        line += arc[1:] if line else arc
    ring = _short_edges(line)
    area = ring_area(ring) if len(ring) >= _CORNERS_MIN else 0.0
    if min(area, 2 * _HEMISPHERE - area) < _AREA_MIN:
        return _grown(line, grid)
    return ring if area < _HEMISPHERE else ring[::-1]


def _short_edges(line: Ring) -> Ring:
    """Points without repetition; a long edge, straight on the map, gets points so that its arc stays near it."""
    ring = line[:1]
    for east, high in line[1:]:
        west, low = ring[-1]
        step = turn(west, east)
        if not step and low == high:
            continue
        parts = abs(step) // _EDGE_UDEG + 1
        ring += [
            (turn(0, west + step * part // parts), low + (high - low) * part // parts)
            for part in range(1, parts)
        ]
        ring.append((east, high))
    return ring


def _grown(line: Ring, grid: Grid) -> Ring:
    """Land that the grid has drawn as a point or a line: the box around it, one step of the grid wider."""
    wide, high = (round(step * UDEG_PER_DEGREE) for step in grid[0])
    east, north = (max(axis) for axis in zip(*line, strict=True))
    west, south = (min(axis) for axis in zip(*line, strict=True))
    box = (west - wide, south - high, east + wide, north + high)
    return _outline([edge / UDEG_PER_DEGREE for edge in box])


def _outline(box: Sequence[float]) -> Ring:
    west, south, east, north = (round(edge * UDEG_PER_DEGREE) for edge in box)
    return [(west, south), (east, south), (east, north), (west, north), (west, south)]


def _inside(ring: Ring, box: Sequence[float]) -> bool:
    west, south, east, north = (edge * UDEG_PER_DEGREE for edge in box)
    return all(west <= x <= east and south <= y <= north for x, y in ring)


def _flat(rings: Sequence[Ring]) -> list[list[int]]:
    return [[number for point in ring for number in point] for ring in rings]


def _ascii(name: str) -> str:
    return unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()


def _pairs(texts: Sequence[str]) -> dict[str, str]:
    return {key: value for key, _, value in (text.partition("=") for text in texts)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a territory file to standard output; what it is made of goes to standard error."""
    parser = argparse.ArgumentParser(prog="territory", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--home", action="append", required=True, metavar="CODE=NAME")
    parser.add_argument("--decide", action="append", default=[], metavar="CODE=home|foreign")
    parser.add_argument("--version", required=True, help="what this edition is called")
    options = parser.parse_args(arguments)
    try:
        data = build(
            read_map(archive()),
            home=_pairs(options.home),
            version=options.version,
            decisions=_pairs(options.decide),
        )
    except TerritoryInputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    sys.stdout.buffer.write(data)
    print(f"{canonical.digest(data)} {len(data)} bytes", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
