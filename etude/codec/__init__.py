"""The codec: an EnCodec in MusicGen's geometry, trained here from nothing, saved as transformers' `EncodecModel`.

What is where: `geometry` its shape; `lapped` and `initialise` what it begins as; `crops` what it hears; `spectra` and
`losses` what it is to make small; `quantiser` how codebooks are learned; `recipe`, `trainee` and `trainer` a stage of
training; `metrics` and `plots` what came of it. `train`, `evaluate` and `transplant` are the commands.
"""
