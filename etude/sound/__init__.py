"""Sound for scores: FluidSynth and a General MIDI sound font make it, `render(piece)` returns it.

Needed to make training data, and for nothing else.
"""
