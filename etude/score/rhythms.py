"""Rhythms of melodies: bars by style, beats in a bar and density, and bars that a phrase may end with."""

from __future__ import annotations

from etude.score.moods import Density

RHYTHMS: dict[str, dict[int, dict[Density, tuple[str, ...]]]] = {
    "plain": {
        4: {
            "sparse": ("x---x---", "x-----x-", "x---x-x-", "x-x-x---"),
            "medium": ("x-x-x---", "x--xx-x-", "x-x-xxx-", "x-xxx---", "x-xxx-x-", "x--xx---"),
            "dense": ("xxxxx-x-", "x-xxxxxx", "xxx-xxx-", "xxxxxxx-", "x-xxx-xx"),
        },
        3: {
            "sparse": ("x-----", "x---x-", "x-x---"),
            "medium": ("x-x-x-", "x---x-", "x--xx-", "x-xxx-"),
            "dense": ("xxxxxx", "x-xxxx", "xxx-xx", "xxxxx-"),
        },
        2: {
            "sparse": ("x---", "x-x-"),
            "medium": ("x-x-", "x-xx", "xxx-"),
            "dense": ("xxxx", "x-xx", "xxx-"),
        },
    },
    "march": {
        4: {
            "sparse": ("x---x---", "x-x-x---"),
            "medium": ("x--xx---x---x---", "x---x--xx---x---", "x--xx--xx-------"),
            "dense": ("x--xx--xx---x---", "x-xxx-x-x--xx---", "x--xx-xxx---x---"),
        },
        2: {
            "sparse": ("x-x-", "x---"),
            "medium": ("x--xx---", "x---x---", "x---x--x"),
            "dense": ("x--xx--x", "x-xxx-x-", "x--xx-x-"),
        },
    },
    "swing": {
        4: {
            "sparse": ("x-x----.", "..x-x---", "x--x----", "..x--x--"),
            "medium": ("x-xx-x--", ".xx-xx--", "x-xxx---", "xx-x.xx-", "..xxxxx-"),
            "dense": ("xxxxxxxx", "x-xxxxxx", ".xxxxxx-", "xxxx-xx-", "xxxxxx--"),
        },
    },
    "riff": {
        4: {
            "sparse": ("x-.xx---", "x--x----", "x-x-....", "..x-x---"),
            "medium": ("x.xx.x--", "xx-x-x..", "x-xxx...", ".xxx-x--"),
            "dense": ("xxxx-xx-", "xx.xxx.x", "x.xxxxx-", "xx-xxxx-"),
        },
    },
    "syncopated": {
        4: {
            "sparse": ("x--x----", "x--x--x-", ".x-x----"),
            "medium": ("x--x--x-", "x-x--xx-", ".x-x-x--", "x-xx-x--"),
            "dense": ("xx-xx-xx", "x-xx-xxx", ".xx-xxx-", "xxx-xx--"),
        },
    },
    "sixteenths": {
        4: {
            "sparse": ("x--x--x-........", "x-----x-x-......", "..x-x-..x-......"),
            "medium": ("x-.x..x-..x-....", "x-x-.x-x-.......", "x.x-..x-x-x-...."),
            "dense": ("x-.xx-x-..x-x-..", "xxx-..x-xxx-....", "x.xx.xx-x.xx.x.."),
        },
    },
    "ostinato": {
        4: {
            "sparse": ("x.....x.....x...", "x...x...x...x..."),
            "medium": ("x..x..x.x..x..x.", "x..x..x...x...x.", "x.x...x.x.x...x."),
            "dense": ("x.xxx.xxx.xxx.xx", "xxx.xxx.xxx.xx..", "x.x.x.x.x.x.x.x."),
        },
    },
    "long": {
        4: {
            "sparse": ("x-------", "x-----x-"),
            "medium": ("x---x---", "x-----x-", "x--x----"),
            "dense": ("x-x-x---", "x---x-x-"),
        },
        3: {"sparse": ("x-----",), "medium": ("x---x-", "x-----"), "dense": ("x-x-x-", "x---x-")},
    },
}

# The longest note comes last, and a breath may follow it.
CADENCES: dict[int, tuple[str, ...]] = {
    4: ("x-x-x---", "x---x---", "xx--x---", "x-xxx--.", "x-----..", "x-x-x--."),
    3: ("x-----", "x-x--.", "xxx---", "x----."),
    2: ("x---", "x--.", "x---"),
}
