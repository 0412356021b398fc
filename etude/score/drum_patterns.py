"""Drum patterns by style and beats in a bar: a row for each drum, X loud, x plain, o a ghost note.

Several patterns of a style take turns, bar by bar. Where a style swings, its eighths or sixteenths are written straight
and the performance bends them.
"""

from __future__ import annotations

# General MIDI's numbers.
DRUMS = {
    "kick": 36,
    "rim": 37,
    "snare": 38,
    "clap": 39,
    "hat": 42,
    "low tom": 45,
    "open hat": 46,
    "mid tom": 47,
    "crash": 49,
    "high tom": 50,
    "ride": 51,
    "pedal hat": 44,
    "tambourine": 54,
    "shaker": 70,
}

CYMBALS = tuple(DRUMS[drum] for drum in ("hat", "open hat", "ride", "crash", "shaker", "tambourine"))

Bar = dict[str, str]

DRUM_PATTERNS: dict[str, dict[int, tuple[Bar, ...]]] = {
    "backbeat": {
        4: (
            {"kick": "X.....x.x.......", "snare": "....X.......X...", "hat": "x.x.x.x.x.x.x.x."},
            {"kick": "X.......x.x.....", "snare": "....X.......X...", "hat": "x.x.x.x.x.x.x.x."},
        ),
    },
    "driving rock": {
        4: (
            {"kick": "X.x...x.x.x.....", "snare": "....X.......X...", "open hat": "x...x...x...x..."},
            {"kick": "X.....x.x.x...x.", "snare": "....X.......X...", "open hat": "x...x...x...x..."},
        ),
    },
    "four on the floor": {
        4: (
            {"kick": "X...X...X...X...", "clap": "....X.......X...", "open hat": "..x...x...x...x."},
            {
                "kick": "X...X...X...X...",
                "clap": "....X.......X...",
                "open hat": "..x...x...x...x.",
                "hat": "xo.oxo.oxo.oxo.o",
            },
        ),
    },
    "techno": {
        4: (
            {"kick": "X...X...X...X...", "hat": "..x...x...x...x.", "rim": "......x.....x..."},
            {"kick": "X...X...X...X...", "hat": "o.xoo.xoo.xoo.xo", "clap": "............x..."},
        ),
    },
    "80s": {
        4: (
            {"kick": "X.......X.x.....", "snare": "....X.......X...", "hat": "x.x.x.x.x.x.x.x."},
            {"kick": "X.....x.X.......", "snare": "....X.......X...", "hat": "xxx.xxx.xxx.xxx."},
        ),
    },
    "swing": {
        4: (
            {"ride": "X...X.x.X...X.x.", "pedal hat": "....x.......x...", "kick": "o...o...o...o..."},
            {
                "ride": "X...X.x.X...X.x.",
                "pedal hat": "....x.......x...",
                "kick": "o...o...o...o...",
                "snare": "......o.......o.",
            },
        ),
        3: ({"ride": "X...x.x.x...", "pedal hat": "....x...x...", "kick": "o..........."},),
    },
    "shuffle": {
        4: (
            {"kick": "X.......X.....x.", "snare": "....X.......X...", "hat": "X.x.X.x.X.x.X.x."},
            {"kick": "X.....x.X.......", "snare": "....X.o.....X.o.", "hat": "X.x.X.x.X.x.X.x."},
        ),
    },
    "bossa": {
        4: (
            {"hat": "x.x.x.x.x.x.x.x.", "kick": "X.....x.X.....x.", "rim": "x.....x.....x..."},
            {"hat": "x.x.x.x.x.x.x.x.", "kick": "X.....x.X.....x.", "rim": "....x.....x....."},
        ),
    },
    "funk": {
        4: (
            {"kick": "X.x.......x..x..", "snare": "....X..o.o..X..o", "hat": "x.x.x.x.x.x.x.x."},
            {"kick": "X..x..x...x.....", "snare": "....X..o.o..X...", "hat": "xxxxxxxxxxxxxxxx"},
        ),
    },
    "lo-fi": {
        4: (
            {"kick": "X.....x...x.....", "snare": "....X.......X...", "hat": "x.x.x.x.x.x.x.x."},
            {"kick": "X......xx.......", "snare": "....X.......X..o", "hat": "x.x.x.x.x.x.xox."},
        ),
    },
    "waltz": {
        3: (
            {"kick": "X...........", "snare": "....x...x...", "hat": "....x...x..."},
            {"kick": "X...........", "snare": "....x...x.o.", "hat": "....x...x..."},
        ),
    },
    "march": {
        4: (
            {"kick": "X...x...X...x...", "snare": "X..oX..oX.ooX.oo"},
            {"kick": "X...x...X...x...", "snare": "X.ooX.ooXoooX..."},
        ),
        2: (
            {"kick": "X...x...", "snare": "X.ooX.oo"},
            {"kick": "X...x...", "snare": "X..oXooo"},
        ),
    },
}

# How often the ghost notes of a style are played, and what rides along, are a matter of density. Fills are written
# for the last beats of a bar, in sixteenths, and begin where their rows do.
FILLS: dict[str, tuple[Bar, ...]] = {
    "toms": (
        {"snare": "xx......", "high tom": "..xx....", "mid tom": "....xx..", "low tom": "......xx"},
        {"snare": "X.x.....", "high tom": "....x.x.", "low tom": "......xX"},
        {"snare": "xx..", "low tom": "..xX"},
    ),
    "snare": ({"snare": "oxoxxxxX"}, {"snare": "x.xx"}, {"snare": "ox.xX.xx"}),
    "brushes": ({"snare": "o.x."}, {"snare": "o.xoo.x.", "kick": "......x."}),
    "build": ({"snare": "x.x.xxxx"}, {"clap": "x.x.xxxX"}),
}

FILL_OF_STYLE = {
    "backbeat": "toms",
    "driving rock": "toms",
    "four on the floor": "build",
    "techno": "build",
    "80s": "toms",
    "swing": "brushes",
    "shuffle": "toms",
    "bossa": "brushes",
    "funk": "snare",
    "lo-fi": "snare",
    "waltz": "brushes",
    "march": "snare",
}
