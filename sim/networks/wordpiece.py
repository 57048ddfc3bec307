"""Text to the tokens of uncased BERT: words and punctuation, then the longest pieces in the vocabulary."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

__all__ = ["WordPiece"]

#: A longer word is unknown as a whole.
_LONGEST_WORD = 100

#: Blocks whose characters are words of their own: CJK ideographs.
_IDEOGRAPHS = (
    *((0x4E00, 0x9FFF), (0x3400, 0x4DBF), (0x20000, 0x2A6DF), (0x2A700, 0x2B73F), (0x2B740, 0x2B81F)),
    *((0x2B820, 0x2CEAF), (0xF900, 0xFAFF), (0x2F800, 0x2FA1F)),
)


class WordPiece:
    """Tokens of a text by a vocabulary, in which a piece that continues a word begins with ``##``."""

    def __init__(self, vocabulary: Sequence[str]):
        self.index = {piece: i for i, piece in enumerate(vocabulary)}

    def tokens(self, text: str, *, longest: int) -> list[int]:
        """[CLS], the text's pieces, [SEP]: at most ``longest`` tokens."""
        pieces = [piece for word in _words(text) for piece in self._pieces(word)]
        return [self.index["[CLS]"], *pieces[: longest - 2], self.index["[SEP]"]]

    def _pieces(self, word: str) -> list[int]:
        pieces: list[int] = []
        start = 0
        while start < len(word) <= _LONGEST_WORD:
            ends = range(len(word), start, -1)
            marks = "##" if start else ""
            end = next((end for end in ends if marks + word[start:end] in self.index), None)
            if end is None:
                break
            pieces.append(self.index[marks + word[start:end]])
            start = end
        return pieces if start == len(word) else [self.index["[UNK]"]]


def _words(text: str) -> list[str]:
    """Lower-case words without accents; each mark of punctuation and each ideograph is a word."""
    kept = (c for c in text if c in "\t\n\r" or not _is_control(c))
    separated = "".join(f" {c} " if _is_ideograph(c) else c for c in kept)
    plain = unicodedata.normalize("NFD", separated.lower())
    plain = (c for c in plain if unicodedata.category(c) != "Mn")
    return "".join(f" {c} " if _is_punctuation(c) else c for c in plain).split()


def _is_control(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cf", "Co") or character == "\ufffd"


def _is_punctuation(character: str) -> bool:
    """Every printable ASCII symbol that is no letter, digit or space, and what Unicode calls punctuation."""
    is_ascii_symbol = "!" <= character <= "~" and not character.isalnum()
    return is_ascii_symbol or unicodedata.category(character).startswith("P")


def _is_ideograph(character: str) -> bool:
    return any(low <= ord(character) <= high for low, high in _IDEOGRAPHS)
