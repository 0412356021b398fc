"""The language model: a MusicGen decoder and its text encoder, trained on codes and descriptions.

What is where: `new` a model that knows nothing yet; `encoder` sound into codes; `code_shards` codes in files;
`audio_folder` other people's sound; `encoding` a folder of sound into one of codes; `batches` what a training step
sees; `recipe`, `trainee`, `average` and `trainer` the training; `likelihood` how well held-out codes are foreseen.
`etude.new_checkpoint`, `etude.encode_codes` and `etude.train_lm` are the commands.
"""
