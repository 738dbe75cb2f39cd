"""Sentences about creatures."""

import random

from .paint import COLOR_NAMES, PATTERNS
from .plans import PLANS

OPENINGS = ("a", "a", "a", "a photo of a", "a render of a", "a toy of a", "the")
GENERIC = ("", "an object", "a creature", "a photo of an animal", "a toy", "high quality, sharp, clean", "a 3d model on a white background",
           "an animated object", "a photo of an object on a white background")


def prompt_of(attributes, i, generator):
    """A sentence about creature i of a batch; generator: random.Random. Some details are left out at random."""
    plan, color, second, pattern = (int(attributes[k][i]) for k in ("plan", "color", "second", "pattern"))
    _, nouns, verbs, _ = PLANS[plan]
    words = [generator.choice(OPENINGS)]
    if generator.random() < 0.92:
        words.append(COLOR_NAMES[color])
        if generator.random() < 0.35:
            words += ["and", COLOR_NAMES[second]]
    if generator.random() < 0.6 and PATTERNS[pattern] != "plain":
        words.append(PATTERNS[pattern])
    words.append(generator.choice(nouns))
    if generator.random() < 0.4:
        words.append(generator.choice(verbs))
    if generator.random() < 0.2:
        words += ["on", "a", "white", "background"]
    return " ".join(words)


def all_words():
    """Every word of the sentences, for the tokenizer."""
    text = " ".join([*OPENINGS, *GENERIC, *COLOR_NAMES, *PATTERNS, "and on a white background cute small big animal animals creature of with"])
    for name, nouns, verbs, _ in PLANS:
        text += " " + " ".join([name, *nouns, *verbs])
    return text
