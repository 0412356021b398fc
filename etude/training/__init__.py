"""What every training here has in common: a folder it can be resumed from after a kill, a pace, and the loop itself."""
