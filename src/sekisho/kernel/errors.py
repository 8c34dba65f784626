"""One root for every error this program raises on purpose, each with a stable code."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from sekisho_wire import problems
from sekisho_wire.problems import Language, Problem, Text

if TYPE_CHECKING:
    from sekisho.kernel.facts import Sentence


class SekishoError(Exception):
    """An error with a code. `params` fill the code's sentence and are shown to the caller: no secrets in them.

    `texts` are parameters that themselves exist in both languages; what they name between braces is in `params`.
    """

    problem: Problem = problems.INTERNAL

    def __init__(
        self,
        problem: Problem | None = None,
        /,
        *,
        texts: Mapping[str, Text] | None = None,
        **params: str | int,
    ) -> None:
        """Take the class's own problem unless another is given."""
        self.problem = problem or type(self).problem
        self.texts = texts or {}
        self.params = params
        self.params = self.filled(Language.EN)  # programs see one stable spelling
        super().__init__(self.problem.text.render(Language.EN, self.params))

    def filled(self, language: Language) -> dict[str, str | int]:
        """The parameters as a sentence in this language needs them."""
        return self.params | {name: text.render(language, self.params) for name, text in self.texts.items()}

    @property
    def code(self) -> str:
        """The stable dotted code of this error."""
        return self.problem.code


class InvalidInputError(SekishoError):
    """The input cannot be taken; nothing was changed."""

    problem = problems.INPUT_INVALID


class NotFoundError(SekishoError):
    """No such thing, or the charter does not let the caller see it: the two look the same on purpose."""

    problem = problems.NOT_FOUND


class ConflictError(SekishoError):
    """The thing is not in a state that allows this."""

    problem = problems.CONFLICT


class UnavailableError(SekishoError):
    """A part this request needs does not answer."""

    problem = problems.UNAVAILABLE


class BusyError(SekishoError):
    """Retries ended: too many writers of one thing at once."""

    problem = problems.BUSY


class StorageFullError(SekishoError):
    """The database could not write; the whole group of commands was rolled back."""

    problem = problems.STORAGE_FULL


class DeniedError(SekishoError):
    """The charter said no. Carries every unmet condition and rule, so that every caller can name them."""

    problem = problems.DENIED

    def __init__(self, *, sentences: tuple[Sentence, ...], rules: tuple[str, ...], record: str = "") -> None:
        """Build from the charter's explanation; the first sentence is the one people see first."""
        self.sentences = sentences
        self.rules = rules
        self.record = record
        super().__init__(sentence=sentences[0].en if sentences else ", ".join(rules))

    def sentence(self, language: Language) -> str:
        """The first unmet condition in the caller's language, or the bare rule ids."""
        if not self.sentences:
            return ", ".join(self.rules)
        first = self.sentences[0]
        return first.ja if language is Language.JA else first.en
