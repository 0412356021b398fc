"""The language model: text states in, frames of codes out. Start at `engine.py`.

scheduler    who runs in this step (plain Python)      decoder     what the engine needs of a decoder
generation   one request's progress (plain Python)     model       the decoder in plain torch, the reference
delay        the codebooks' delay pattern              cpu/        the decoder in 8 bits, compiled for a CPU
sampler      logits → tokens (pure functions)          kv_cache    keys and values of the slots
noise        the counter-based noise of a draw         row_counts  which batch sizes agree bit for bit
config       the decoder's shape                       linear      matrix products by numeric type
weights      checkpoint → tensors                      rows        what a step computes
engine_loop  the engine's thread and its async skin    warm_up     a run before the first request
                                                       loading     which decoder a setting means
"""
