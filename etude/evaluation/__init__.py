"""Whether a checkpoint plays what it is asked for: figures from its sound, each beside its chance and its ceiling.

What is where: `prompts` what is asked, and what of it can be heard; `players` who plays it; `tempo`, `pitch` and
`timbre` what is heard in a sound; `impression` all of it; `classifier` whose sound it is; `frechet` how far sounds are
from music; `following`, `liveliness` and `likeness` the figures; `report` what is written. `etude.evaluate` is the
command.
"""
