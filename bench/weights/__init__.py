"""How short weights become: kinds of compression, compared."""
