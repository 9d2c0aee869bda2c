"""Stores of the log: one contract suite for all of them.

A new store implements `EventLogPort` (application/ports.py) in a folder here, gets a fixture in
tests/contract/event_log/, is declared in infrastructure/composition/, and has an address in
infrastructure/settings/addresses.py. What stores share: `log.py` (numbering in one process, where
an event gets its id), `buffer.py` (readers), `encoded.py` (frames).
"""
