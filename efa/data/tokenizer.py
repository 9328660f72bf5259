"""Words to numbers: BERT's word pieces, all of them or only those that the training texts use."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from tokenizers import BertWordPieceTokenizer
from torch import Tensor

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


class Tokenizer:
    """WordPiece over a list of pieces; piece i has number i. A caption is ``[CLS] pieces [SEP]``.

    BERT's pieces have neither capitals nor accents: `spelling` (see `spelling_of`) says how to write a word that had.
    """

    def __init__(self, pieces: Sequence[str], spelling: Mapping[str, str] | None = None):
        missing = [piece for piece in SPECIAL if piece not in pieces]
        if missing:
            raise ValueError(f"the vocabulary lacks {', '.join(missing)}")
        self.pieces, self.spelling = list(pieces), dict(spelling or {})
        self._wordpiece = BertWordPieceTokenizer({piece: i for i, piece in enumerate(self.pieces)}, lowercase=True)
        self.pad, self.unknown, self.begin, self.end, self.mask = (self.pieces.index(piece) for piece in SPECIAL)

    def __len__(self) -> int:
        return len(self.pieces)

    @staticmethod
    def from_file(path: str | Path) -> Tokenizer:
        """One piece a line, as in BERT's vocab.txt."""
        return Tokenizer(Path(path).read_text(encoding="utf-8").splitlines())

    def save(self, path: str | Path) -> None:
        Path(path).write_text("\n".join(self.pieces) + "\n", encoding="utf-8")

    def pruned(self, texts: Sequence[str]) -> Tokenizer:
        """Only the special pieces and those that `texts` use. WordPiece takes the longest piece that fits: that of the
        full list is kept, so these texts are tokenized exactly as before."""
        used = {piece for text in texts for piece in self._wordpiece.encode(text, add_special_tokens=False).tokens}
        return Tokenizer([piece for piece in self.pieces if piece in used or piece in SPECIAL])

    def encode(self, text: str, max_tokens: int) -> list[int]:
        """[CLS] pieces [SEP], at most `max_tokens`; a longer text loses its end but keeps [SEP]."""
        ids = self._wordpiece.encode(text, add_special_tokens=False).ids[: max_tokens - 2]
        return [self.begin, *ids, self.end]

    def batch(self, texts: Sequence[str], max_tokens: int) -> Tensor:
        """Token numbers int64 [B, L], padded; an empty text is all padding, so that it carries no loss."""
        rows = [self.encode(text, max_tokens) if text.strip() else [] for text in texts]
        length = max([1, *map(len, rows)])
        return torch.tensor([row + [self.pad] * (length - len(row)) for row in rows]).long().view(-1, length)

    def decode(self, ids: Sequence[int]) -> str:
        """A readable text: pieces joined, spaces around punctuation removed, sentences capitalised."""
        pieces = [self.pieces[int(i)] for i in ids]
        text = "".join(p[2:] if p.startswith("##") else f" {p}" for p in pieces if p not in SPECIAL)
        text = re.sub(r" ([.,:;!?%)\]])", r"\1", text)
        text = re.sub(r"([(\[]) ", r"\1", text)
        text = re.sub(r"(\w) ([-'’/]) (\w)", r"\1\2\3", text)
        text = re.sub(r"\w+", lambda word: self.spelling.get(word[0], word[0]), text)
        return re.sub(r"(^|[.!?] )([a-z])", lambda m: m[1] + m[2].upper(), text.strip())


def spelling_of(texts: Iterable[str]) -> dict[str, str]:
    """Word as BERT reads it -> its most frequent spelling in `texts`, for those mostly spelled with accents."""
    seen: dict[str, Counter[str]] = {}
    words = re.findall(r"\w+", unicodedata.normalize("NFC", "\n".join(texts)))
    for word, count in Counter(words).items():
        letters = unicodedata.normalize("NFD", word.lower())
        plain = "".join(letter for letter in letters if unicodedata.category(letter) != "Mn")
        seen.setdefault(plain, Counter())[word if plain != word.lower() else plain] += count
    best = {plain: counts.most_common(1)[0][0] for plain, counts in seen.items()}
    return {plain: word for plain, word in best.items() if word != plain}
