-- Stores by name: kind is 'records' or 'journal', version is that of its values.
CREATE TABLE stores (
  id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  name text COLLATE "C" NOT NULL UNIQUE,
  kind text NOT NULL,
  version integer NOT NULL
);

-- Values are JSON as text: jsonb holds no U+0000 and no lone surrogate, and would order keys anew. "C": the order of code points.
CREATE TABLE records (
  store integer NOT NULL REFERENCES stores (id),
  owner text COLLATE "C" NOT NULL,
  key text COLLATE "C" NOT NULL,
  value text NOT NULL,
  PRIMARY KEY (store, owner, key)
);

-- There is one writer, so that the order of seq is the order of commit. No index has seq first: a query always stays with its owner.
CREATE TABLE journal (
  seq bigint GENERATED ALWAYS AS IDENTITY,
  store integer NOT NULL REFERENCES stores (id),
  owner text COLLATE "C" NOT NULL,
  id text COLLATE "C" NOT NULL,
  at bigint NOT NULL,
  with_bare text COLLATE "C" NOT NULL,
  with_full text COLLATE "C" NOT NULL,
  bytes integer NOT NULL,
  value text NOT NULL,
  PRIMARY KEY (store, owner, seq) INCLUDE (at, with_bare, bytes)
);

CREATE UNIQUE INDEX journal_id ON journal (store, owner, id);
CREATE INDEX journal_age ON journal (store, at);

-- Who writes, and what its last transaction did: after a connection was lost it says whether that one was committed.
CREATE TABLE writer (
  is_single boolean PRIMARY KEY DEFAULT true CHECK (is_single),
  token text NOT NULL,
  number bigint NOT NULL,
  changes integer[] NOT NULL
);

-- What one row of a batch asks for; how many rows of tables that changed.
CREATE FUNCTION perform_row (
  r_op text, r_store integer, r_owner text, r_key text, r_at bigint, r_bare text, r_full text, r_bytes integer, r_value text
) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
  changed integer;
  more integer;
BEGIN
  CASE r_op
    WHEN 'put' THEN
      INSERT INTO records (store, owner, key, value) VALUES (r_store, r_owner, r_key, r_value)
        ON CONFLICT (store, owner, key) DO UPDATE SET value = excluded.value;
    WHEN 'remove' THEN
      DELETE FROM records WHERE store = r_store AND owner = r_owner AND key = r_key;
    WHEN 'clear' THEN
      DELETE FROM records WHERE store = r_store AND owner = r_owner;
    WHEN 'append' THEN
      INSERT INTO journal (store, owner, id, at, with_bare, with_full, bytes, value)
        VALUES (r_store, r_owner, r_key, r_at, r_bare, r_full, r_bytes, r_value);
    WHEN 'drop' THEN
      DELETE FROM journal WHERE store = r_store AND owner = r_owner AND id = r_key;
    WHEN 'replace' THEN
      UPDATE journal SET bytes = r_bytes, value = r_value WHERE store = r_store AND owner = r_owner AND id = r_key;
    WHEN 'empty' THEN
      DELETE FROM journal WHERE store = r_store AND owner = r_owner;
    WHEN 'keep' THEN -- the newest r_at
      DELETE FROM journal WHERE store = r_store AND owner = r_owner AND seq <=
        (SELECT seq FROM journal WHERE store = r_store AND owner = r_owner ORDER BY seq DESC LIMIT 1 OFFSET r_at);
    WHEN 'trim' THEN -- what is older than r_at
      DELETE FROM journal WHERE store = r_store AND owner = r_owner AND at < r_at;
    WHEN 'expire' THEN -- at most r_bytes of what is older than r_at; all of it where that is null
      DELETE FROM journal WHERE ctid = ANY (ARRAY (SELECT ctid FROM journal WHERE store = r_store AND at < r_at ORDER BY at LIMIT r_bytes));
    WHEN 'erase' THEN
      DELETE FROM records WHERE store IN (SELECT id FROM stores) AND owner = r_owner;
      GET DIAGNOSTICS changed = ROW_COUNT;
      DELETE FROM journal WHERE store IN (SELECT id FROM stores) AND owner = r_owner;
      GET DIAGNOSTICS more = ROW_COUNT;
      RETURN changed + more;
  END CASE;
  GET DIAGNOSTICS changed = ROW_COUNT;
  RETURN changed;
END
$$;

-- Batches, one behind the other, as columns of their rows: how many rows of tables each batch changed.
-- r_batch counts from 1, and a batch may be without rows.
CREATE FUNCTION commit_batches (
  w_token text, w_number bigint, batches integer,
  r_batch integer[], r_op text[], r_store integer[], r_owner text[], r_key text[], r_at bigint[], r_bare text[], r_full text[],
  r_bytes integer[], r_value text[]
) RETURNS integer[] LANGUAGE plpgsql AS $$
DECLARE
  r record;
  changed integer[] := array_fill(0, ARRAY[batches]);
BEGIN
  FOR r IN SELECT * FROM unnest(r_batch, r_op, r_store, r_owner, r_key, r_at, r_bare, r_full, r_bytes, r_value)
    AS t (batch, op, store, owner, key, at, bare, fully, bytes, value)
  LOOP
    changed[r.batch] := changed[r.batch] + perform_row(r.op, r.store, r.owner, r.key, r.at, r.bare, r.fully, r.bytes, r.value);
  END LOOP;
  UPDATE writer SET number = w_number, changes = changed WHERE token = w_token;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'another server has written to this database';
  END IF;
  RETURN changed;
END
$$;
