"""What the counters of the chip's queues mean, in the words of every table that shows them."""

__all__ = ["COUNTED", "MEANING"]

# A counter of `arch.protocol.COUNTERS` behind the queue's name, and its column.
COUNTED = {"busy": "works", "waiting": "waits for others", "stalls": "waits for its unit"}
MEANING = """works: a command of the queue runs.
waits for others: its next command needs what other queues have yet to do.
That is most of the time where there is little to do: it costs frames only
in the compute queue.
waits for its unit: its next command may run, the one before has yet to end."""
