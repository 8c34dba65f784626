"""What a provider could get wrong, or an attacker make up: id_tokens forged claim by claim and key by key."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey, OKPKey, RSAKey

from sekisho import identity
from sekisho.identity import oidc
from sekisho.kernel.clock import ManualClock
from sekisho.kernel.errors import SekishoError
from tests.identity.conftest import House

ISSUER = "https://idp.example"
NOW_MS = 1_795_000_000_000
NOW = NOW_MS // 1000
RSA = RSAKey.generate_key(2048, parameters={"kid": "rsa"}, private=True)
EC = ECKey.generate_key("P-256", parameters={"kid": "ec"}, private=True)
ED = OKPKey.generate_key("Ed25519", parameters={"kid": "ed"}, private=True)
STRANGER = RSAKey.generate_key(2048, parameters={"kid": "rsa"}, private=True)
METADATA = {
    "issuer": ISSUER,
    "authorization_endpoint": ISSUER + "/auth?tenant=1",
    "token_endpoint": ISSUER + "/token",
    "device_authorization_endpoint": ISSUER + "/device",
    "jwks_uri": ISSUER + "/jwks",
}


class Scripted:
    """A provider whose answers the test writes; counts what it was asked."""

    def __init__(self) -> None:
        self.metadata: dict[str, Any] = dict(METADATA)
        self.jwks: dict[str, Any] = {"keys": [key.as_dict(private=False) for key in (RSA, EC, ED)]}
        self.tokens: dict[str, Any] = {}
        self.asked: list[str] = []
        self.forms: list[dict[str, str]] = []

    def get_json(self, url: str) -> dict[str, Any]:
        self.asked.append(url)
        return self.jwks if url.endswith("/jwks") else self.metadata

    def post_form(self, url: str, data: Mapping[str, str]) -> dict[str, Any]:
        self.asked.append(url)
        self.forms.append(dict(data))
        return self.tokens


class Case:
    def __init__(self, **changes: Any) -> None:
        self.http = Scripted()
        self.clock = ManualClock(NOW_MS)
        given_: dict[str, Any] = {
            "issuer": ISSUER,
            "client_id": "sekisho",
            "redirect_uri": "https://here.example/callback",
            "organisation": "org_x",
        }
        self.client = oidc.OidcClient(identity.Provider(**(given_ | changes)), self.http, self.clock)
        self.visit = oidc.new_visit(NOW_MS)

    def claims(self, **changes: Any) -> dict[str, Any]:
        claims = {
            "iss": ISSUER,
            "sub": "s1",
            "aud": "sekisho",
            "exp": NOW + 300,
            "iat": NOW,
            "nonce": oidc.derive(self.visit, "nonce"),
            "name": "青木",
        } | changes
        return {name: value for name, value in claims.items() if value is not None}

    def exchange(self, token: str | None = None, **changes: Any) -> oidc.Identity:
        self.http.tokens = {"id_token": token or sign(self.claims(**changes))}
        return self.client.exchange(self.visit, {"code": "c", "state": oidc.derive(self.visit, "state")})


def sign(claims: dict[str, Any], key: Any = RSA, alg: str = "RS256", **header: Any) -> str:
    full = {"alg": alg, "kid": key.kid} | header
    return jwt.encode(
        {k: v for k, v in full.items() if v is not None}, claims, key, registry=oidc._Signatures()
    )


def part(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def refused(check: str, attempt: Callable[[], Any]) -> None:
    with pytest.raises(SekishoError) as error:
        attempt()
    assert (error.value.code, error.value.params) == ("auth.provider_refused", {"check": check})


@pytest.mark.parametrize(("key", "alg"), [(RSA, "RS256"), (EC, "ES256"), (ED, "EdDSA"), (ED, "Ed25519")])
def test_each_kind_of_signature_is_taken(key: Any, alg: str) -> None:
    case = Case()
    found = case.exchange(sign(case.claims(), key, alg))
    assert (found.subject, found.display_name, found.mfa) == ("s1", "青木", False)


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"iss": "https://elsewhere.example"}, "iss"),
        ({"iss": None}, "iss"),
        ({"aud": "other"}, "aud"),
        ({"aud": None}, "aud"),
        ({"aud": ["other"]}, "aud"),
        ({"aud": ["sekisho", "other"]}, "azp"),
        ({"aud": ["sekisho", "other"], "azp": "other"}, "azp"),
        ({"azp": "other"}, "azp"),
        ({"exp": NOW - 60}, "exp"),
        ({"exp": None}, "exp"),
        ({"exp": "soon"}, "exp"),
        ({"iat": None}, "iat"),
        ({"iat": NOW + 61}, "iat"),
        ({"iat": NOW - 601}, "iat"),
        ({"nbf": NOW + 61}, "nbf"),
        ({"nonce": "other"}, "nonce"),
        ({"nonce": None}, "nonce"),
        ({"nonce": 7}, "nonce"),
        ({"sub": None}, "sub"),
        ({"sub": ""}, "sub"),
        ({"sub": 7}, "sub"),
        ({"sub": "s" * 256}, "sub"),
        ({"sub": "a\nb", "name": None}, "name"),
    ],
)
def test_a_claim_that_does_not_hold_is_refused(changes: dict[str, Any], check: str) -> None:
    refused(check, lambda: Case().exchange(**changes))


def test_clocks_may_differ_by_a_minute() -> None:
    Case().exchange(exp=NOW - 59, iat=NOW - 300)
    Case().exchange(iat=NOW + 60)
    Case().exchange(aud=["sekisho", "other"], azp="sekisho")


def test_a_token_without_a_signature_is_refused() -> None:
    case = Case()
    claims = part(case.claims())
    for alg in ("none", "None", "NONE", ""):
        refused("alg", lambda a=alg: case.exchange(f"{part({'alg': a})}.{claims}."))
    signed = sign(case.claims())
    refused("signature", lambda: case.exchange(signed.rpartition(".")[0] + "."))


def test_a_symmetric_signature_is_refused_even_with_the_public_key_as_secret() -> None:
    case = Case(client_secret="shared-secret-that-is-long-enough!")
    for secret in (b"shared-secret-that-is-long-enough!", RSA.as_pem(private=False)):
        signed = f"{part({'alg': 'HS256', 'kid': 'rsa'})}.{part(case.claims())}"
        code = base64.urlsafe_b64encode(hmac.digest(secret, signed.encode(), "sha256")).rstrip(b"=").decode()
        refused("alg", lambda t=f"{signed}.{code}": case.exchange(t))


def test_a_strangers_key_under_a_known_name_is_refused() -> None:
    case = Case()
    refused("signature", lambda: case.exchange(sign(case.claims(), STRANGER)))


def test_a_key_of_the_wrong_kind_is_refused() -> None:
    case = Case()
    refused("signature", lambda: case.exchange(sign(case.claims(), EC, "ES256", kid="rsa")))


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_changed_character_of_a_token_is_refused(data: st.DataObject) -> None:
    case = Case()
    token = sign(case.claims())
    position = data.draw(st.integers(0, len(token) - 1))
    character = data.draw(st.sampled_from("ABCxyz019-_.= \n"))
    changed = token[:position] + character + token[position + 1 :]
    if _same_bytes(changed, token):
        return
    with pytest.raises(SekishoError) as error:
        case.exchange(changed)
    assert error.value.code == "auth.provider_refused"


def _same_bytes(left: str, right: str) -> bool:
    """Base64 leaves spare bits in a part's last character: such a change changes no byte that is signed."""

    def parts(text: str) -> list[bytes] | None:
        try:
            return [base64.urlsafe_b64decode(one + "=" * (-len(one) % 4)) for one in text.split(".")]
        except ValueError:
            return None

    same_signed = left.rpartition(".")[0] == right.rpartition(".")[0]
    return left == right or (same_signed and parts(left) is not None and parts(left) == parts(right))


