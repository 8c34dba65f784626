"""Sign-in against a real OpenID Connect provider, over loopback: browser flow and device flow."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import pytest

from sekisho import identity
from sekisho.identity import oidc
from sekisho.kernel.clock import SystemClock
from sekisho.kernel.errors import SekishoError
from sekisho.kernel.net import Network
from tests.identity import provider
from tests.identity.conftest import House
from tests.identity.provider import Browser


@pytest.fixture(scope="module")
def issuer(needs_node: str) -> Iterator[str]:
    with provider.running() as found:
        yield found


@pytest.fixture
def browser(issuer: str) -> Iterator[Browser]:
    found = Browser(issuer)
    yield found
    found.close()


@pytest.fixture
def network(issuer: str) -> Iterator[Network]:
    found = Network([issuer])
    yield found
    found.close()


class Outside:
    """One house that takes sign-ins of the provider."""

    def __init__(self, house: House, issuer: str, network: Network, client: str = "rs") -> None:
        self.clock = SystemClock()
        self.client = oidc.OidcClient(
            identity.Provider(
                issuer=issuer,
                client_id=client,
                client_secret=provider.secret_of(client),
                redirect_uri=provider.REDIRECT,
                organisation=house.organisation,
                roles={"ops": ["engineer", "site_operator"], "soc": ["analyst"]},
            ),
            network,
            self.clock,
        )
        self.sign_in = identity.OutsideSignIn(house.perform, self.client, house.clock)

    def visit(self) -> str:
        return identity.new_visit(self.clock.now_ms())


@pytest.fixture
def outside(house: House, issuer: str, network: Network) -> Outside:
    return Outside(house, issuer, network)


def refused(code: str, attempt: Callable[[], Any]) -> SekishoError:
    with pytest.raises(SekishoError) as error:
        attempt()
    assert error.value.code == code
    return error.value


@pytest.mark.parametrize("client", ["rs", "es", "ed"])
def test_a_person_signs_in_with_each_kind_of_signature(
    house: House, issuer: str, network: Network, *, browser: Browser, client: str
) -> None:
    outside = Outside(house, issuer, network, client)
    visit = outside.visit()
    opened = outside.sign_in.finish(visit, browser.sign_in(outside.sign_in.begin(visit), "aiko"))
    view = house.sign_in.session(opened.secret)
    me = house.perform(view.actor, identity.ShowMe())
    assert (me.display_name, me.organisation) == ("青木 愛子", house.organisation)
    assert me.roles == ["analyst", "engineer", "site_operator"]
    assert house.perform(view.actor, identity.ShowPerson(person=me.account)).email == "aiko@example.jp"
    assert opened.secret not in house.everything()


def test_the_same_subject_is_the_same_account(house: House, outside: Outside, browser: Browser) -> None:
    accounts = set()
    for _ in range(2):
        visit = outside.visit()
        answer = browser.sign_in(outside.sign_in.begin(visit), "aiko")
        accounts.add(outside.sign_in.finish(visit, answer).account)
    assert len(accounts) == 1
    changes = [d for d in house.recorder.drafts.values() if d.action == "identity.login.admit"]
    assert len(changes) == 1


def test_an_unverified_address_is_not_kept(house: House, outside: Outside, browser: Browser) -> None:
    visit = outside.visit()
    opened = outside.sign_in.finish(visit, browser.sign_in(outside.sign_in.begin(visit), "fumi"))
    actor = house.sign_in.session(opened.secret).actor
    assert house.perform(actor, identity.ShowPerson(person=actor.ref.id)).email == ""
    assert house.perform(actor, identity.ShowMe()).roles == []


def test_a_code_is_good_once(outside: Outside, browser: Browser) -> None:
    visit = outside.visit()
    answer = browser.sign_in(outside.sign_in.begin(visit), "aiko")
    outside.sign_in.finish(visit, answer)
    error = refused("auth.provider_refused", lambda: outside.sign_in.finish(visit, answer))
    assert error.params == {"check": "code"}


def test_an_answer_belongs_to_the_browser_that_asked(outside: Outside, browser: Browser) -> None:
    mine, other = outside.visit(), outside.visit()
    answer = browser.sign_in(outside.sign_in.begin(other), "aiko")
    refused("auth.provider_refused", lambda: outside.sign_in.finish(mine, answer))
    # Even with the state forged to fit, the code was asked for with another verifier.
    forged = answer | {"state": oidc.derive(mine, "state")}
    error = refused("auth.provider_refused", lambda: outside.sign_in.finish(mine, forged))
    assert error.params == {"check": "code"}


def test_a_code_of_another_client_is_refused(
    house: House, issuer: str, network: Network, *, outside: Outside, browser: Browser
) -> None:
    visit = outside.visit()
    theirs = Outside(house, issuer, network, "other")
    answer = browser.sign_in(theirs.sign_in.begin(visit), "aiko")
    refused("auth.provider_refused", lambda: outside.sign_in.finish(visit, answer))


def test_an_answer_must_name_its_issuer(outside: Outside, browser: Browser) -> None:
    visit = outside.visit()
    answer = browser.sign_in(outside.sign_in.begin(visit), "aiko")
    without = {name: value for name, value in answer.items() if name != "iss"}
    for bad in (without, answer | {"iss": "https://elsewhere.example"}):
        error = refused("auth.provider_refused", lambda a=bad: outside.sign_in.finish(visit, a))
        assert error.params == {"check": "iss"}


def test_new_keys_of_the_provider_are_found(outside: Outside, browser: Browser, issuer: str) -> None:
    visit = outside.visit()
    outside.sign_in.finish(visit, browser.sign_in(outside.sign_in.begin(visit), "aiko"))
    httpx2.post(issuer + "/rotate")
    outside.client._keys_ms -= oidc.REFRESH_MS_MIN
    fresh = Browser(issuer)
    visit = outside.visit()
    outside.sign_in.finish(visit, fresh.sign_in(outside.sign_in.begin(visit), "aiko"))
    fresh.close()


def test_a_disabled_person_stays_out(house: House, outside: Outside, browser: Browser) -> None:
    visit = outside.visit()
    account = outside.sign_in.finish(visit, browser.sign_in(outside.sign_in.begin(visit), "aiko")).account
    house.perform(house.administrator(), identity.DisablePerson(person=account))
    visit = outside.visit()
    answer = browser.sign_in(outside.sign_in.begin(visit), "aiko")
    refused("auth.disabled", lambda: outside.sign_in.finish(visit, answer))


def test_a_device_waits_until_somebody_confirms(house: House, outside: Outside, browser: Browser) -> None:
    device = outside.sign_in.start_device()
    assert device.user_code in device.verification_uri_complete
    assert isinstance(outside.sign_in.poll_device(device.device_code), oidc.Waiting)
    browser.confirm_device(device.verification_uri_complete, "aiko")
    token = outside.sign_in.poll_device(device.device_code)
    assert isinstance(token, identity.NewToken)
    actor = house.sign_in.authenticate(token.secret, "127.0.0.1")
    assert house.perform(actor, identity.ShowMe()).display_name == "青木 愛子"
    assert token.secret not in house.everything()
    refused("auth.device_expired", lambda: outside.sign_in.poll_device(device.device_code))


def test_a_declined_device_is_told_so(outside: Outside, browser: Browser) -> None:
    device = outside.sign_in.start_device()
    browser.decline_device(device.verification_uri_complete)
    refused("auth.device_denied", lambda: outside.sign_in.poll_device(device.device_code))


def test_an_unknown_device_code_is_expired(outside: Outside) -> None:
    refused("auth.device_expired", lambda: outside.sign_in.poll_device("nonsense"))


def test_a_provider_that_is_away_says_so(house: House, network: Network, issuer: str) -> None:
    away = "http://127.0.0.1:9"
    outside = Outside(house, away, Network([away]))
    refused("unavailable", lambda: outside.sign_in.begin(outside.visit()))
