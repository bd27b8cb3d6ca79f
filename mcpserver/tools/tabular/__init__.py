"""Tables in CSV, TSV, JSON, JSONL, Excel and Parquet files."""
