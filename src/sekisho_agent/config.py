"""The agent's configuration: one TOML file; every key is checked and an unknown one refused."""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from sekisho_agent.errors import ConfigError
from sekisho_wire.messages import Capacity

MEMORY_SHARE_PERCENT = 80


class CapacityConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the site offers; 0 means: ask the machine. GPUs are declared by the operator."""

    attempts: Annotated[int, Meta(ge=1, le=200)] = 1
    cpus: Annotated[int, Meta(ge=0)] = 0
    memory_bytes: Annotated[int, Meta(ge=0)] = 0
    gpus: Annotated[int, Meta(ge=0)] = 0
    gpu_type: Annotated[str, Meta(max_length=64)] = ""


class ImageConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How images are built.

    `names` gives names to images by digest. `registry_hosts` (`host:port`) limits where a build may fetch from; when it
    is empty, the builder may reach the hosts that the machine's package index names for the locked files, and no other.
    `index_arguments` are handed to uv, for a machine that has an index of its own.
    """

    names: dict[str, str] = {}
    registry_hosts: list[str] = []
    index_arguments: list[str] = []
    build_seconds_max: Annotated[int, Meta(ge=10, le=7200)] = 1800
    build_bytes_max: Annotated[int, Meta(ge=1 << 20)] = 16 << 30
    uv: str = ""


class SlurmConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where slurmrestd answers, as whom, and what every job of this site carries.

    `token_file` holds a JSON web token (`scontrol token`); it is read again for each request, so that another program
    can renew it. Jobs run as `user`, which must be the agent's own user: both write the attempt's folder. A job that
    waits in Slurm's queue for longer than `queue_seconds_max` is given back, to be placed elsewhere. `srun` starts the
    parts of a job of several nodes; give its path where it is not in /usr/bin.
    """

    url: str
    user: str
    token_file: str
    ca_file: str = ""
    account: str = ""
    partition: str = ""
    qos: str = ""
    constraint: str = ""
    reservation: str = ""
    srun: str = "srun"
    queue_seconds_max: Annotated[int, Meta(ge=1)] = 86_400


class KubernetesConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where the API server answers, and what every pod of this site needs.

    `token_file` holds a service account's token, or one that a workload identity renews; it is read again for each
    request. `claim` is a volume that agent and pods share, at the path `shared`, with the agent's `state_dir` below it;
    `image` brings `python` with the agent's packages, and bubblewrap. With `queue`, Kueue's local queue of that name
    admits the jobs. `gpu_label` is the node label that names the type of GPU.
    """

    url: str
    token_file: str
    namespace: str
    image: str
    claim: str
    shared: str
    ca_file: str = ""
    queue: str = ""
    python: str = "/usr/bin/python3"
    service_account: str = ""
    runtime_class: str = ""
    gpu_resource: str = "nvidia.com/gpu"
    gpu_label: str = "nvidia.com/gpu.product"
    queue_seconds_max: Annotated[int, Meta(ge=1)] = 86_400


class DokProject(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One project of the service, which runs one task at a time.

    `credential_file` holds `<access token>:<secret>`; it is read again for each request.
    """

    name: Annotated[str, Meta(pattern=r"\A[a-z0-9][a-z0-9-]{0,62}\Z")]
    credential_file: str


class DokConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which projects of Sakura's container service DOK run our tasks, on which plan, and from which images.

    `images` gives a registry's reference with its `@sha256:` digest to each name (or digest) that a job may ask for.
    `registries` lists the hosts they may come from, each with the id of the credentials that a person stored in the
    service, or empty for a public one. Inputs that do not fit into a command go through `inputs_url` (`s3://bucket/
    prefix`, its credentials in this machine's environment), by signed URLs that hold for `inputs_url_seconds`.
    """

    projects: Annotated[list[DokProject], Meta(min_length=1, max_length=64)]
    plan: Literal["v100-32gb", "h100-80gb", "h100-8gpu-80gb"]
    images: dict[str, str]
    registries: dict[str, str]
    url: str = "https://secure.sakura.ad.jp/cloud/zone/is1a/api/managed-container/1.0"
    ca_file: str = ""
    poll_seconds: Annotated[float, Meta(gt=0, le=60)] = 5.0
    queue_seconds_max: Annotated[int, Meta(ge=1)] = 86_400
    inputs_url: str = ""
    inputs_endpoint: str = ""
    inputs_region: str = ""
    inputs_url_seconds: Annotated[int, Meta(ge=60, le=86_400)] = 3600


class LocationLandmark(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A landmark that may measure this site: a name for the log, and its public key in base64url."""

    name: Annotated[str, Meta(min_length=1, max_length=255)]
    key: str


class LocationConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where location challenges are answered (UDP, `host:port`), and to whom; others are answered nothing."""

    listen: str
    landmarks: Annotated[list[LocationLandmark], Meta(min_length=1, max_length=64)]


class ListenerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A listener outside this site that hears canaries: its address, its ports, and its public key in base64url."""

    host: str
    key: str
    tcp: Annotated[int, Meta(ge=1, le=65535)] = 7620
    udp: Annotated[int, Meta(ge=1, le=65535)] = 7621
    dns: Annotated[int, Meta(ge=1, le=65535)] = 7653


class CustodianConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A custodian of keys that this site believes: its name and its public key (base64url), as its owner gave them."""

    name: str
    key: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{43}\Z")]


class AgentConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All settings. `control_url` and `state_dir` are needed; the store defaults to a folder below `state_dir`.

    Without `custodians` the control plane says whose signature on a data key counts; with `custodians_private` they are
    asked at private addresses too, which tenants register.
    """

    control_url: str
    state_dir: str
    store_url: str = ""
    ca_file: str = ""
    engine: Literal["local", "slurm", "kubernetes", "dok", "none"] = "local"
    egress_private: bool = False
    capacity: CapacityConfig = msgspec.field(default_factory=CapacityConfig)
    images: ImageConfig = msgspec.field(default_factory=ImageConfig)
    slurm: SlurmConfig | None = None
    kubernetes: KubernetesConfig | None = None
    dok: DokConfig | None = None
    location: LocationConfig | None = None
    listener: ListenerConfig | None = None
    custodians: list[CustodianConfig] = []
    custodians_private: bool = False

    @property
    def state_folder(self) -> Path:
        """The folder of identity, counters, attempts and images."""
        return Path(self.state_dir)

    def store_location(self) -> str:
        """The store's URL with its default filled in."""
        return self.store_url or f"file://{self.state_folder.resolve() / 'store'}"

    def total_capacity(self) -> Capacity:
        """What the site offers when nothing runs."""
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * MEMORY_SHARE_PERCENT // 100
        return Capacity(
            attempts=self.capacity.attempts,
            cpus=self.capacity.cpus or len(os.sched_getaffinity(0)),
            memory_bytes=self.capacity.memory_bytes or memory,
            gpus=self.capacity.gpus,
            gpu_type=self.capacity.gpu_type,
        )


def load_config(path: Path) -> AgentConfig:
    """Read a configuration file; ConfigError names what is wrong with it."""
    try:
        value: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            "config.unreadable", f"the configuration cannot be read: {error.strerror}"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError("config.malformed", f"the configuration is not TOML: {error}") from error
    try:
        return msgspec.convert(value, AgentConfig, strict=True)
    except msgspec.ValidationError as error:
        raise ConfigError("config.invalid", str(error)) from error
