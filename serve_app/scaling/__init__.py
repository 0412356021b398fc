"""How many replicas there are to be: the policy, its settings, and Serve's side of it."""
