"""Asking the phone's user: questions and answers as values, and the answers that need nobody."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from phone_link.phone.anchors import Shown


@dataclass(frozen=True)
class Question:
    """A private-key operation that needs consent. All texts are printable.

    Attributes:
        computer: name of the paired computer.
        purpose: what is to be done: `unlock` or `make a new key`.
        reason: what the computer says it is for, empty if it said nothing.
    """

    computer: str
    purpose: str
    reason: str

    def text(self) -> str:
        """Return the question for people, without the `[y/N]`."""
        what = f"{self.purpose} for {self.computer}"
        return f"{what}: {self.reason}?" if self.reason else f"{what} (it gave no reason)?"


@dataclass(frozen=True)
class HeaderQuestion:
    """A computer shows a header that is older than the one known, or another one of the same generation.

    Attributes:
        computer: name of the paired computer, printable.
        shown: what it shows.
        known: what this phone remembers of the vault.
    """

    computer: str
    shown: Shown
    known: Shown

    def text(self) -> str:
        """Return the question for people, without the `[y/N]`."""
        vault = self.shown.vault_id.hex()
        if self.shown.generation == self.known.generation:
            what = f"ANOTHER header of the vault {vault} than this phone knows, both of generation {self.known.generation}"
        else:
            what = f"an OLD header of the vault {vault}: generation {self.shown.generation}, known is {self.known.generation}"
        return f"{self.computer} shows {what}. If you have not put a backup back, somebody else has. Take it?"


@dataclass(frozen=True)
class Answer:
    """What became of a question; `how` goes into the log."""

    granted: bool
    how: str


class Approver(Protocol):
    """Decides in the user's name. Called in the thread of the connection; may take long."""

    def approve(self, question: Question) -> Answer:
        """Return the user's answer; no answer in time is a refusal."""

    def accept_header(self, question: HeaderQuestion) -> Answer:
        """Return whether the user takes a header that is not the newest one known."""

    def ask_pin(self, computer: str) -> bytearray | None:
        """Return a PIN typed on the phone (the caller wipes it), None if nobody can or wants to."""


class AutomaticApprover:
    """Says yes to every use of a key; whoever starts the agent with it decided so. Not to an old header."""

    def approve(self, question: Question) -> Answer:
        """Grant."""
        return Answer(True, "approved automatically")

    def accept_header(self, question: HeaderQuestion) -> Answer:
        """Refuse: what is done without a question is what was done before."""
        return Answer(False, "refused automatically (see accept-header)")

    def ask_pin(self, computer: str) -> bytearray | None:
        """There is nobody to type."""
        return None


class NobodyThere:
    """Says no to everything: questions must be asked, but there is no terminal."""

    def approve(self, question: Question) -> Answer:
        """Refuse."""
        return Answer(False, "nobody to ask (no terminal)")

    def accept_header(self, question: HeaderQuestion) -> Answer:
        """Refuse."""
        return Answer(False, "nobody to ask (no terminal)")

    def ask_pin(self, computer: str) -> bytearray | None:
        """There is nobody to type."""
        return None
