"""The reference in time: when each beat passes each stream boundary."""
