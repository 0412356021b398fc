"""Reads descriptions back: which words claim what of a plan. Written apart from what writes them.

Every word must be explained: by a claim, or as glue.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from etude.score.plan import Plan

Claim = Callable[[Plan], bool]

_FAMILY_WORDS = {
    "piano": ("piano", "grand piano"),
    "electric piano": ("electric piano", "rhodes"),
    "music box": ("music box",),
    "organ": ("organ",),
    "acoustic guitar": ("acoustic guitar",),
    "electric guitar": ("electric guitar",),
    "bass": ("bass",),
    "strings": ("strings", "string ensemble", "string"),
    "trumpet": ("trumpet",),
    "saxophone": ("saxophone", "sax"),
    "flute": ("flute",),
    "synth lead": ("synth lead", "lead synth"),
    "synth pad": ("synth pad", "pad"),
    "drums": ("drums", "drum kit", "drum", "percussion"),
}
_INSTRUMENT_WORDS = {
    "electric organ": ("organ",),
    "church organ": ("church organ",),
    "pipe organ": ("church organ",),
    "nylon guitar": ("nylon guitar",),
    "steel-string guitar": ("steel guitar",),
    "jazz guitar": ("jazz guitar",),
    "clean guitar": ("clean guitar",),
    "distorted guitar": ("distorted guitar",),
    "double bass": ("double bass",),
    "upright bass": ("double bass",),
    "electric bass": ("electric bass",),
    "bass guitar": ("electric bass",),
    "synth bass": ("synth bass",),
    "brushed drums": ("brushed drums",),
    "electronic drums": ("electronic drums",),
    "808 drums": ("808 drums",),
    "drum machine": ("electronic drums", "808 drums"),
    "bassy drums": ("electronic drums", "808 drums"),
    "punchy drums": ("electronic drums", "808 drums"),
}
_GENRE_WORDS = {
    "jazz": ("jazz", "swing jazz", "swing"),
    "blues": ("blues",),
    "rock": ("rock",),
    "techno": ("techno",),
    "house": ("house",),
    "lo-fi hip hop": ("lo-fi", "lofi", "lo-fi hip hop", "lo-fi hip-hop"),
    "ambient": ("ambient",),
    "waltz": ("waltz",),
    "bossa nova": ("bossa nova", "bossa"),
    "funk": ("funk",),
    "classical": ("classical",),
    "march": ("march",),
    "80s pop": ("80s pop", "synth pop", "80s synth pop"),
}
_MOOD_WORDS = {
    "calm": ("calm", "soothing", "relaxing", "peaceful", "gentle"),
    "dreamy": ("dreamy", "ethereal", "airy"),
    "romantic": ("romantic", "tender", "sweet"),
    "sad": ("sad", "melancholic", "wistful"),
    "mellow": ("mellow", "smooth", "chill"),
    "dark": ("dark", "mysterious", "haunting"),
    "groovy": ("groovy", "cool"),
    "playful": ("playful", "light", "catchy"),
    "happy": ("happy", "joyful", "bright", "cheerful"),
    "uplifting": ("uplifting", "hopeful"),
    "energetic": ("energetic", "driving", "lively"),
    "solemn": ("solemn", "majestic"),
}
_BEATS = {
    "four-on-the-floor beat": ("four on the floor",),
    "thumping kick drum": ("four on the floor",),
    "steady backbeat": ("backbeat",),
    "steady beat": ("backbeat", "80s"),
    "heavy drums": ("driving rock",),
    "heavy beat": ("driving rock",),
    "shuffle beat": ("shuffle",),
    "shuffle groove": ("shuffle",),
    "swing beat": ("swing",),
    "swinging drums": ("swing",),
    "marching drums": ("march",),
    "marching snare drum": ("march",),
    "bossa beat": ("bossa",),
    "latin beat": ("bossa",),
    "funky beat": ("funk",),
    "funky drums": ("funk",),
    "laid-back beat": ("lo-fi",),
    "hip hop beat": ("lo-fi",),
    "80s drums": ("80s",),
    "pounding kick drum": ("techno",),
    "hypnotic beat": ("techno",),
    "soft drums": ("waltz",),
    "waltz beat": ("waltz",),
}
_LINES = {
    "walking bass": ("walking",),
    "walking bass line": ("walking",),
    "boogie bass line": ("boogie",),
    "rolling bass line": ("boogie", "rolling"),
    "octave bass line": ("octaves",),
    "bouncing bass line": ("octaves",),
    "funky bass line": ("funk", "slap"),
    "syncopated bass line": ("funk", "slap"),
    "offbeat bass line": ("offbeat",),
}
_ARPEGGIOS = ("alberti", "broken", "rising", "slow arpeggio", "fast arpeggio", "fingerpicking")
_EXERCISES = {
    "single notes": "single notes",
    "one note at a time": "single notes",
    "scale": "scale",
    "intervals": "intervals",
    "two notes at a time": "intervals",
    "single chords": "chords",
    "single hits": "hits",
    "one hit at a time": "hits",
}
_NOUNS = "piece tune improvisation jam song track loop beat groove theme dance soundscape texture music"
_GLUE = f"{_NOUNS} a an with for on in and of at the playing instrumental make play create i want please alone key"
_KEY = re.compile(r"(?:in the key of |the key of |in |\ban? )?\b([A-G])(#|b| sharp| flat)?( major| minor)?(?![\w#])")
_PITCH_CLASSES = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}


def _phrases() -> Iterator[tuple[str, Claim]]:
    for family, words in _FAMILY_WORDS.items():
        yield from ((word, lambda plan, family=family: family in plan.families) for word in words)
    yield "synth", lambda plan: bool({"synth lead", "synth pad"} & set(plan.families))
    for word, names in _INSTRUMENT_WORDS.items():
        yield word, lambda plan, names=names: bool({*names} & {*plan.instruments})
    for genre, words in _GENRE_WORDS.items():
        yield from ((word, lambda plan, genre=genre: plan.genre == genre) for word in words)
    yield "pop", lambda plan: plan.genre in ("pop", "80s pop")
    for mood, words in _MOOD_WORDS.items():
        yield from ((word, lambda plan, mood=mood: plan.mood == mood) for word in words)
    for word, styles in {**_BEATS, **_LINES}.items():
        yield word, lambda plan, styles=styles: bool({*styles} & {part.style for part in plan.parts})
    for word, style in _EXERCISES.items():
        yield word, lambda plan, style=style: plan.parts[0].style == style
    yield "chords", lambda plan: any("chords" in (part.role, part.style) for part in plan.parts)
    yield "arpeggios", lambda plan: any(part.style in _ARPEGGIOS for part in plan.parts)
    yield "melody", lambda plan: any(part.role == "melody" for part in plan.parts)
    yield "improvisation", lambda plan: any(part.role == "melody" for part in plan.parts)
    for word in ("repeating riff", "hypnotic riff"):
        yield word, lambda plan: "ostinato" in [part.style for part in plan.parts]
    yield "solo", lambda plan: plan.ensemble == "solo"
    yield "duo", lambda plan: len(plan.instruments) == 2
    yield "trio", lambda plan: len(plan.instruments) == 3
    yield "band", lambda plan: len(plan.instruments) >= 4 and plan.has_drums
    yield "group", lambda plan: len(plan.instruments) >= 4
    yield "ensemble", lambda plan: len(plan.instruments) >= 4
    for word in ("no drums", "without drums"):
        yield word, lambda plan: "drums" not in plan.families
    yield "slow", lambda plan: plan.tempo_bpm <= 80
    yield "fast", lambda plan: plan.tempo_bpm >= 136
    yield "upbeat", lambda plan: plan.tempo_bpm >= 108
    for word in ("mid-tempo", "medium tempo"):
        yield word, lambda plan: 90 <= plan.tempo_bpm <= 120
    for word in ("that fades out", "fading out at the end"):
        yield word, lambda plan: plan.ending == "fade out"
    yield "final chord", lambda plan: plan.ending == "cadence"
    for word in ("that builds up", "slowly building up"):
        yield word, lambda plan: plan.opening == "building"


_CLAIMS = sorted(_phrases(), key=lambda claim: -len(claim[0]))


def false_claims(text: str, plan: Plan) -> list[str]:
    """What a description says that is not so of the plan, and the words that nobody can explain."""
    wrong = []
    # The article, not the note.
    rest = re.sub(r"^A (?!major|minor|flat)", "a ", text.removesuffix("."))

    def take(pattern: str) -> re.Match[str] | None:
        nonlocal rest
        found = re.search(pattern, rest, re.IGNORECASE)
        if found:
            rest = f"{rest[: found.start()]} | {rest[found.end() :]}"
        return found

    while found := take(r"(?:at )?(?:a tempo of )?(\d+) (?:bpm|beats per minute)"):
        if int(found[1]) != plan.tempo_bpm or not plan.has_pulse:
            wrong.append(found[0])
    while found := take(r"(\d+)(?:-second| seconds of)\b"):
        if int(found[1]) != plan.length_s:
            wrong.append(found[0])
    for phrase, is_so in _CLAIMS:
        while take(rf"(?<![\w-]){re.escape(phrase)}(?![\w-])"):
            if not is_so(plan):
                wrong.append(phrase)
    for letter, sign, mode in _KEY.findall(rest):
        tonic = (_PITCH_CLASSES[letter] + {"": 0, "#": 1, " sharp": 1, "b": -1, " flat": -1}[sign]) % 12
        if tonic != plan.key.tonic or (mode or " blues").strip() != plan.key.mode or plan.families == ("drums",):
            wrong.append(f"{letter}{sign}{mode}")
    left = re.sub(_KEY, " ", rest).lower().replace("|", " ").replace(",", " ").split()
    return wrong + [word for word in left if word not in _GLUE.split()]
