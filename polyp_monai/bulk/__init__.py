"""Many frames on many machines, by Ray Data: a Parquet manifest in, Parquet rows out, each row once."""
