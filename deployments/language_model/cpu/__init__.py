"""The decoder at the speed of a CPU's memory: 8-bit weights, compiled loops, threads that wait for one another.

packing   weights → bytes, in the order they are read      step     one decoding step, compiled
kernels   the innermost loops (LLVM)                       team     the threads that run it together
emitter   the phrases they are written in                  decoder  what the engine sees
"""
