"""The language model: text states in, frames of codes out. Start at `engine.py`.

What is computed:                                      What computes it:
engine        one step after another for everybody     decoder         what the engine needs of one
scheduler     who runs in this step (plain Python)     loading         which one a setting means
step          the rows of a step, and who draws        model           plain torch, the reference
stepper       who computes steps, and when it is known cpu/            8 bits, compiled for a CPU
generation    one request's progress (plain Python)    gpu/            a step as one CUDA graph
delay         the codebooks' delay pattern             offload         weights where they have room
rows          what a step reads                        offload_folder  those that lie on the disk
sampler       logits → tokens (pure functions)         placement       where a model runs
noise         the counter-based noise of a draw        gpus            shares of GPUs, and several of them
engine_loop   the engine's thread, its async skin      cpu_share       how many threads a replica takes
listener      where one generation's frames go         kv_cache        keys and values of the slots
pulse         when a replica gives up what it has      row_counts      which batch sizes agree bit for bit
warm_up       a run before the first request
errors        why it refuses, or gives up
config        the decoder's shape                      weights         checkpoint → tensors, layer by layer
                                                       linear          matrix products by numeric type
"""
