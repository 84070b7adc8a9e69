"""What scripts/fuzz.py feeds to the readers."""
