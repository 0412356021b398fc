"""Autoscaling: how many replicas each deployment should have, and the policy as Serve calls it."""
