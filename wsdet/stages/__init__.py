"""What the programs do, as functions: no command line, no config, no Hydra."""
