-- Stores by name: kind is 'records' or 'journal', version is that of its values.
CREATE TABLE stores (
  id INTEGER PRIMARY KEY,
  name TEXT NOT NULL UNIQUE,
  kind TEXT NOT NULL,
  version INTEGER NOT NULL
);

-- Values are JSON.
CREATE TABLE records (
  store INTEGER NOT NULL REFERENCES stores (id),
  owner TEXT NOT NULL,
  key TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (store, owner, key)
) WITHOUT ROWID;

-- AUTOINCREMENT: a place in the order is never given twice, not even that of a last entry which was removed.
CREATE TABLE journal (
  seq INTEGER PRIMARY KEY AUTOINCREMENT,
  store INTEGER NOT NULL REFERENCES stores (id),
  owner TEXT NOT NULL,
  id TEXT NOT NULL,
  at INTEGER NOT NULL,
  with_bare TEXT NOT NULL,
  with_full TEXT NOT NULL,
  bytes INTEGER NOT NULL,
  value TEXT NOT NULL
);

CREATE UNIQUE INDEX journal_id ON journal (store, owner, id);

-- An owner's entries in order. What queries compare, and what is summed, is read here without the values.
CREATE INDEX journal_order ON journal (store, owner, seq, at, with_bare, bytes);
CREATE INDEX journal_age ON journal (store, at);
