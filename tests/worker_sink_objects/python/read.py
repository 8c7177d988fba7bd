"""Reads all objects below a folder with DuckDB, as users would, and prints each record as a line of JSON, or how many there are.

read.py FOLDER jsonl|parquet [count]
"""

import json
import sys

import duckdb

folder, kind, *count = sys.argv[1:]
if kind == "parquet":
    source = f"read_parquet('{folder}/**/*.parquet', filename=true, hive_partitioning=true, union_by_name=true)"
else:
    source = (
        f"read_json(['{folder}/**/*.jsonl*'], format='newline_delimited', filename=true, hive_partitioning=true, "
        "maximum_object_size=33554432, union_by_name=true)"
    )
if count:
    print(duckdb.connect().execute(f"SELECT count(*) FROM {source}").fetchone()[0])
    sys.exit()
cursor = duckdb.connect().execute(f"SELECT * FROM {source} ORDER BY filename, queue, \"offset\"")
names = [column[0] for column in cursor.description]
while rows := cursor.fetchmany(1000):
    for row in rows:
        record = dict(zip(names, row))
        # Timestamps of Parquet are moments; JSON has their milliseconds.
        for name in ("born_time", "store_time"):
            value = record.get(name)
            record[name] = value if value is None or isinstance(value, int) else round(value.timestamp() * 1000)
        print(json.dumps(record, default=lambda value: value.hex() if isinstance(value, bytes) else str(value)))
