"""Words for what is in a plan, each true wherever it is offered."""

from __future__ import annotations

from dataclasses import dataclass

from etude.score.comping import ARPEGGIOS
from etude.score.instruments import SYNTHS
from etude.score.melody import OSTINATO
from etude.score.moods import MOODS
from etude.score.plan import Part, Plan

SLOW_BPM, FAST_BPM = 80, 136
MEDIUM_BPM = range(96, 117)
UPBEAT_BPM = 108
UPBEAT_MOODS = ("happy", "energetic", "uplifting", "playful", "groovy")

# What these are called before another noun.
ATTRIBUTES = {"strings": "string", "drums": "drum"}

# Genres whose name is what a piece of it is.
NAMED_LIKE_PIECES = ("waltz", "march", "bossa nova", "blues")

_DRUM_FEATURES = {
    "four on the floor": ("a four-on-the-floor beat", "a thumping kick drum"),
    "backbeat": ("a steady backbeat", "a steady beat"),
    "driving rock": ("heavy drums", "a heavy beat"),
    "shuffle": ("a shuffle beat", "a shuffle groove"),
    "swing": ("a swing beat", "swinging drums"),
    "march": ("marching drums", "a marching snare drum"),
    "bossa": ("a bossa beat", "a latin beat"),
    "funk": ("a funky beat", "funky drums"),
    "lo-fi": ("a laid-back beat", "a hip hop beat"),
    "80s": ("a steady beat", "80s drums"),
    "techno": ("a pounding kick drum", "a hypnotic beat"),
    "waltz": ("soft drums", "a waltz beat"),
}
_BASS_FEATURES = {
    "walking": ("a walking bass", "a walking bass line"),
    "boogie": ("a boogie bass line", "a rolling bass line"),
    "octaves": ("an octave bass line", "a bouncing bass line"),
    "funk": ("a funky bass line", "a syncopated bass line"),
    "slap": ("a funky bass line", "a syncopated bass line"),
    "rolling": ("a rolling bass line",),
    "offbeat": ("an offbeat bass line",),
}
_BASSY_KITS = ("electronic drums", "808 drums")
_BASSY_GENRES = ("techno", "house", "80s pop")


@dataclass(frozen=True)
class Feature:
    """What may follow "with": something that a listener would name. part: whose it is."""

    text: str
    part: Part
    names_instrument: bool


def tempo_words(plan: Plan) -> tuple[str, ...]:
    """None where no beat is marked."""
    if not plan.has_pulse:
        return ()
    words: tuple[str, ...] = ()
    if plan.tempo_bpm <= SLOW_BPM:
        words += ("slow",)
    if plan.tempo_bpm >= FAST_BPM:
        words += ("fast",)
    if plan.tempo_bpm in MEDIUM_BPM:
        words += ("mid-tempo", "medium tempo")
    if plan.tempo_bpm >= UPBEAT_BPM and plan.mood in UPBEAT_MOODS:
        words += ("upbeat",)
    return words


def part_words(part: Part) -> tuple[str, ...]:
    """What its instrument may be called, the plainest first."""
    return (*part.player.words, "synth") if part.player.family in SYNTHS else part.player.words


def nouns(plan: Plan) -> tuple[str, ...]:
    """What a piece of the plan's genre may be called, given who plays."""
    if plan.style is None:
        raise ValueError("an exercise is no piece of music")
    unfit = set()
    if not plan.has_drums:
        unfit |= {"beat"}
    if not plan.has_drums and plan.part("bass") is None:
        unfit |= {"groove"}
    if plan.part("melody") is None:
        unfit |= {"song", "tune", "theme", "improvisation"}
    if len(plan.instruments) < 2:
        unfit |= {"jam"}
    return tuple(noun for noun in plan.style.nouns if noun not in unfit) or ("piece",)


def key_words(plan: Plan) -> tuple[str, ...]:
    """The key's name with signs and with words; that of a blues is neither major nor minor."""
    name = plan.key.tonic_name
    spelt = name[0] + {"": "", "#": " sharp", "b": " flat"}[name[1:]]
    mode = "" if plan.key.mode == "blues" else f" {plan.key.mode}"
    return tuple(dict.fromkeys((name + mode, spelt + mode)))


def features(plan: Plan) -> tuple[Feature, ...]:
    """All that there is to name of single parts."""
    found: list[Feature] = []
    for part in plan.parts:
        plain = ATTRIBUTES.get(part.player.family, part.player.words[0])
        if part.role == "melody" and part.style == OSTINATO:
            found += [Feature(text, part, False) for text in ("a repeating riff", "a hypnotic riff")]
        elif part.role == "melody":
            found += [Feature(f"{article(word)} {word} melody", part, False) for word in MOODS[plan.mood].words]
            found += [Feature(f"{article(plain)} {plain} melody", part, True)] * 2
        elif part.role == "chords":
            found.append(Feature(f"{plain} {'arpeggios' if part.style in ARPEGGIOS else 'chords'}", part, True))
        elif part.role == "bass":
            found += [Feature(text, part, True) for text in _BASS_FEATURES.get(part.style, ())]
        elif part.role == "drums":
            found += [Feature(text, part, "drum" in text) for text in _DRUM_FEATURES[part.style]]
            if part.instrument in _BASSY_KITS and plan.genre in _BASSY_GENRES:
                found += [Feature(text, part, True) for text in ("bassy drums", "punchy drums")]
    return tuple(found)


def article(phrase: str) -> str:
    """ "a" or "an", as the phrase is read aloud: 8, 11, 18 and the letters A, E and F begin with a vowel."""
    first = phrase.split(maxsplit=1)[0]
    if len(first) <= 2 and first[0].isupper():
        return "an" if first[0] in "AEF" else "a"
    return "an" if first[0] in "aeiou8" or first.startswith(("11-", "18-")) else "a"
