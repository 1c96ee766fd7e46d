"""From groups to instructions: what each has to wait for, and in which order they stand in the program."""
