"""Between the command line and the stages: configs, what they may hold, what they describe."""
