"""What a token costs: Sluice beside what a user would write, in one run.

`python -m benchmarks` runs everything, `--quick` a subset. Each part is a process of its own:
the upstream (`upstream`), the server under test (Sluice, or one of `baselines`) and the load
(`client`). `harness` starts, pins and measures them; `matrix` and `special` say what is run;
`goals` what was aimed at; `report` writes it down. `python -m benchmarks.steps` takes the hot
path apart.
"""