@pytest.mark.parametrize(
    "token", ["", "x", "a.b.c", ".", "..", "é.b.c", "e30.e30.", "bnVsbA.e30.", "A" * 20_000, 7, None]
)
def test_what_is_no_token_is_refused(token: Any) -> None:
    case = Case()
    case.http.tokens = {"id_token": token}
    with pytest.raises(SekishoError) as error:
        case.client.exchange(case.visit, {"code": "c", "state": oidc.derive(case.visit, "state")})
    assert error.value.code == "auth.provider_refused"


def test_keys_are_fetched_again_for_an_unknown_one_but_not_at_every_token() -> None:
    case = Case()
    case.exchange()
    fresh = RSAKey.generate_key(2048, parameters={"kid": "fresh"}, private=True)
    refused("signature", lambda: case.exchange(sign(case.claims(), fresh)))
    assert case.http.asked.count(METADATA["jwks_uri"]) == 1
    case.http.jwks["keys"].append(fresh.as_dict(private=False))
    case.clock.advance(oidc.REFRESH_MS_MIN)
    case.exchange(sign(case.claims(), fresh))
    case.http.jwks["keys"] = [fresh.as_dict(private=False)]
    case.clock.advance(oidc.REFRESH_MS_MIN)
    refused("signature", lambda: case.exchange(sign(case.claims(), STRANGER, kid="gone")))
    refused("signature", lambda: case.exchange(sign(case.claims())))
    assert case.http.asked.count(METADATA["jwks_uri"]) == 3


