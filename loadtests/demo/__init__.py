"""The parts of `make demo-kill`: clips and when they came, workers, what the service's log says, table and picture."""
