"""Why not: one sentence per rule of a denial, and for a missing permit what the nearest one still needs."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Iterator, Mapping

import cedarpy
import msgspec

from sekisho.charter import rules
from sekisho.charter.compiled import Charter, Plan
from sekisho.charter.conditions import Compiler
from sekisho.charter.formulas import UnsupportedError, no
from sekisho.charter.policies import Node, Policy, literal, operator, set_form
from sekisho.charter.scene import Scene, words
from sekisho.charter.texts import FAMILIES, family
from sekisho.charter.worlds import World
from sekisho.kernel.facts import Moment, Ref, Request, Sentence
from sekisho_wire.problems import Text

_ORDER = (rules.FLOOR, rules.CLOSED, rules.NO_CHARTER_RULE, rules.MALFORMED)
_JP = "JP"
_NEEDLESS = re.compile(r"(?<!\w)\(([a-z_][\w.]*)\)")
"""Brackets around nothing but a path; those after a name belong to a call."""
_LANDMARKS = 3
_APPROVERS = 2


class Unmet(msgspec.Struct, frozen=True):
    """A permit that does not apply, and the first of its conditions that fails, as Cedar text.

    `met` of `conditions` hold; `role` and `owner` are filled in where the condition is about them.
    """

    rule: str
    condition: str
    met: int
    conditions: int
    role: str = ""
    owner: str = ""


def sentences(
    charter: Charter | None, world: World, request: Request, found: tuple[str, ...], *, fault: str = ""
) -> tuple[Sentence, ...]:
    """One sentence for each rule in `found`, ours before the charter's. `fault` is why a request was malformed."""
    scene = Scene(world, request)
    ordered = sorted(found, key=lambda rule: (not rule.startswith(_ORDER), found.index(rule)))
    return tuple(_sentence(charter, scene, rule, fault) for rule in ordered)


def _sentence(charter: Charter | None, scene: Scene, rule: str, fault: str) -> Sentence:
    if rule.startswith(rules.CLOSED):
        kind = rule.removeprefix(rules.CLOSED)
        return scene.sentence(rule, "closed.Action" if kind == "Action" else "closed", type=kind)
    if rule == rules.NO_PERMIT and charter is not None:
        return _permit_sentence(charter, scene)
    if rule in rules.RESERVED:
        return scene.sentence(rule, rule, what=fault)
    policy = next((one for one in charter.policies if one.id == rule), None) if charter else None
    annotations = policy.annotations if policy else {}
    english, japanese = annotations.get("en"), annotations.get("ja")
    if english and japanese:
        return scene.render(rule, Text(english, japanese))
    if family(rule) in FAMILIES:
        key, extra = _CASES.get(family(rule), _plain)(scene, rule)
        return scene.sentence(rule, key, **extra)
    return scene.sentence(rule, "forbid.condition")


_Case = tuple[str, Mapping[str, Text | str | int]]


def _plain(_scene: Scene, rule: str) -> _Case:
    return family(rule), {}


def _residency(scene: Scene, _rule: str) -> _Case:
    inside = {"any", scene.country()} & set(scene.residency())
    return ("C01.served" if inside else "C01"), {}


def _proof(scene: Scene, _rule: str) -> _Case:
    proof = ("context", "site", "proof")
    checked_at = scene.at(*proof, "checked_at")
    if isinstance(checked_at, Moment) and checked_at.ms > scene.request.now_ms:
        return "C02.future", {}
    if checked_at == Moment(0):
        return "C02.never", {}
    if not isinstance(checked_at, Moment) or scene.request.now_ms - checked_at.ms > 15 * 60_000:
        return "C02", {}
    return ("C02.landmarks" if scene.number_at(*proof, "landmarks") < _LANDMARKS else "C02.margin"), {}


def _foreign_law(_scene: Scene, rule: str) -> _Case:
    return ("C03.declared" if "declared" in rule else "C03"), {}


def _custody(_scene: Scene, rule: str) -> _Case:
    return ("C04.declared" if "declared" in rule else "C04"), {}


