"""Where the work on single images is done: in processes of this machine."""
