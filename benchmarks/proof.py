"""The location proof against what it is made of: a sweep over the map's points in NumPy, and a bare HMAC.

The map is the whole territory file, 545,000 points of every country's coast; it is fetched with npm the first time.
"""

from __future__ import annotations

import hmac
import logging
import sys
import time

import numpy as np
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from benchmarks.harness import Goal, goal, paired, report, seconds
from scripts import territory as builder
from sekisho_verify import location_packets as packets
from sekisho_verify.location import Case, Claim, judge
from sekisho_verify.location_sphere import CURVATURE_KM_MIN, Place
from sekisho_verify.location_territory import FOREIGN, Territory, parse_territory
from sekisho_wire.answering import Responder
from tests.verify.places import NOW_MS, Held, degrees, public_of

TOKYO = degrees(35.6812, 139.7671)
ORGANISATIONS = ("exchange", "university", "carrier")
ROUNDS = 9
SESSIONS = 8
"""How many whole sessions of 256 rounds one measurement answers."""
HERE = ("192.0.2.1", 7000)


def full_territory() -> bytes:
    """The territory file of the whole map, the disputed areas counted as home."""
    decisions = dict.fromkeys(("northern-territories", "takeshima", "senkaku"), "home")
    document = builder.read_map(builder.archive())
    return builder.build(document, home={"JP": "Japan"}, version="bench", decisions=decisions)


def points_of(land: Territory) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """Longitude and latitude of every foreign point, in radians."""
    points = [p for area in land.areas if area.counts_as == FOREIGN for ring in area.rings for p in ring]
    return np.radians(np.array(points, dtype=np.float64).T / 1e6)


def sweep(points: np.ndarray[tuple[int, int], np.dtype[np.float64]], place: Place) -> float:
    """Distance in km to the nearest point, by the haversine of each: what a map without an index costs."""
    latitude, longitude = np.radians(place.latitude_udeg / 1e6), np.radians(place.longitude_udeg / 1e6)
    half = (
        np.sin((points[1] - latitude) / 2) ** 2
        + np.cos(latitude) * np.cos(points[1]) * np.sin((points[0] - longitude) / 2) ** 2
    )
    return float(2 * CURVATURE_KM_MIN * np.arcsin(np.sqrt(half)).min())


def verdict_goal(figures: dict[str, float]) -> Goal:
    """Three landmarks' transcripts judged anew on a map that is in memory, against one sweep over its points."""
    data = full_territory()
    read = seconds(lambda: parse_territory(data))
    land = parse_territory(data)
    points = points_of(land)
    held = [Held(landmark=name, organisation=name, place=TOKYO) for name in ORGANISATIONS]
    transcripts = [each.write() for each in held]
    case = Case(
        claim=Claim("site_1", public_of("agent"), TOKYO),
        landmarks=[each.known() for each in held],
        territory=land,
        now_ms=NOW_MS,
    )
    swept, judged = sweep(points, TOKYO), judge(transcripts, case)
    if not judged.accepted or abs(swept - land.tolerance_km - judged.findings[0].foreign_km) > 1:
        sys.exit("verdict and sweep do not agree")
    pair = paired(
        lambda: sweep(points, TOKYO),
        lambda: judge(transcripts, case),
        rounds=ROUNDS,
        warm_up=2,
        clock=time.thread_time,
    )
    figures |= {
        "territory_points": points.shape[1],
        "territory_bytes": len(data),
        "territory_read_seconds": read,
        "territory_read_against_sweep": read / pair.first_seconds,
        "sweep_ms": pair.first_seconds * 1000,
        "verdict_ms": pair.second_seconds * 1000,
    }
    return goal("verdict_against_sweep", pair.ratio, "<=", 20)


class _Site:
    """A responder with open sessions, and the challenges that were asked in them."""

    def __init__(self) -> None:
        own = X25519PrivateKey.generate()
        site = Ed25519PrivateKey.generate()
        asking = [Ed25519PrivateKey.generate() for _ in range(SESSIONS)]
        names = {key.public_key().public_bytes_raw(): "bench" for key in asking}
        self.responder = Responder(site, names, now_ms=lambda: NOW_MS, monotonic=time.monotonic)
        self.questions: list[bytes] = []
        for key in asking:
            hello = packets.make_hello(
                packets.Hello(
                    key.public_key().public_bytes_raw(),
                    site.public_key().public_bytes_raw(),
                    bytes(32),
                    own.public_key().public_bytes_raw(),
                    NOW_MS,
                ),
                key.sign,
            )
            welcome = self.responder.answer(hello, HERE)
            if welcome is None:
                sys.exit("no session")
            share = packets.read_welcome(welcome).ephemeral
            secret = packets.session_key(own, share, hello=hello, welcome=welcome)
            session = packets.session_id(hello, welcome)
            self.questions += [
                packets.make_challenge(secret, packets.Challenge(session, seq, bytes([seq] * 32)))
                for seq in range(packets.ROUNDS_MAX)
            ]

    def answer_all(self) -> None:
        """Each challenge once, as they come off the socket."""
        for question in self.questions:
            if self.responder.answer(question, HERE) is None:
                sys.exit("a challenge was not answered")


def answer_goal(figures: dict[str, float]) -> Goal:
    """A site's work for one challenge, from datagram to datagram, against one HMAC over the challenge alone."""
    sites = [_Site() for _ in range(ROUNDS + 2)]
    waiting = iter(sites)
    count = len(sites[0].questions)
    key, challenge = bytes(range(32)), bytes(32)

    def bare() -> None:
        for _ in range(count):
            hmac.digest(key, challenge, "sha256")

    pair = paired(bare, lambda: next(waiting).answer_all(), rounds=ROUNDS, warm_up=2, clock=time.thread_time)
    figures |= {
        "hmac_us": pair.first_seconds / count * 1e6,
        "answer_us": pair.second_seconds / count * 1e6,
        "session_opened_us": seconds(_Site) / SESSIONS * 1e6,
    }
    return goal("answer_against_hmac", pair.ratio, "<=", 10)


def main() -> int:
    """Both goals of the location proof."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    figures: dict[str, float] = {}
    return report("proof", [answer_goal(figures), verdict_goal(figures)], figures)


if __name__ == "__main__":
    sys.exit(main())
