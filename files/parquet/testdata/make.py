"""Writes the Parquet files of this folder and, in rows.json, what pyarrow reads from them.

    python make.py        (pyarrow 22, see the created_by of the files)
"""
import json, os
import pyarrow as pa, pyarrow.parquet as pq

here = os.path.dirname(os.path.abspath(__file__))
n = 60
plain = pa.table({
    "question": [f"What is {i} + {i}? é🙂" for i in range(n)],
    "answer": [str(2 * i) + ", since " + "x" * (7 * i % 23) for i in range(n)],
    "context": [None if i % 3 else "a context" for i in range(n)],
    "n": pa.array(range(n), pa.int32()), "big": pa.array([i << 40 for i in range(n)]), "half": [i / 2 for i in range(n)], "flag": [i % 2 == 0 for i in range(n)],
})
turns = [[{"role": "user", "content": f"q{i}"}, {"role": "assistant", "content": f"a{i}"}] * (i % 3) for i in range(n)]
nested = pa.table({"messages": turns, "tags": [None, [], [None, "a"], ["b", "c"]] * (n // 4), "deep": [{"x": {"y": [[1], [2, 3], []]}}] * n})
files = {f"plain_{c}": (plain, dict(compression=c, row_group_size=25)) for c in ("snappy", "zstd", "gzip", "brotli", "lz4", "none")}
files["plain_v2"] = (plain, dict(compression="zstd", data_page_version="2.0"))
files["plain_pages"] = (plain, dict(compression="snappy", data_page_size=64, write_batch_size=4, use_dictionary=False))
files["nested"] = (nested, dict(compression="snappy"))
files["large_text"] = (pa.table({"text": pa.array(["a", "bé"], pa.large_string())}), {})
files["empty"] = (pa.table({"text": pa.array([], pa.string())}), {})
files["bomb"] = (pa.table({"text": ["x" * 300_000_000]}), dict(compression="zstd", compression_level=19, use_dictionary=False, write_statistics=False))
rows = {}
for name, (table, options) in files.items():
    path = os.path.join(here, name + ".parquet")
    pq.write_table(table, path, **options)
    if name != "bomb":
        rows[name] = pq.read_table(path).to_pylist()
with open(os.path.join(here, "rows.json"), "w", encoding="utf-8") as f:
    json.dump({"plain": rows["plain_none"], "nested": rows["nested"], "large_text": rows["large_text"], "empty": []}, f, ensure_ascii=False)
