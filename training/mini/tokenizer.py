"""A small byte-pair encoding in the form of CLIP's (Sennrich et al. 2016): vocab.json, merges.txt."""

import json
import re
from collections import Counter
from pathlib import Path

from .world.prompts import all_words

START, END = "<|startoftext|>", "<|endoftext|>"
END_OF_WORD = "</w>"
LENGTH = 77
_PIECES = re.compile(r"'s|'t|'re|'ve|'m|'ll|'d|[^\W\d_]+|\d|[^\s\w]+|_+")


def byte_symbols():
    """A printable character for every byte, in the order of CLIP's vocabulary: printable bytes as they are, the others above 255."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [b for b in range(256) if b not in printable]
    return {b: chr(b) for b in printable} | {b: chr(256 + i) for i, b in enumerate(others)}


def learn_merges(text):
    """Merges until every word of the text is one token: the most frequent pair first, ties in alphabetical order."""
    symbols = byte_symbols()
    words = [[symbols[b] for b in w.encode()] for w in sorted(set(_PIECES.findall(text.lower())))]
    for word in words:
        word[-1] += END_OF_WORD
    merges = []
    while True:
        pairs = Counter((a, b) for word in words for a, b in zip(word, word[1:]))
        if not pairs:
            return merges
        best = min(pairs, key=lambda p: (-pairs[p], p))
        merges.append(best)
        words = [_merge(word, best) for word in words]


def _merge(word, pair):
    out, i = [], 0
    while i < len(word):
        if i + 1 < len(word) and (word[i], word[i + 1]) == pair:
            out.append(word[i] + word[i + 1])
            i += 2
        else:
            out.append(word[i])
            i += 1
    return out


class Tokenizer:
    def __init__(self):
        self.symbols = byte_symbols()
        self.merges = learn_merges(all_words())
        base = list(self.symbols.values())
        tokens = base + [s + END_OF_WORD for s in base] + [a + b for a, b in self.merges] + [START, END]
        self.ids = {token: i for i, token in enumerate(tokens)}
        self.rank = {pair: i for i, pair in enumerate(self.merges)}
        self.start, self.end = self.ids[START], self.ids[END]
        self._known = {}

    def __len__(self):
        return len(self.ids)

    def words(self, text):
        return [i for piece in _PIECES.findall(text.lower()) for i in self._word(piece)]

    def _word(self, piece):
        if piece not in self._known:
            word = [self.symbols[b] for b in piece.encode()]
            word[-1] += END_OF_WORD
            while len(word) > 1:
                pair = min(zip(word, word[1:]), key=lambda p: self.rank.get(p, len(self.rank)))
                if pair not in self.rank:
                    break
                word = _merge(word, pair)
            self._known[piece] = [self.ids[token] for token in word]
        return self._known[piece]

    def encode(self, text, pad, length=LENGTH):
        """Start, words, end, then `pad` up to `length` ids."""
        ids = [self.start, *self.words(text)[: length - 2], self.end]
        return ids + [pad] * (length - len(ids))

    def write(self, folder):
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "vocab.json").write_text(json.dumps(self.ids, ensure_ascii=False))
        (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{a} {b}\n" for a, b in self.merges))