def test_keys_that_are_not_for_signing_do_not_count() -> None:
    case = Case()
    case.http.jwks = {
        "keys": [
            RSA.as_dict(private=False) | {"use": "enc"},
            {"kty": "oct", "k": "AA"},
            {"kty": "XX"},
            7,
            {"kty": "RSA"},
        ]
    }
    refused("signature", case.exchange)
    case.http.jwks = {"keys": "none"}
    refused("signature", case.exchange)


def test_keys_without_names_are_all_tried() -> None:
    case = Case()
    case.http.jwks = {"keys": [STRANGER.as_dict(private=False), RSA.as_dict(private=False)]}
    assert case.exchange(sign(case.claims(), kid=None)).subject == "s1"


# ------------------------------------------------------------------------------------------------ browser flow
def test_the_browser_is_sent_with_state_nonce_and_challenge() -> None:
    case = Case()
    url = urlsplit(case.client.authorization_url(case.visit))
    query = {name: values[0] for name, values in parse_qs(url.query).items()}
    assert query["tenant"] == "1"
    assert (query["response_type"], query["code_challenge_method"]) == ("code", "S256")
    assert (query["state"], query["nonce"]) == (
        oidc.derive(case.visit, "state"),
        oidc.derive(case.visit, "nonce"),
    )
    case.exchange()
    form = case.http.forms[-1]
    digest = hashlib.sha256(form["code_verifier"].encode()).digest()
    assert base64.urlsafe_b64encode(digest).rstrip(b"=").decode() == query["code_challenge"]
    assert len({query["state"], query["nonce"], form["code_verifier"], query["code_challenge"]}) == 4
    assert "client_secret" not in form


def test_two_visits_share_nothing() -> None:
    one, two = oidc.new_visit(NOW_MS), oidc.new_visit(NOW_MS)
    purposes = ("state", "nonce", "verifier", "form")
    assert len({oidc.derive(visit, purpose) for visit in (one, two) for purpose in purposes}) == 8


@pytest.mark.parametrize(
    ("answer", "check"),
    [
        ({"state": "x"}, "state"),
        ({}, "state"),
        ({"state": "\ud800"}, "state"),
        ({"code": ""}, "code"),
        ({"code": "c" * 20_000}, "code"),
        ({"error": "access_denied"}, "code"),
        ({"iss": "https://elsewhere.example"}, "iss"),
    ],
)
def test_an_answer_that_does_not_fit_is_refused_before_anything_is_sent(
    answer: dict[str, str], check: str
) -> None:
    case = Case()
    full = {"code": "c", "state": oidc.derive(case.visit, "state")} | answer
    if answer == {}:
        del full["state"]
    refused(check, lambda: case.client.exchange(case.visit, full))
    assert case.http.forms == []


