"""Image locks: pinned packages with their hashes, and nothing that could fetch anything else. Secrets: sealed."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sekisho.compute import AddImage, DeleteSecret, ListImages, ListSecrets, SetSecret
from sekisho.compute.keeps import check_lock
from sekisho.identity import AddMember, CreateTeam
from sekisho.kernel.errors import NotFoundError, SekishoError
from sekisho_agent.errors import ImageError
from sekisho_agent.wheels import locked_hashes
from sekisho_verify.canonical import digest
from sekisho_wire import messages
from tests.compute.world import World, code_of, job_file
from tests.support import tree

HASH = "--hash=sha256:" + "0123456789abcdef" * 4
GOOD = f"numpy==2.3.4 \\\n    {HASH} \\\n    {HASH}\n    # via jax\n"


@pytest.mark.parametrize(
    "lock",
    [
        GOOD,
        GOOD + "\n# a remark\n\n" + GOOD.replace("numpy", "Zope.interface_x"),
        GOOD.replace("==2.3.4", "==1!2.0rc1+cu12-3"),
        GOOD.replace("numpy", "jax[cuda12,k8s]"),
        GOOD.replace("2.3.4", "2.3.4 ; python_version < '3.12' and sys_platform == 'linux'"),
        GOOD.replace("\n", "\r\n"),
    ],
)
def test_a_good_lock(lock: str) -> None:
    check_lock(lock)


@pytest.mark.parametrize(
    "file", sorted((tree.ROOT / "examples").glob("*/image*.txt")), ids=lambda file: "-".join(file.parts[-2:])
)
def test_the_examples_are_good(file: Path) -> None:
    check_lock(file.read_text())


HOSTILE = [
    ("", 1),
    ("# nothing\n", 1),
    ("\n\n", 2),
    ("numpy==2.3.4\n", 1),
    ("numpy>=2 \\\n    " + HASH, 1),
    ("numpy \\\n    " + HASH, 1),
    ("numpy==2.3.4 \\\n", 1),
    ("numpy==2.3.4 \\\n    # via jax\n    " + HASH, 2),
    ("numpy==2.3.4 \\\njax==1 \\\n    " + HASH, 2),
    ("numpy==2.3.4\n    " + HASH, 1),
    (HASH, 1),
    ("    " + HASH, 1),
    (GOOD + "    " + HASH, 5),
    (GOOD.replace("sha256", "md5"), 2),
    (GOOD.replace("cdef \\", "cde \\"), 2),
    (GOOD.replace("cdef\n", "cdef \\\n"), 4),
    (GOOD.replace("cdef\n", "cdef --no-binary :all:\n"), 3),
    ("--index-url https://evil.example/\n" + GOOD, 1),
    ("-i https://evil.example/\n" + GOOD, 1),
    ("--extra-index-url=https://evil.example/ # x\n" + GOOD, 1),
    ("--find-links .\n" + GOOD, 1),
    ("-e .\n" + GOOD, 1),
    ("-r other.txt\n" + GOOD, 1),
    ("-c other.txt\n" + GOOD, 1),
    ("./wheel.whl\n" + GOOD, 1),
    ("https://evil.example/x.whl\n" + GOOD, 1),
    (GOOD.replace("==2.3.4", " @ https://evil.example/x.whl"), 1),
    (GOOD.replace("==2.3.4", "==2.3.4 --global-option=x"), 1),
    (GOOD.replace("2.3.4", "2.3.4 ; python_version > '3' --index-url https://evil.example"), 1),
    (GOOD.replace("2.3.4", "2.3.4;x"), 1),
    (GOOD.replace("2.3.4", "2.*"), 1),
    (GOOD.replace("numpy", "${HOME}"), 1),
    (GOOD.replace("numpy", "numpy\u2028-e ."), 1),
    ("# remark\u2028-e .\n" + GOOD, 2),
    ("# remark\x0b-e .\n" + GOOD, 2),
    (GOOD + "\0", 5),
]


@pytest.mark.parametrize(("lock", "line"), HOSTILE, ids=[str(number) for number in range(len(HOSTILE))])
def test_a_lock_that_could_fetch_anything_else_is_refused_at_its_line(lock: str, line: int) -> None:
    with pytest.raises(SekishoError) as caught:
        check_lock(lock)
    assert (caught.value.code, caught.value.params["line"]) == ("compute.image.lock", line)


PIECES = st.sampled_from(
    [
        "numpy==1",
        "jax[a]==2",
        " \\\n",
        "\n",
        f"    {HASH}",
        "# x",
        " ",
        "--index-url u",
        "-e .",
        " ; a",
        "\r",
        "\x0c",
    ]
)


@given(lock=st.lists(PIECES, max_size=10).map("".join))
def test_what_we_take_the_sites_agent_takes(tmp_path_factory: pytest.TempPathFactory, lock: str) -> None:
    try:
        check_lock(lock)
    except SekishoError:
        return
    file = tmp_path_factory.getbasetemp() / "lock.txt"
    file.write_bytes(lock.encode())
    try:
        assert locked_hashes(file)
    except ImageError as error:
        pytest.fail(f"the agent refuses {lock!r}: {error}")


def test_secrets_are_named_and_never_shown(world: World) -> None:
    view = world.perform(world.engineer, SetSecret(name="hub-token", value="correct-horse"))
    assert (view.name, view.team) == ("hub-token", "")
    page = world.perform(world.engineer, ListSecrets())
    assert page.items == [view]
    assert world.perform(world.stranger, ListSecrets()).items == []
    (record,) = world.records(action="compute.secret.set")
    assert record["detail"] == {"secret": "hub-token"}
    assert "correct-horse" not in world.everything()
    text = "name: a\nrun: x\nsecrets: [hub-token]\n"
    assert world.submit(text).state == "waiting"
    assert code_of(lambda: world.submit(text, by=world.stranger)) == "compute.secret.unknown"


def test_a_deleted_secret_is_gone(world: World) -> None:
    world.perform(world.engineer, SetSecret(name="s", value="v"))
    for actor, name in ((world.stranger, "s"), (world.engineer, "none")):
        with pytest.raises(NotFoundError):
            world.perform(actor, DeleteSecret(name=name))
    assert world.perform(world.engineer, DeleteSecret(name="s"))
    assert world.perform(world.engineer, ListSecrets()).items == []
    assert code_of(lambda: world.submit("name: a\nrun: x\nsecrets: [s]\n")) == "compute.secret.unknown"
    assert world.check().findings == []


def test_a_secret_deleted_after_submission_is_not_handed_out(world: World) -> None:
    world.perform(world.engineer, SetSecret(name="s", value="v"))
    _, order = world.running("name: a\nrun: x\nsecrets: [s]\ncharter: {residency: [JP]}\n")
    world.perform(world.engineer, DeleteSecret(name="s"))
    assert code_of(lambda: world.home.say(order, messages.WantSecret("s"))) == "compute.secret.unknown"


def test_an_image_is_a_lock_by_digest_and_a_job_keeps_the_one_it_was_submitted_with(world: World) -> None:
    first = world.perform(world.engineer, AddImage(name="jax", lock=GOOD))
    assert first.lock == digest(GOOD.encode())
    text = "name: a\nrun: x\nresources: {image: jax}\ncharter: {residency: [JP]}\n"
    world.submit(text)
    newer = GOOD.replace("2.3.4", "2.3.5")
    second = world.perform(world.engineer, AddImage(name="jax", lock=newer))
    assert world.perform(world.engineer, ListImages()).items == [second]
    assert world.perform(world.stranger, ListImages()).items == []
    assert code_of(lambda: world.submit(text, by=world.stranger)) == "compute.image.unknown"
    world.settle()
    (order,) = world.home.offers()
    assert isinstance(order.body, messages.Offer)
    assert order.body.image_lock is not None
    assert (order.body.image, order.body.image_lock.object) == ("jax", first.lock)
    assert world.control.objects.get_bytes(first.lock, size_bytes_max=10_000) == GOOD.encode()


def test_a_bad_lock_stores_nothing(world: World) -> None:
    bad = GOOD + "--index-url https://evil.example/\n"
    assert (
        code_of(lambda: world.perform(world.engineer, AddImage(name="jax", lock=bad))) == "compute.image.lock"
    )
    assert world.perform(world.engineer, ListImages()).items == []
    assert not world.control.objects.has(digest(bad.encode()))


def test_a_teams_secret_is_for_its_members(world: World) -> None:
    team = world.perform(world.administrator, CreateTeam(name="red", organisation=world.office)).id
    member = world.person("member", world.office, "engineer")
    outsider = world.person("outsider", world.office, "engineer")
    world.perform(world.administrator, AddMember(team=team, person=member.ref.id))
    assert world.perform(member, SetSecret(name="s", value="x", team="red")).team == team
    assert (
        code_of(lambda: world.perform(outsider, SetSecret(name="t", value="x", team="red")))
        == "input.invalid"
    )
    text = job_file("a", "secrets: [s]\n")
    assert world.submit(text, by=member).state == "waiting"
    assert code_of(lambda: world.submit(text, by=outsider)) == "compute.secret.unknown"
    assert code_of(lambda: world.submit(text, by=world.engineer)) == "compute.secret.unknown"
