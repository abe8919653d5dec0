"""Files, random streams, tables, processes, timing and versions, independent of models."""
