"""Training a codec as a whole: encoder, codebooks and decoder, by spectra first and a discriminator later.

What is where: `recipe` what a run is told; `spectral_loss` what reconstructions are to come near; `balancer` how much
each loss counts; `rests` silence in crops; `averaging` the averaged weights that are exported; `work` a step of all of
this. `python -m etude.codec.training` is the command, and `export` writes in 16 bits what came of it.
"""
