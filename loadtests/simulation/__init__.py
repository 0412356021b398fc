"""A simulated fleet: arrivals, engines, nodes and markets, and who decides how many there are."""
