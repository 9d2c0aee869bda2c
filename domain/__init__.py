"""What Sluice speaks about. Standard library only."""
