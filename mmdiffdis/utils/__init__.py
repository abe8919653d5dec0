"""Files, random streams, tables, processes and versions; nothing here depends on a model."""
