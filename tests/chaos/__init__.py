"""Readers that come and go, cancels, upstream faults and kills; then every byte is judged."""
