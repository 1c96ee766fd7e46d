"""Which commands run in which order, and which rows of which maps are on the chip meanwhile."""
