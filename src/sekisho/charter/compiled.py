"""One charter version ready to decide: Cedar's handles and, for each action, what a decision can depend on."""

from __future__ import annotations

import hashlib

import cedarpy
import msgspec

from sekisho.charter.convert import encoder
from sekisho.charter.errors import INVALID, UNREADABLE, CharterError
from sekisho.charter.policies import (
    NowUse,
    Policy,
    looks_at_identity,
    now_use,
    policy_set,
    read_policies,
)
from sekisho.charter.schema import Action, Shapes, narrowed, read_schema


def document(schema: str, policies: str) -> bytes:
    """Canonical JSON whose SHA-256 is the charter's digest; what a bundle carries as `charters/<hex>.json`."""
    return encoder.encode({"v": 1, "schema": schema, "policies": policies})


def document_digest(body: bytes) -> str:
    """`sha256:` and the digest of a charter document or facts body."""
    return "sha256:" + hashlib.sha256(body).hexdigest()


NO_CHARTER = document_digest(document("", ""))
"""Digest of the empty charter, which records of the time before the first activation name."""


class Plan(msgspec.Struct, frozen=True):
    """How to decide one action: its policies alone, and what of a request they can tell apart."""

    action: Action
    policies: tuple[Policy, ...]
    handle: cedarpy.PolicySet
    schema: cedarpy.Schema
    """With this action alone; passed wherever Cedar is given entities or a request."""
    keeps_principal: bool
    keeps_resource: bool
    now: NowUse


class Charter:
    """Immutable after construction, but for plans made when first asked for; shared by all threads."""

    def __init__(self, schema: str, policies: str) -> None:
        """Parse and validate; CharterError names the first rule that does not fit."""
        self.schema_text = schema
        self.policies_text = policies
        self.digest = document_digest(document(schema, policies))
        try:
            handle = cedarpy.Schema.from_json_str(schema)
            self.shapes: Shapes = read_schema(schema)
        except ValueError as error:
            raise CharterError(UNREADABLE, what="the schema cannot be read") from error
        self.policies = read_policies(policies)
        _validate(policies, handle, self.policies)
        self.id_by_key = {policy.key: policy.id for policy in self.policies}
        self._plans: dict[str, Plan] = {}

    def plan(self, name: str) -> Plan | None:
        """The plan for an action, or None when this charter's schema does not know it."""
        found = self._plans.get(name)
        if found is not None:
            return found
        action = self.shapes.actions.get(name)
        if action is None:
            return None
        chosen = tuple(policy for policy in self.policies if policy.speaks_of(action))
        plan = Plan(
            action,
            chosen,
            policy_set(chosen),
            cedarpy.Schema.from_json_str(narrowed(self.schema_text, action)),
            looks_at_identity(chosen, "principal"),
            looks_at_identity(chosen, "resource"),
            now_use(chosen),
        )
        self._plans[name] = plan
        return plan


def _validate(text: str, schema: cedarpy.Schema, policies: tuple[Policy, ...]) -> None:
    result = cedarpy.validate_policies(text, schema)
    if not result.validation_passed:
        first = result.errors[0]
        names = {policy.key: policy.id for policy in policies}
        raise CharterError(
            INVALID,
            rule=names.get(first.policy_id) or first.policy_id,
            what=" ".join(first.error.split())[:300],
        )