@pytest.mark.parametrize("visit", ["", "x", "1795000000000.short", "1795000000000." + "A" * 44])
def test_a_made_up_cookie_is_no_visit(visit: str) -> None:
    case = Case()
    answer = {"code": "c", "state": oidc.derive(visit, "state")}
    refused("visit", lambda: case.client.exchange(visit, answer))


def test_a_visit_lasts_ten_minutes() -> None:
    case = Case()
    case.clock.advance(oidc.VISIT_MS_MAX + 1)
    refused("visit", case.exchange)


@pytest.mark.parametrize(
    ("change", "check"),
    [
        ({"issuer": "https://elsewhere.example"}, "issuer"),
        ({"issuer": None}, "issuer"),
        ({"token_endpoint": "http://idp.example/token"}, "token_endpoint"),
        ({"token_endpoint": "http://127.0.0.1/token"}, "token_endpoint"),
        ({"token_endpoint": "https://a:b@idp.example/token"}, "token_endpoint"),
        ({"token_endpoint": "file:///etc/passwd"}, "token_endpoint"),
        ({"token_endpoint": None}, "token_endpoint"),
        ({"token_endpoint": 7}, "token_endpoint"),
        ({"jwks_uri": "http://idp.example/jwks"}, "jwks_uri"),
    ],
)
def test_metadata_is_not_trusted_blindly(change: dict[str, Any], check: str) -> None:
    case = Case()
    case.http.metadata |= change
    refused(check, case.exchange)


@pytest.mark.parametrize(
    "changes",
    [
        {"roles": {"ops": ["administrator"]}},
        {"roles": {"ops": ["king"]}},
        {"issuer": "http://idp.example"},
        {"issuer": "idp.example"},
    ],
)
def test_a_configuration_that_gives_too_much_away_does_not_start(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"administrator|roles|https"):
        Case(**changes)


# -------------------------------------------------------------------------------------------------- the person
@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"name": " "}, ("s1", "", ())),
        ({"name": None, "preferred_username": "aiko"}, ("aiko", "", ())),
        ({"name": ["x"]}, ("s1", "", ())),
        ({"name": "a\u202eb", "preferred_username": "aiko"}, ("aiko", "", ())),
        ({"name": "x" * 200}, ("x" * 120, "", ())),
        ({"email": "a@b.example", "email_verified": True}, ("青木", "a@b.example", ())),
        ({"email": "a@b.example", "email_verified": False}, ("青木", "", ())),
        ({"email": "no address"}, ("青木", "", ())),
        ({"email": 7}, ("青木", "", ())),
        ({"groups": ["a", 7, "b"]}, ("青木", "", ("a", "b"))),
        ({"groups": "a"}, ("青木", "", ())),
        ({"groups": {"a": 1}}, ("青木", "", ())),
    ],
)
def test_what_a_provider_says_of_a_person(claims: dict[str, Any], expected: tuple[Any, ...]) -> None:
    found = Case().exchange(**claims)
    assert (found.display_name, found.email, found.groups) == expected


@pytest.mark.parametrize(
    ("amr", "mfa"), [(["pwd"], False), (["pwd", "otp"], True), ("otp", False), (None, False)]
)
def test_a_second_factor_is_what_the_provider_says(amr: Any, *, mfa: bool) -> None:
    assert Case().exchange(amr=amr).mfa is mfa


# ------------------------------------------------------------------------------------------------- device flow
@pytest.mark.parametrize(
    ("error", "code"),
    [
        ("access_denied", "auth.device_denied"),
        ("expired_token", "auth.device_expired"),
        ("invalid_grant", "auth.device_expired"),
        ("server_error", "auth.provider_refused"),
        (["odd"], "auth.provider_refused"),
    ],
)
def test_the_end_of_a_device_sign_in_is_named(error: Any, code: str) -> None:
    case = Case()
    case.http.tokens = {"error": error}
    with pytest.raises(SekishoError) as caught:
        case.client.poll_device("d")
    assert caught.value.code == code


