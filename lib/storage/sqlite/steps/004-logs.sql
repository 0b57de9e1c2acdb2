-- The segments of logs (lib/storage/segments.ts): entries is a JSON array of [number, owner, key, value], removed one of [id of a segment,
-- numbers]; last is the highest number of its entries.
CREATE TABLE log_segments (
  store INTEGER NOT NULL REFERENCES stores (id),
  id INTEGER NOT NULL,
  last INTEGER NOT NULL,
  entries TEXT NOT NULL,
  removed TEXT NOT NULL,
  PRIMARY KEY (store, id)
);
