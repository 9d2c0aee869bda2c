"""The guard's statistics and rules: what a rollout's outcomes say, as pure functions of them.

Nothing here reads a clock, a store or a random number: the same outcomes give the same verdicts.
"""
