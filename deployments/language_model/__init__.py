"""The language model: text states in, frames of codes out. Start at `engine/engine.py`.

The engine, in `engine/`:                                 What computes its steps:
engine         one step after another for all requests    decoder         what the engine needs of a decoder
loop           its thread, and the async interface        loading         which decoder a setting means; a warm-up
request        one request's progress; delay pattern      model           plain torch, the reference
scheduler      which requests run in a step               weights         checkpoint → tensors, layer by layer
step           the rows of a step, and who draws          cpu/            8 bits, compiled for a CPU
sampler        logits → tokens (pure functions)           gpu/            a step as one CUDA graph
frame_stream   one request's frames, to its reader        offload         weights where there is room for them
                                                          offload_folder  those that are on the disk

deployment     the Ray Serve deployment                   placement       where a model runs; how many threads
errors         why it refuses, or gives up                config          the decoder's shape
"""
