"""What each unit is told: its record in a command, and its latencies where they are its own."""
