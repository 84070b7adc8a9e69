"""Named metrics as pure functions on mappings image id -> `Boxes`. None knows of datasets, stores or settings."""
