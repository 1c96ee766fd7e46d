"""Fetches instructions, checks them, and keeps the queues of commands in step."""
