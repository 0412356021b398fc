"""The language model on a GPU. Tokens, keys and values stay there, and a step is one replayed CUDA graph.

decoder    the weights, and what the engine asks     state      what the slots hold on the device
stepper    launches steps, collects their tokens     pages      which page of the memory is whose (plain Python)
program    one step, operation by operation          matrix     weights of a product: bf16, float32 or 8 bits
operations what a program is made of (the protocol)  kernels    attention and tokens in Triton
reference  the operations in plain torch             product    the matrix product in Triton
triton_operations  launches the Triton kernels       tiles      how a product is cut into programs

`reference` runs anywhere: on a CPU the same program, pages and steps are tested with it. `kernels` and `product` are
imported on a GPU only.
"""
