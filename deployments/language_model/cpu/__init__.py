"""The decoder at the speed of a CPU's memory: 8-bit weights, compiled loops, threads that wait for one another.

decoder    what the engine sees                        layout     how all this lies in memory
step       one decoding step, compiled                 packing    weights → bytes, in the order they are read
products   rows · weights                              kernels    the innermost loops (LLVM)
attention  over the positions that exist               emitter    the phrases they are written in
sampling   logits → tokens                             arithmetic sums and products, fixed to the bit
cache      keys and values of the slots                team       the threads that run it together
                                                       barrier    where they wait for each other
"""
