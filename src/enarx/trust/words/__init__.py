"""Everything that the trust stack says, in each language: one table a language, with the same keys and gaps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from enarx.trust.clean import clean
from enarx.trust.model import Text
from enarx.trust.words import en, ja

LANGUAGES: Final[Mapping[str, Mapping[str, str]]] = {"en": en.WORDS, "ja": ja.WORDS}


class Words:
    """The words of one language. KeyError for another one."""

    __slots__ = ("_table", "language")

    def __init__(self, language: str) -> None:
        self._table = LANGUAGES[language]
        self.language = language

    def __call__(self, key: str | Text, **values: object) -> str:
        """The sentence of a key; KeyError for one that is none, or whose gaps are not filled."""
        if isinstance(key, Text):
            return self._table[key.key].format_map(dict(key.values))
        text = self._table[key]
        return text.format_map(values) if values else text

    def label(self, name: str) -> str:
        """The word for the name of a fact; a name that is no key, such as that of a field, stands for itself."""
        return self._table.get(name) or clean(name)
