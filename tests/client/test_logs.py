"""What `sekisho logs` says of a log that is sealed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sekisho.data import rules
from sekisho.kernel.errors import SekishoError
from sekisho_client.verbs.logs import command_for

ORGANISATIONS = st.sampled_from(["org_a", "org_b"])


@given(level=st.integers(0, 4), owner=ORGANISATIONS, owners=st.sets(ORGANISATIONS, min_size=1))
def test_the_command_is_the_one_that_the_server_will_not_refuse(
    level: int, owner: str, owners: set[str]
) -> None:
    try:
        rules.check_fetch(level, owners, owner)
        expected = "sekisho artefact fetch art_1 --to log"
    except SekishoError:
        expected = "sekisho artefact export art_1 "
    said = command_for({"id": "art_1", "level": level, "owner": owner, "owners": sorted(owners)})
    assert said.startswith(expected)
