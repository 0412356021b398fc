"""The parts of `demo_spot`: what the cloud does, what clients request meanwhile, what is observed; table and plot."""
