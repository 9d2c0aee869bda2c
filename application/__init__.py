"""What Sluice does: the use cases, and the ports they need. Imports the domain only."""
