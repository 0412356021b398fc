"""A fleet on this machine: real Ray nodes, each a set of processes, with fake GPUs and the labels of a cloud's."""
