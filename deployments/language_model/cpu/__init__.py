"""The 8-bit decoder for CPUs: compiled loops at the speed of memory, run by threads that wait for one another.

decoder    what the engine sees                        layout     weights, cache, scratch: how they lie in memory
step       one decoding step                           kernels    the innermost loops, in LLVM's language
products   rows · weights                              emitter    what kernels are written with; exact sums
attention  over the positions that exist               team       the threads, and where they wait
sampling   logits → tokens
"""
