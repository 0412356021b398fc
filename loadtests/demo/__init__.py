"""The parts of `make demo-kill`: clips and when they came, workers, the service's log, table and plot."""
