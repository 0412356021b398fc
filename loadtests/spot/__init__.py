"""The parts of `demo_spot`: what the cloud does, what clients ask meanwhile, what is seen of it; table and picture."""
