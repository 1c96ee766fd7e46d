"""Small parts that several units are made of."""
