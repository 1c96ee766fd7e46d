"""What all commands share: exit codes, messages, files, tables, progress, Ctrl-C. Imports nothing of ours."""
from cli.interrupt import guard_start

guard_start()               # before anything slow is imported

from cli.command import positive, print_error, print_notes, run_command
from cli.errors import RequestError, RequestWarning, WorkError
from cli.extras import needs_extra
from cli.files import OutputError, readable, write_bytes, write_json
from cli.meters import counting, meter, progress, waiting
from cli.output import bar, terminal
from cli.parser import Parser

__all__ = ["OutputError", "Parser", "RequestError", "RequestWarning", "WorkError", "bar", "counting", "meter", "needs_extra",
           "positive", "print_error", "print_notes", "progress", "readable", "run_command", "terminal", "waiting",
           "write_bytes", "write_json"]
