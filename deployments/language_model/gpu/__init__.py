"""The language model on a GPU. Tokens, keys and values stay there, and a step is one replayed CUDA graph.

decoder    the weights, what the engine asks, GPUs   state      what the slots hold on the device, page by page
stepper    launches steps, collects their tokens     matrix     weights of a product (bf16, float32, 8 bits), its tiles
program    one step, operation by operation          kernels    embedding and attention in Triton
operations what a program is made of (the protocol)  product    the matrix product in Triton
reference  the operations in plain torch             draws      the sampler in Triton
triton_operations  launches the Triton kernels

`reference` runs anywhere: on a CPU the same program, pages and steps are tested with it. `kernels`, `product` and `draws`
are imported on a GPU, or under Triton's interpreter, which the tests use.
"""
