"""Words for signs.

They are in capitals, on the sign and in answers, so that a tokenizer without merges of capitals spells them, and a word
never seen is made of known parts. Most differ from others in one letter, so that they can only be told by reading.
"""

from __future__ import annotations

import functools

from .combinations import SPLITS, Split

_TRAIN = """
BAKE LAKE RAKE WAKE CAVE SAVE WAVE RACE FACE LACE CARE DARE BARE HARE GATE DATE LATE FATE GAME NAME FAME SAME
BALL FALL HALL TALL BELL FELL SELL WELL BILL FILL HILL MILL PILL BOOK COOK LOOK HOOK BOOT FOOT ROOT MOON NOON
SOON COAT GOAT BOAT CORN HORN TORN BAND LAND SAND HAND BEND SEND MEND BARN DARN YARN DOCK LOCK ROCK SOCK DUCK
LUCK FARM HARM WARM FEED SEED WEED NEED FISH DISH WISH HOLE POLE MOLE ROLE MINE PINE LINE VINE WINE RICE DICE
NICE ROAD TOAD LOAD RING KING WING SING SILK MILK PARK BARK DARK MARK POST HOST MOST COST REST BEST NEST TEST
WEST CAB CAN CAP BAT HAT MAT RAT BED RED WED PEN TEN MEN HEN BIG DIG PIG WIG FIN PIN TIN WIN COT DOT HOT POT BUS
BUN FUN SUN RUN CUP PUP DAY HAY PAY SAY BAR CAR JAR FAR TOY BOY JOY FOX BOX ICE SKY TEA SEA BREAD BREAK CREAM
DREAM LIGHT NIGHT RIGHT SIGHT MIGHT TRAIN BRAIN GRAIN DRAIN CLOCK BLOCK FLOCK STOCK PLANT SLANT HOUSE MOUSE
HORSE BEACH PEACH TEACH REACH STONE STORE SHORE SHARE SPARE SPACE PLACE PLATE SKATE STATE BROWN CROWN DRINK
BRINK DRIVE DRIED MONEY HONEY STEP STEM DROP CROP TRAP WRAP SNAP SNOW SLOW FLOW BLOW GLOW GROW DRESS PRESS CROSS
BLESS BOWL FOWL OWL OIL OAK OAR EAR EAT ACE ACT ANT ART ARM AIM AIR AND END ADD ODD OLD GOLD COLD HOLD FOLD TOLD
RAIN PAIN MAIN VAN FAN MAN RAN TIE PIE DIE LIE KEY KID LID RID ROD ROW LOW MOW VEST VASE EASE EAST OPEN OVEN
EVEN EVER OVER RIVER LIVER LEVER FEVER NEVER UNIT UNTIL LEMON MELON COIN JOIN JUMP BUMP PUMP DESK DUSK
"""
_HELDOUT = """
CAKE TAKE MAKE PAGE CAGE TAPE CAPE CASE BASE HOOD WOOD FOOD BEAN BEAR DEAR PEAR YEAR TREE FREE LAMP CAMP DAMP
ROSE NOSE HOSE HOME DOME BIKE LIKE HIKE KITE BITE SAIL MAIL NAIL TAIL SHIP SHOP STOP CHIP CHOP BIRD SALT HALT
CAT MAP TAP LAP NET WET PET LEG LOG DOG FOG JAM HAM MUG RUG BUG BRUSH CRUSH GRASS GLASS CLASS TRACK TRICK BRICK
TABLE CABLE
"""

WORDS: dict[Split, tuple[str, ...]] = {
    split: tuple((_HELDOUT if split == "heldout" else _TRAIN).split()) for split in SPLITS
}
"""Of three to five letters; no word of training is in the held-out world."""

LETTERS = "ABCDEFGHIJKLMNOPRSTUVWXYZ"
"""Without Q, which is too like O in a small picture."""


def is_heldout_group(letters: str) -> bool:
    """Whether a group of letters is kept for the held-out world: every third, by the places of its letters."""
    return sum(map(LETTERS.index, letters)) % 3 == 0


def may_be_read(letters: str) -> bool:
    """Whether training may see a sign with these letters."""
    return len(letters) < 3 or not (is_heldout_group(letters) or letters in WORDS["heldout"])


@functools.cache
def near_words(split: Split) -> tuple[tuple[str, str], ...]:
    """All pairs of the split's words that differ in one letter."""
    words = WORDS[split]
    return tuple(
        (one, other)
        for i, one in enumerate(words)
        for other in words[i + 1 :]
        if len(one) == len(other) and sum(a != b for a, b in zip(one, other, strict=True)) == 1
    )
