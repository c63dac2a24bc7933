"""Reading: a sign with a word or a few letters, always in capitals.

Words teach little about reading, since a few hundred of them can be known by their looks; letters in random order can
only be read.
"""

from __future__ import annotations

from ..chance import Chance
from ..combinations import Split
from ..draft import Draft, Family, posed, text_draft
from ..paint.signs import STYLES
from ..scenes import Sign
from ..wording import Voice
from ..words import LETTERS, WORDS, is_heldout_group, near_words

_READ_PROMPTS = (
    "what does the sign say?",
    "read the sign.",
    "which word is on the sign?",
    "what is written there?",
    "what is the text in the picture?",
)
_READ_ANSWERS = (
    "the sign says {word}.",
    "it says {word}.",
    "{word}.",
    "the text is {word}.",
    "{word} is written there.",
    "i read {word}.",
)
_LETTER_PROMPTS = (
    "what is the {place} letter on the sign?",
    "which letter comes {place} on the sign?",
    "name the {place} letter of the text.",
)
_LETTER_ANSWERS = ("{letter}.", "it is {letter}.", "the {place} letter is {letter}.", "{letter} is the {place} letter.")


def make(chance: Chance, split: Split) -> Draft:
    """Read the sign, or one letter of it."""
    return _letter(chance, split) if chance.coin(0.2) else _read(chance, split)


def _sign(chance: Chance, word: str) -> Sign:
    return Sign(chance.below(STYLES), word, chance.whole(-2, 2))


def _candidates(chance: Chance, split: Split) -> list[str]:
    """Four words or letter groups: two pairs that differ in one letter, or one that is changed at three places."""
    if chance.coin(0.35):
        return _letter_groups(chance, split)
    while True:
        words = [*chance.choice(near_words(split)), *chance.choice(near_words(split))]
        if len(set(words)) == 4:
            return chance.shuffled(words)


def _letter_groups(chance: Chance, split: Split) -> list[str]:
    words = WORDS["train"] + WORDS["heldout"]
    length = chance.whole(3, 5)
    groups: list[str] = []
    while len(groups) < 4:
        if groups:
            at = chance.below(length)
            letters = groups[0][:at] + chance.choice(LETTERS) + groups[0][at + 1 :]
        else:
            letters = "".join(chance.choice(LETTERS) for _ in range(length))
        if letters not in groups and letters not in words and is_heldout_group(letters) == (split == "heldout"):
            groups.append(letters)
    return chance.shuffled(groups)


def _read(chance: Chance, split: Split) -> Draft:
    def say(word: str, voice: Voice) -> str:
        return voice.say(_READ_ANSWERS, word=word)

    word, right, wrong = posed(chance, _candidates(chance, split), say, lambda *_: "word")
    return text_draft((_sign(chance, word), chance.choice(_READ_PROMPTS)), right, wrong, word)


def _letter(chance: Chance, split: Split) -> Draft:
    place, at = chance.choice((("first", 0), ("last", -1)))
    words: dict[str, str] = {}
    while len(words) < 4:
        word = chance.choice(_candidates(chance, split))
        words.setdefault(word[at], word)

    def say(letter: str, voice: Voice) -> str:
        return voice.say(_LETTER_ANSWERS, letter=letter, place=place)

    letter, right, wrong = posed(chance, tuple(words), say, lambda *_: "word")
    prompt = chance.choice(_LETTER_PROMPTS).format(place=place)
    return text_draft((_sign(chance, words[letter]), prompt), right, wrong, letter)


FAMILY = Family("signs", "visual question answering", make)
