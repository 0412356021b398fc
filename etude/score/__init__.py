"""Music by rule: `compose(seed)` is a piece, `describe(plan, seed)` says what it is in words.

It knows nothing of sound: `etude.sound` renders what this writes.
"""
