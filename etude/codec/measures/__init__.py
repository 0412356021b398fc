"""What is wrong with reconstructions, in figures: `lines` nobody plays, `levels` that are off, `faults` together."""
