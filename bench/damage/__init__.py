"""Ways in which files get damaged, for `bench.bad_files`."""
