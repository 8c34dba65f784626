"""A landmark's configuration (one TOML file, every key checked, an unknown one refused), and the folder of its key."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Annotated

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from msgspec import Meta

from sekisho_guarantor.config import read_toml
from sekisho_guarantor.errors import KEY_EXISTS, GuarantorError
from sekisho_guarantor.landmark_errors import CONFIG_INVALID, KEY_UNREADABLE
from sekisho_guarantor.landmark_session import Plan, Target
from sekisho_verify.location_sphere import UDEG_PER_DEGREE, Place
from sekisho_verify.location_transcript import Landmark
from sekisho_wire.complaints import in_words, without_braces
from sekisho_wire.locating import host_and_port
from sekisho_wire.problems import Text
from sekisho_wire.signing import SealError, decode_public_key

KEY_FILE = "landmark.key"
_MODE = 0o600


class SiteConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A site to measure: its id, its agent's public key in base64url, where it answers (UDP, `host:port`)."""

    id: Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_-]{1,64}\Z")]
    key: str
    address: str

    def target(self) -> Target:
        """The site as a session needs it; SealError or ValueError where key or address are none."""
        host, port = host_and_port(self.address)
        return Target(self.id, decode_public_key(self.key).public_bytes_raw(), host, port)


class RoundsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a session goes: `sent` rounds at random spacing of up to `gap_ms_max`, of which `needed` must be answered.

    An answer that takes longer than `patience_ms` is late.
    """

    sent: Annotated[int, Meta(ge=20, le=256)] = 40
    needed: Annotated[int, Meta(ge=20, le=256)] = 20
    gap_ms_max: Annotated[int, Meta(ge=0, le=10_000)] = 100
    patience_ms: Annotated[int, Meta(ge=1, le=5000)] = 250


class ControlConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom to ask what to measure, about every `poll_seconds`.

    `token_file` holds the token of this landmark's service account, readable by its owner only; `ca_file` (PEM) is for
    a control plane whose certificate the machine does not know.
    """

    url: str
    token_file: str
    ca_file: str = ""
    poll_seconds: Annotated[float, Meta(ge=0.2, le=60)] = 2.0


class PeerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Another landmark that may measure this one: its name, and its public key in base64url."""

    name: Annotated[str, Meta(min_length=1, max_length=255)]
    key: str


class AnswerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where challenges of other landmarks are answered (UDP, `host:port`), and of which; others hear nothing."""

    listen: str
    landmarks: Annotated[list[PeerConfig], Meta(min_length=1, max_length=64)]

    def names(self) -> dict[bytes, str]:
        """Names by raw public key; SealError for a key that is none."""
        return {decode_public_key(each.key).public_bytes_raw(): each.name for each in self.landmarks}


class LandmarkConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All settings. The place is in degrees, north and east positive, and must be where the machine really stands.

    A site is measured about every `interval_seconds`, at random times; `kept` transcripts of each are kept. With
    `control` there are no `sites`: what is measured, and when, is asked of the control plane.
    """

    folder: str
    name: Annotated[str, Meta(min_length=1, max_length=255)]
    organisation: Annotated[str, Meta(min_length=1, max_length=255)]
    latitude: Annotated[float, Meta(ge=-90, le=90)]
    longitude: Annotated[float, Meta(ge=-180, le=180)]
    interval_seconds: Annotated[int, Meta(ge=10, le=86_400)] = 300
    kept: Annotated[int, Meta(ge=1, le=10_000)] = 96
    sites: Annotated[list[SiteConfig], Meta(max_length=1000)] = []
    rounds: RoundsConfig = msgspec.field(default_factory=RoundsConfig)
    control: ControlConfig | None = None
    answer: AnswerConfig | None = None

    @property
    def place(self) -> Place:
        """The place in millionths of a degree."""
        return Place(round(self.latitude * UDEG_PER_DEGREE), round(self.longitude * UDEG_PER_DEGREE))

    def landmark(self, key: Ed25519PrivateKey) -> Landmark:
        """The landmark as others must know it."""
        return Landmark(self.name, self.organisation, key.public_key().public_bytes_raw(), self.place)

    def plan(self) -> Plan:
        """How a session goes."""
        rounds = self.rounds
        return Plan(rounds.sent, rounds.needed, rounds.gap_ms_max, rounds.patience_ms)

    def targets(self) -> list[Target]:
        """The sites to measure; GuarantorError names one whose key or address is none."""
        found: list[Target] = []
        for site in self.sites:
            try:
                found.append(site.target())
            except (SealError, ValueError) as error:
                raise GuarantorError(CONFIG_INVALID, what=f"sites: {site.id}: {error}") from error
        if len({target.site for target in found}) != len(found):
            what = Text("sites: the same id twice", "sites：同じIDが2回あります")
            raise GuarantorError(CONFIG_INVALID, texts={"what": what})
        return found


def load_config(path: Path) -> LandmarkConfig:
    """Read a configuration file; GuarantorError names what is wrong with it."""
    value = read_toml(path)
    try:
        config = msgspec.convert(value, LandmarkConfig, strict=True)
    except msgspec.ValidationError as error:
        message, _, place = str(error).partition(" - at `$.")
        what, where = in_words(message), without_braces(place.rstrip("`") or path.name)
        placed = Text(f"{where}: {what.en}", f"{where}：{what.ja}")
        raise GuarantorError(CONFIG_INVALID, texts={"what": placed}) from error
    if config.rounds.needed > config.rounds.sent:
        what = Text("rounds: more needed than sent", "rounds：neededがsentより多くなっています")
        raise GuarantorError(CONFIG_INVALID, texts={"what": what})
    config.targets()
    if config.control is not None and config.sites:
        raise GuarantorError(CONFIG_INVALID, what="sites: the control plane names them, where there is one")
    try:
        names = config.answer.names() if config.answer else {}
    except SealError as error:
        raise GuarantorError(CONFIG_INVALID, what=f"answer.landmarks: {error.detail}") from error
    if config.answer and len(names) != len(config.answer.landmarks):
        raise GuarantorError(CONFIG_INVALID, what="answer.landmarks: the same key twice")
    return config


def create_key(folder: Path) -> Ed25519PrivateKey:
    """A new landmark's key, kept in its folder; GuarantorError if there is one."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = Ed25519PrivateKey.generate()
    try:
        descriptor = os.open(folder / KEY_FILE, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
    except FileExistsError as error:
        raise GuarantorError(KEY_EXISTS, folder=str(folder)) from error
    with os.fdopen(descriptor, "wb") as file:
        file.write(key.private_bytes_raw())
        file.flush()
        os.fsync(file.fileno())
    return key


def read_key(folder: Path) -> Ed25519PrivateKey:
    """The landmark's key; GuarantorError where there is none, or others may read it."""
    try:
        with (folder / KEY_FILE).open("rb") as file:
            if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
                raise GuarantorError(KEY_UNREADABLE, folder=str(folder))
            return Ed25519PrivateKey.from_private_bytes(file.read(64))
    except (OSError, ValueError) as error:
        raise GuarantorError(KEY_UNREADABLE, folder=str(folder)) from error
