"""What waits for a second person: read what was proposed, and approve it."""

from __future__ import annotations

import msgspec

from sekisho.console import forms
from sekisho.console.asked import Answer, Page, Redirect
from sekisho.console.drawing import say
from sekisho.console.visit import Visit
from sekisho.kernel.proposals import ApproveProposal, ListProposals, Proposal


class Card(msgspec.Struct, frozen=True):
    """One proposal with the whole command as text, because an approver must see all of it."""

    one: Proposal
    command: str
    own: bool
    done: bool
    """Whoever looks has approved it already."""


def listing(visit: Visit) -> Answer:
    """Every proposal that is open."""
    found = visit.ask(ListProposals())
    cards = [
        Card(
            one,
            msgspec.json.format(msgspec.json.encode(one.command, order="sorted"), indent=2).decode(),
            one.proposer == visit.who.actor.ref.id,
            visit.who.actor.ref.id in one.approved,
        )
        for one in found
    ]
    key = "proposals.some" if cards else "proposals.none"
    return Page(
        template="proposals.html",
        title=say(visit.language, "proposals.title"),
        data=found,
        command="sekisho proposal list --json",
        values={"answer": say(visit.language, key), "cards": cards, "once": forms.new_once()},
    )


def approve(visit: Visit) -> Answer:
    """Approve as the second person; the charter must allow the proposed command to both."""
    once = forms.once_of(visit.field(forms.ONCE))
    asked = ApproveProposal(proposal=visit.asked.path["proposal"], binding=visit.field("binding"))
    visit.ask(asked, once=once)
    return Redirect("/proposals")
