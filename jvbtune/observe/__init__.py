"""Samples of live bridges for monitoring: read-only, for days, to a terminal, Parquet, InfluxDB and Prometheus."""
