"""The one-time code with which a site's agent becomes known."""

from __future__ import annotations

import re

import msgspec

REGISTRATION_PREFIX = "sekisho-reg1"
REGISTRATION_CODE = re.compile(
    rf"{REGISTRATION_PREFIX}\.([A-Za-z0-9_-]{{22,128}})\.([A-Za-z0-9_-]{{43}})\.([a-z0-9_]{{1,64}})",
)


class RegistrationCode(msgspec.Struct, frozen=True):
    """A one-time code: `secret` stays between the two, `control_key` (base64url) checks the answer's signature."""

    secret: str
    control_key: str
    site: str

    def text(self) -> str:
        """The form that an administrator hands to the site's operator."""
        return f"{REGISTRATION_PREFIX}.{self.secret}.{self.control_key}.{self.site}"


def parse_registration_code(text: str) -> RegistrationCode | None:
    """The parts of a registration code, or None when the text is not one."""
    found = REGISTRATION_CODE.fullmatch(text.strip())
    if found is None:
        return None
    secret, control_key, site = found.groups()
    return RegistrationCode(secret=secret, control_key=control_key, site=site)
