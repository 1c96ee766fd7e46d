"""What produces the figures in README and docs: accuracy, equality, clocks, damage."""
