"""The codec: an EnCodec in MusicGen's geometry, trained here from nothing, saved as transformers' `EncodecModel`.

What is where: `geometry` its shape; `weights` where its weights are; `lapped` and `initialise` what it begins as;
`energies`, `envelope`, `head` and `filling` what `start` adds to that without training the whole; `crops` what it
hears; `spectra` and `losses` what it is to make small; `quantiser` how codebooks are learned; `recipe`, `trainee` and
`trainer` a stage of training; `metrics` and `plots` what came of it. `start`, `train`, `evaluate` and `transplant` are
the commands.
"""
