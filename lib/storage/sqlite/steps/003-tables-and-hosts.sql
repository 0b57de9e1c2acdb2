-- by_host: 1 if store_owners has the owners of the store. names: the indexes of a table, as a JSON array.
ALTER TABLE stores ADD COLUMN by_host INTEGER NOT NULL DEFAULT 0;
ALTER TABLE stores ADD COLUMN names TEXT;

-- The owners of stores by host. An owner is its prefix (romeo@, or nothing) with the host after it. A row stays until a reader finds that
-- the owner holds nothing.
CREATE TABLE store_owners (
  store INTEGER NOT NULL REFERENCES stores (id),
  host TEXT NOT NULL,
  prefix TEXT NOT NULL,
  PRIMARY KEY (store, host, prefix)
) WITHOUT ROWID;

-- place: the key as it is compared, in at most 400 bytes (lib/storage/ranks.ts). AUTOINCREMENT: no number is given twice, because it is
-- part of a place in an index.
CREATE TABLE table_rows (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  store INTEGER NOT NULL REFERENCES stores (id),
  host TEXT NOT NULL,
  prefix TEXT NOT NULL,
  place TEXT NOT NULL,
  key TEXT NOT NULL,
  bytes INTEGER NOT NULL,
  value TEXT NOT NULL
);

CREATE UNIQUE INDEX table_key ON table_rows (store, host, prefix, place);

-- What rows have in the indexes of their table. The name of a sum begins with +, and has no rank but an amount.
CREATE TABLE table_entries (
  row_id INTEGER NOT NULL,
  name TEXT NOT NULL,
  store INTEGER NOT NULL,
  host TEXT NOT NULL,
  prefix TEXT NOT NULL,
  rank TEXT NOT NULL,
  amount REAL,
  PRIMARY KEY (row_id, name)
) WITHOUT ROWID;

CREATE INDEX table_by_owner ON table_entries (store, name, host, prefix, rank, row_id, amount);
CREATE INDEX table_by_host ON table_entries (store, name, host, rank, row_id, amount);

CREATE TRIGGER table_gone AFTER DELETE ON table_rows BEGIN
  DELETE FROM table_entries WHERE row_id = old.id;
END;
