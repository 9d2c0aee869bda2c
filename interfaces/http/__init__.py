"""The wire contract over HTTP. Typed objects are handed in; no adapter is known here."""
