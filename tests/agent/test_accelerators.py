"""GPUs as device files: which are found, who holds them, and what the payload sees."""

from __future__ import annotations

import functools
import os
import stat
import tempfile
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho_agent import accelerators
from sekisho_agent.accelerators import Accelerator, lend
from sekisho_agent.engines.local import LocalEngine
from sekisho_agent.errors import EngineError
from sekisho_agent.wall import Mount
from tests.agent.engine_suite import finish, make_task, wait_end
from tests.support import components

ZERO = os.makedev(1, 5)
"""Major and minor of /dev/zero, which stands for a GPU here: it can be opened, and read."""
NOBODY = 65_534


def machine(folder: Path, *names: str) -> Path:
    """A folder of device files, as a driver makes them."""
    if os.geteuid() != 0:
        components.missing("device files", "run as root")
    devices = folder / "dev"
    for name in names:
        path = devices / name
        path.parent.mkdir(parents=True, exist_ok=True)
        os.mknod(path, 0o666 | stat.S_IFCHR, ZERO)
        path.chmod(0o666)
    return devices


NVIDIA = ("nvidia0", "nvidia1", "nvidia3", "nvidiactl", "nvidia-uvm", "nvidia-caps/nvidia-cap1")


def borrowed(devices: Path, count: int, **given: str) -> accelerators.Lent:
    return lend(count, given, devices=devices)


def test_a_payload_is_shown_its_own_gpus_and_what_all_share(tmp_path: Path) -> None:
    devices = machine(tmp_path, *NVIDIA)
    first = borrowed(devices, 2)
    assert [mount.inside for mount in first.files] == [
        "/dev/nvidia0",
        "/dev/nvidia1",
        "/dev/nvidiactl",
        "/dev/nvidia-uvm",
        "/dev/nvidia-caps/nvidia-cap1",
    ]
    assert (first.environment, first.mechanism) == ({"CUDA_VISIBLE_DEVICES": "0,1"}, "device_files")
    second = borrowed(devices, 1)
    assert second.files[0].inside == "/dev/nvidia3"
    assert second.environment == {"CUDA_VISIBLE_DEVICES": "0"}, "numbered anew behind the wall"
    with pytest.raises(EngineError) as caught:
        borrowed(devices, 1)
    assert caught.value.code == "engine.full"
    first.release()
    first.release()
    assert borrowed(devices, 2).files[0].inside == "/dev/nvidia0"


def test_too_few_free_ones_leave_the_others_free(tmp_path: Path) -> None:
    devices = machine(tmp_path, *NVIDIA)
    held = borrowed(devices, 2)
    with pytest.raises(EngineError):
        borrowed(devices, 2)
    assert borrowed(devices, 1).files[0].inside == "/dev/nvidia3"
    held.release()


def as_nobody(count: int, devices: Path) -> int:
    """How many GPUs a plain user is lent, who lets go of them at once; 0 where they are held."""
    child = os.fork()
    if not child:
        status = 100
        try:
            status = lent_to_nobody(count, devices)
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def lent_to_nobody(count: int, devices: Path) -> int:
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    try:
        files = lend(count, {}, devices=devices).files
    except EngineError:
        return 0
    return len([mount for mount in files if mount.inside[-1].isdecimal()])


def test_a_plain_user_is_lent_what_root_does_not_hold_and_holds_it_against_nobody_afterwards() -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        devices = machine(Path(folder), "nvidia0", "nvidia1", "nvidiactl")
        assert as_nobody(2, devices) == 2
        held = borrowed(devices, 1)
        assert as_nobody(1, devices) == 1
        assert as_nobody(2, devices) == 0
        held.release()
        assert as_nobody(2, devices) == 2


