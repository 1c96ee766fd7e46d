"""A unit that inverts bytes, as the files that `docs/adding_a_unit.md` asks for; `tests.arch.test_units` puts them in place."""