def _special_care(scene: Scene, _rule: str) -> _Case:
    missing = {
        "purpose": scene.at("context", "purpose") != "care",
        "consent": scene.at("context", "consent") is not True,
        "log": scene.at("context", "prompt_logging") is not False,
    }
    return "C05", {"list": words([key for key, fails in missing.items() if fails])}


def _copy(scene: Scene, _rule: str) -> _Case:
    if scene.number_at("resource", "level") > rules.FLOOR_LEVEL:
        return "C06.level", {}
    inside = {"any", scene.country()} & set(scene.residency())
    return ("C06" if inside else "C06.residency"), {}


def _clearance(scene: Scene, _rule: str) -> _Case:
    until = scene.at("principal", "clearance_until")
    cleared = "jp-esi" in scene.texts_at("principal", "clearances")
    valid = isinstance(until, Moment) and scene.request.now_ms < until.ms
    certs = scene.texts_at("context", "site", "operator", "certs")
    missing = {
        "person": not (cleared and valid),
        "mfa": scene.at("principal", "mfa") is not True,
        "operator": "jp-esi-certified-operator" not in certs,
        "disconnected": scene.at("context", "site", "disconnected") is not True,
    }
    return "C07", {"list": words([key for key, fails in missing.items() if fails])}


def _egress(scene: Scene, rule: str) -> _Case:
    if "wall" in rule:
        return "C09.wall", {}
    egress = scene.at("context", "egress")
    if egress == "allowlist":
        return "C09.stores", {}
    return ("C09.attested" if egress in {"none", "allowlist-jp"} else "C09"), {}


def _export(scene: Scene, _rule: str) -> _Case:
    if not {"any", scene.country()} & set(scene.residency()):
        return "C10.residency", {}
    if scene.level() > 3:  # noqa: PLR2004 - the level from which nothing is exported
        return "C10.level", {}
    controlled = "export-controlled" in scene.texts_at("resource", "labels")
    if controlled and scene.country() != _JP and scene.at("context", "export_licence") is not True:
        return "C10.licence", {}
    people = {scene.at("context", name) for name in ("approver1", "approver2")}
    others = {who for who in people if isinstance(who, Ref) and who != scene.request.principal.ref}
    found = [scene.entity(who) for who in others]
    organisations = {who.attributes.get("org") for who in found if who is not None}
    return "C10", {"k": _APPROVERS, "j": len(organisations)}


def _operator_access(scene: Scene, _rule: str) -> _Case:
    if scene.level() > 3:  # noqa: PLR2004 - the level from which nobody is let in
        return "C11.level", {}
    if scene.at("principal", "residence") != _JP:
        return "C11.residence", {}
    if scene.at("context", "recorded") is not True or not scene.at("context", "ticket"):
        return "C11.recorded", {}
    return "C11", {}


def _circle(scene: Scene, _rule: str) -> _Case:
    authority = scene.at("context", "recipient_kind") == "national-authority"
    domestic = scene.at("context", "recipient", "jurisdiction") == _JP
    personal = scene.at("resource", "has_personal_data") is True
    return ("C12.personal" if personal and not (authority and domestic) else "C12"), {}


def _lab(scene: Scene, _rule: str) -> _Case:
    facts = {
        "real": scene.at("resource", "data") == "real",
        "level": scene.number_at("resource", "level") > 1,
        "abroad": scene.at("context", "site", "country") != _JP,
        "hours": scene.number_at("context", "gpu_hours_left") <= 0,
    }
    return "C13", {"fact": words([key for key, holds in facts.items() if holds])}


_CASES: Mapping[str, Callable[[Scene, str], _Case]] = {
    "C01": _residency,
    "C02": _proof,
    "C03": _foreign_law,
    "C04": _custody,
    "C05": _special_care,
    "C06": _copy,
    "C07": _clearance,
    "C09": _egress,
    "C10": _export,
    "C11": _operator_access,
    "C12": _circle,
    "C13": _lab,
}


def _permit_sentence(charter: Charter, scene: Scene) -> Sentence:
    found = unmet(charter, scene)
    if not found:
        return scene.sentence(rules.NO_PERMIT, "no-permit")
    near = found[0]
    if near.role:
        return scene.sentence(near.rule, "permit.role_in" if near.owner else "permit.role", role=near.role)
    if near.owner:
        return scene.sentence(near.rule, "permit.owner")
    if near.condition == _ANY_ROLE:
        return scene.sentence(near.rule, "permit.any_role")
    return scene.sentence(near.rule, "permit.condition", condition=near.condition)


