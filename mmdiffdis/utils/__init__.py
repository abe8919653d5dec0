"""Files, random streams, tables, processes, clocks and versions; nothing here depends on a model."""
