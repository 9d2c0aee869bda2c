"""The processes: each opens what its container needs, and closes it on one stack."""
