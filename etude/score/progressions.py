"""Chord progressions by genre and mode: a chord for each bar, or two in one with | between them.

All begin on the tonic, or lead straight to it, so that a few bars make the key plain.
"""

from __future__ import annotations

from etude.score.key import Mode

_TWELVE_BARS = "I7 IV7 I7 I7 IV7 IV7 I7 I7 V7 IV7 I7 V7"
_MINOR_TWELVE_BARS = "i7 i7 i7 i7 iv7 iv7 i7 i7 bVImaj7 V7 i7 V7"

PROGRESSIONS: dict[str, dict[Mode, tuple[str, ...]]] = {
    "jazz": {
        "major": (
            "Imaj7 vi7 ii7 V7",
            "ii7 V7 Imaj7 Imaj7",
            "Imaj7 IVmaj7 iii7|vi7 ii7|V7",
            "Imaj7|vi7 ii7|V7 iii7|vi7 ii7|V7",
        ),
        "minor": ("i7 iv7 bVII7 bIIImaj7", "iihalf7 V7 i7 i7", "i7 bVImaj7 iihalf7 V7", "i6 i6 iihalf7 V7"),
        "blues": (_TWELVE_BARS, "I7 IV7 I7 V7"),
    },
    "blues": {
        "blues": (_TWELVE_BARS, "I7 I7 IV7 I7", "I7 IV7 I7 V7", "I7 IV7 I7|IV7 I7|V7"),
        "minor": (_MINOR_TWELVE_BARS, "i7 i7 iv7 i7", "i7 iv7 i7 V7"),
    },
    "rock": {
        "major": ("I IV V IV", "I V vi IV", "I I IV V", "I IV I V"),
        "minor": ("i bVI bIII bVII", "i bVII bVI bVII", "i i bVI bVII", "i iv bVI bVII"),
    },
    "techno": {"minor": ("i i i i", "i i bVI bVII", "i i iv iv", "i i i bVII")},
    "house": {
        "minor": ("i7 bVImaj7 bIIImaj7 bVII", "i7 iv7 i7 iv7", "i7 i7 bVImaj7 bVII"),
        "major": ("Imaj7 vi7 IVmaj7 V", "Imaj7 IVmaj7 Imaj7 IVmaj7"),
    },
    "lo-fi hip hop": {
        "major": ("Imaj7 vi7 ii7 V7", "Imaj7 iii7 vi7 IVmaj7", "Imaj9 IVmaj7 Imaj9 IVmaj7", "ii9 V7 Imaj9 vi7"),
        "minor": ("i7 iv7 bVII7 bIIImaj7", "i9 bVImaj7 iv7 v7", "i7 bVImaj7 i7 bVImaj7"),
    },
    "ambient": {
        "major": ("Iadd9 IVmaj7 Iadd9 IVmaj7", "Imaj7 vi7 IVmaj7 Imaj7", "Iadd9 Iadd9 vi7 vi7"),
        "minor": ("i7 bVImaj7 i7 bVImaj7", "i7 i7 iv7 iv7", "i7 bVImaj7 bIIImaj7 bVII"),
    },
    "waltz": {
        "major": ("I V7 V7 I", "I vi ii V7", "I IV V7 I", "I I V7 V7"),
        "minor": ("i iv V7 i", "i V7 V7 i", "i bVI iv V7"),
    },
    "bossa nova": {
        "major": ("Imaj7 vi7 ii7 V7", "Imaj7 Imaj7 ii7 V7", "Imaj7 II7 ii7 V7"),
        "minor": ("i7 iv7 bVII7 bIIImaj7", "i7 i7 iihalf7 V7", "i6 i6 iv7 iv7"),
    },
    "funk": {
        "blues": ("I7 I7 I7 IV7", "I7 I7 IV7 I7", "I9 I9 IV9 I9"),
        "minor": ("i7 i7 iv7 i7", "i7 i7 i7 bVII7", "i7 bVII7 i7 bVII7"),
    },
    "classical": {
        "major": ("I IV V7 I", "I vi IV V", "I V vi iii IV I IV V", "I ii V7 I", "I V7 I|IV V7|I"),
        "minor": ("i iv V i", "i iv bVII bIII bVI iv V i", "i bVI iv V", "i V i|iv V|i"),
    },
    "march": {
        "major": ("I I V7 I", "I IV V7 I", "I IV I V7", "I I IV V7"),
        "minor": ("i iv V7 i", "i i V7 i", "i bVI bVII i"),
    },
    "pop": {
        "major": ("I V vi IV", "I vi IV V", "I IV vi V", "I I IV V"),
        "minor": ("i bVI bIII bVII", "i iv bVI bVII", "i bVII bVI bVII"),
    },
}

PROGRESSIONS["80s pop"] = PROGRESSIONS["pop"]