def test_a_device_waits_as_long_as_it_is_told() -> None:
    case = Case()
    case.http.tokens = {"error": "authorization_pending"}
    assert case.client.poll_device("d") == oidc.Waiting(5)
    case.http.tokens = {"error": "slow_down"}
    assert case.client.poll_device("d") == oidc.Waiting(10)


def test_a_devices_token_is_checked_like_any_other() -> None:
    case = Case()
    case.http.tokens = {"id_token": sign(case.claims(aud="other", nonce=None))}
    refused("aud", lambda: case.client.poll_device("d"))
    case.http.tokens = {"id_token": sign(case.claims(nonce=None))}
    found = case.client.poll_device("d")
    assert isinstance(found, oidc.Identity)


@pytest.mark.parametrize("missing", ["user_code", "verification_uri", "device_code"])
def test_a_device_answer_without_its_parts_is_refused(missing: str) -> None:
    case = Case()
    case.http.tokens = {
        "user_code": "U",
        "verification_uri": "https://idp.example/d",
        "device_code": "D",
        "interval": True,
    }
    assert case.client.start_device().interval_seconds == 5
    del case.http.tokens[missing]
    refused(missing, case.client.start_device)


# ------------------------------------------------------------------------------------------- into the tables
def test_groups_are_followed_and_hand_given_roles_stay(house: House) -> None:
    http = Scripted()
    provider = identity.Provider(
        issuer=ISSUER,
        client_id="sekisho",
        redirect_uri="https://here.example/cb",
        organisation=house.organisation,
        roles={"ops": ["engineer"], "soc": ["analyst"]},
    )
    sign_in = identity.OutsideSignIn(house.perform, oidc.OidcClient(provider, http, house.clock), house.clock)
    case, now = Case(), house.clock.now_ms() // 1000

    def enter(**claims: Any) -> Any:
        http.tokens = {"id_token": sign(case.claims(iat=now, exp=now + 300, nonce=None, **claims))}
        token = sign_in.poll_device("d")
        assert isinstance(token, identity.NewToken)
        return house.sign_in.authenticate(token.secret, "127.0.0.1")

    actor = enter(groups=["ops", "soc"], amr=["otp"])
    entity = house.entity(actor)
    assert entity is not None
    assert (entity.attributes["roles"], entity.attributes["mfa"]) == (
        frozenset({"engineer", "analyst"}),
        True,
    )
    house.perform(house.administrator(), identity.GrantRole(account=actor.ref.id, role="auditor"))
    assert enter(groups=["soc"], name="青木 改").ref == actor.ref
    entity = house.entity(actor)
    assert entity is not None
    assert (entity.attributes["roles"], entity.attributes["mfa"]) == (
        frozenset({"auditor", "analyst"}),
        False,
    )
    assert house.perform(actor, identity.ShowMe()).display_name == "青木 改"
    other = enter(sub="s2", groups=[])
    assert other.ref != actor.ref


def test_administration_cannot_come_from_outside(house: House) -> None:
    from sekisho.kernel.facts import SYSTEM

    with pytest.raises(SekishoError) as error:
        house.perform(
            SYSTEM,
            identity.AdmitLogin(
                issuer=ISSUER,
                subject="s",
                organisation=house.organisation,
                display_name="x",
                roles=("administrator",),
            ),
        )
    assert error.value.code == "identity.needs_two_people"
    assert house.rows("select * from identity_logins") == []


def test_bad_tokens_cost_little_time() -> None:
    case, start = Case(), time.monotonic()
    for _ in range(50):
        refused("alg", lambda: case.exchange(f"{part({'alg': 'none'})}.e30."))
    assert time.monotonic() - start < 5