def test_an_attempt_that_cannot_begin_holds_no_gpu(
    local_engine: LocalEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices = machine(tmp_path, *NVIDIA)
    monkeypatch.setattr(
        "sekisho_agent.engines.local_host.accelerators.lend", functools.partial(lend, devices=devices)
    )
    task = make_task(tmp_path, "true", gpus=3)
    gone = Mount(source=tmp_path / "gone", inside="/out", writable=True)
    with pytest.raises(OSError, match="gone"):
        local_engine.submit(msgspec.structs.replace(task, mounts=(gone,)))
    (task.folder / "log").mkdir()
    with pytest.raises(OSError, match="log"):
        local_engine.submit(task)
    borrowed(devices, 3).release()


@pytest.mark.parametrize(
    ("given_numbers", "first"),
    [("1,3", "/dev/nvidia1"), ("3,1", "/dev/nvidia1"), ("7,8", "/dev/nvidia0"), ("x,٣", "/dev/nvidia0")],
)
def test_what_the_engine_gave_is_taken(tmp_path: Path, given_numbers: str, first: str) -> None:
    devices = machine(tmp_path, *NVIDIA)
    lent = borrowed(devices, 2, SLURM_JOB_GPUS=given_numbers)
    assert lent.files[0].inside == first


def test_another_maker_has_other_files(tmp_path: Path) -> None:
    devices = machine(tmp_path, "kfd", "dri/renderD128", "dri/renderD129", "dri/card0")
    lent = borrowed(devices, 1)
    assert [mount.inside for mount in lent.files] == ["/dev/dri/renderD128", "/dev/kfd"]
    assert lent.environment == {"ROCR_VISIBLE_DEVICES": "0"}


def test_what_is_no_device_is_no_gpu(tmp_path: Path) -> None:
    devices = tmp_path / "dev"
    devices.mkdir()
    (devices / "nvidia0").write_text("a file")
    (devices / "nvidia1").symlink_to("/dev/zero")
    (devices / "nvidia2").mkdir()
    lent = borrowed(devices, 2, CUDA_VISIBLE_DEVICES="4,5", SECRET="x")
    assert (lent.files, lent.mechanism) == ((), "none")
    assert lent.environment == {"CUDA_VISIBLE_DEVICES": "4,5"}, "the engine's word is all there is"


def test_who_asks_for_none_is_shown_none(tmp_path: Path) -> None:
    devices = machine(tmp_path, *NVIDIA)
    assert borrowed(devices, 0, CUDA_VISIBLE_DEVICES="0").environment == {}


@given(st.sets(st.integers(0, 9), min_size=1), st.integers(1, 9), st.lists(st.integers(0, 12)))
def test_any_word_of_an_engine_leaves_enough_to_choose_from(
    numbers: set[int], count: int, named: list[int]
) -> None:
    present = [Accelerator("nvidia", number, f"nvidia{number}") for number in sorted(numbers)]
    found = accelerators.chosen(present, count, {"SLURM_JOB_GPUS": ",".join(map(str, named))})
    assert set(found) <= set(present)
    assert len(found) >= min(count, len(present))
    enough = len(numbers & set(named)) >= count
    assert not enough or {one.number for one in found} <= set(named)


@pytest.mark.wall
def test_behind_the_wall_the_given_device_works_and_no_other_is_there(
    local_engine: LocalEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    devices = machine(tmp_path, *NVIDIA)
    monkeypatch.setattr(
        "sekisho_agent.engines.local_host.accelerators.lend",
        functools.partial(lend, devices=devices),
    )
    run = (
        "echo seen $CUDA_VISIBLE_DEVICES; cd /dev; echo nvidia* nvidia-caps/*;"
        " head -c 3 /dev/nvidia0 | od -An -tx1; sleep 1"
    )
    first = make_task(tmp_path, run, gpus=1)
    second = make_task(tmp_path, run.replace("nvidia0", "nvidia1"), gpus=1)
    local_engine.submit(first)
    local_engine.submit(second)
    seen = wait_end(local_engine, first)
    assert seen.wall is not None
    assert seen.wall.limits["gpus"] == "device_files"
    said = local_engine.logs(first.attempt, 0, 1000).decode()
    assert said.split() == [
        *("seen", "0", "nvidia-caps", "nvidia-uvm", "nvidia0", "nvidiactl", "nvidia-caps/nvidia-cap1"),
        *("00", "00", "00"),
    ]
    wait_end(local_engine, second)
    assert b"nvidia0" not in local_engine.logs(second.attempt, 0, 1000)
    nothing = make_task(tmp_path, "ls /dev | grep nvidia")
    assert finish(local_engine, nothing).exit_status == 1
