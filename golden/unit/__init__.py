"""What each unit that vectors pass as a stream does to their values: file by file, named as in `arch.units`, its class `UNIT`."""