_ANY_ROLE = "!(principal.roles.isEmpty())"


def unmet(charter: Charter, scene: Scene) -> tuple[Unmet, ...]:
    """The permits that could apply to this action and principal, the one with the least to mend first."""
    plan = charter.plan(scene.request.action)
    if plan is None:
        return ()
    compiler = Compiler(
        charter.shapes, plan.action, scene.request.principal.ref.type, scene.request.resource.ref.type
    )
    found = [one for policy in _permits(plan) if (one := _first_unmet(policy, compiler, scene)) is not None]
    return tuple(sorted(found, key=lambda one: (one.conditions - one.met, -one.met)))


def _permits(plan: Plan) -> Iterator[Policy]:
    return (policy for policy in plan.policies if policy.effect == "permit")


def _first_unmet(policy: Policy, compiler: Compiler, scene: Scene) -> Unmet | None:
    """What this permit lacks; None when it is for other types of principals or resources."""
    if compiler.scope(policy) is no:
        return None
    parts = [part for positive, body in policy.conditions for part in _conjuncts(body, positive=positive)]
    held = [_holds(part, positive, compiler, scene) for part, positive in parts]
    if None in held or all(held):
        return None
    index = held.index(False)
    part, positive = parts[index]
    role, owned = _about_role(part), any(_about_owner(one) for one, _ in parts)
    owner = scene.id_at("resource", "owner") if owned and (role or _about_owner(part)) else ""
    condition = cedar_text(msgspec.json.encode(part if positive else {"!": {"arg": part}}))
    return Unmet(policy.id, condition, sum(1 for one in held if one), len(held), role, owner)


def _conjuncts(node: Node, *, positive: bool) -> Iterator[tuple[Node, bool]]:
    """The parts that must all hold; an `unless` is one part that must not."""
    if positive and operator(node) == "&&":
        yield from _conjuncts(node["&&"]["left"], positive=True)
        yield from _conjuncts(node["&&"]["right"], positive=True)
    else:
        yield node, positive


def _holds(part: Node, positive: bool, compiler: Compiler, scene: Scene) -> bool | None:  # noqa: FBT001 - one half of a pair
    """Whether a part holds; None when it can never hold for these types, False when nobody can tell."""
    try:
        formula = compiler.formula(part)
    except UnsupportedError:
        return False
    if formula is no and positive:
        return None
    value = formula(scene)
    return (value if positive else not value) if isinstance(value, bool) else False


def _about_role(part: Node) -> str:
    """`engineer` of `principal.roles.contains("engineer")`, or the alternatives of `containsAny`."""
    name = operator(part)
    roles = {".": {"left": {"Var": "principal"}, "attr": "roles"}}
    if name not in {"contains", "containsAny"} or part[name]["left"] != roles:
        return ""
    right = part[name]["right"]
    return " / ".join(str(literal(item)) for item in (right["Set"] if operator(right) == "Set" else (right,)))


def _about_owner(part: Node) -> bool:
    sides = ("resource", "owner"), ("principal", "org")
    expected = [{".": {"left": {"Var": variable}, "attr": attribute}} for variable, attribute in sides]
    return operator(part) == "==" and [part["=="]["left"], part["=="]["right"]] in (expected, expected[::-1])


@functools.lru_cache(maxsize=512)
def cedar_text(condition: bytes) -> str:
    """One condition, given in Cedar's JSON form, as Cedar text."""
    anything = {"op": "All"}
    body = msgspec.json.decode(condition)
    policy = {
        "effect": "permit",
        "principal": anything,
        "action": anything,
        "resource": anything,
        "conditions": [{"kind": "when", "body": body}],
    }
    text = " ".join(cedarpy.policies_from_json_str(set_form({"policy0": policy})).split())
    text = text[text.index("when {") + len("when {") : text.rindex("}")].strip()
    while (plainer := _NEEDLESS.sub(r"\1", text)) != text:
        text = plainer
    return text
