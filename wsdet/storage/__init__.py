"""What is on disk: files that are whole or not there, box stores, what they depend on, and the marks of a run."""
