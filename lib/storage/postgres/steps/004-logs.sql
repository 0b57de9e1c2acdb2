-- The segments of logs (lib/storage/segments.ts): entries is a JSON array of [number, owner, key, value], removed one of [id of a segment,
-- numbers]; last is the highest number of its entries.
CREATE TABLE log_segments (
  store integer NOT NULL REFERENCES stores (id),
  id bigint NOT NULL,
  last bigint NOT NULL,
  entries text NOT NULL,
  removed text NOT NULL,
  PRIMARY KEY (store, id)
);

-- Performs one row of a batch; returns how many rows of tables that changed. lib/storage/postgres/rows.ts says what the columns hold.
CREATE OR REPLACE FUNCTION perform_row (
  r_op text, r_store integer, r_owner text, r_key text, r_at bigint, r_bare text, r_full text, r_bytes integer, r_value text, r_alias text,
  r_words text
) RETURNS integer LANGUAGE plpgsql AS $$
DECLARE
  changed integer;
  more integer;
  made bigint;
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
      INSERT INTO journal (store, owner, id, at, with_bare, with_full, bytes, value, alias, words)
        VALUES (r_store, r_owner, r_key, r_at, r_bare, r_full, r_bytes, r_value, r_alias, array_to_tsvector(string_to_array(r_words, ' ')));
    WHEN 'drop' THEN
      DELETE FROM journal WHERE store = r_store AND owner = r_owner AND id = r_key;
    WHEN 'replace' THEN
      UPDATE journal SET bytes = r_bytes, value = r_value, words = NULL WHERE store = r_store AND owner = r_owner AND id = r_key;
    WHEN 'empty' THEN
      DELETE FROM journal WHERE store = r_store AND owner = r_owner;
    WHEN 'keep' THEN -- the newest r_at
      DELETE FROM journal WHERE store = r_store AND owner = r_owner AND seq <=
        (SELECT seq FROM journal WHERE store = r_store AND owner = r_owner ORDER BY seq DESC LIMIT 1 OFFSET r_at);
    WHEN 'fit' THEN -- the newest that have r_at bytes together
      DELETE FROM journal WHERE store = r_store AND owner = r_owner AND seq <= (SELECT max(seq) FROM
        (SELECT seq, sum(bytes) OVER (ORDER BY seq DESC) AS total FROM journal WHERE store = r_store AND owner = r_owner) AS sums WHERE total > r_at);
    WHEN 'trim' THEN -- what is older than r_at
      DELETE FROM journal WHERE store = r_store AND owner = r_owner AND at < r_at;
    WHEN 'expire' THEN -- at most r_bytes of what is older than r_at; all of it where that is null
      DELETE FROM journal WHERE ctid = ANY (ARRAY (SELECT ctid FROM journal WHERE store = r_store AND at < r_at ORDER BY at LIMIT r_bytes));
    WHEN 'set' THEN -- r_bare and r_full: host and prefix of the owner; r_alias: the key; r_words: what it has in the indexes
      INSERT INTO table_rows (store, host, prefix, place, key, bytes, value)
        VALUES (r_store, r_bare, r_full, r_key, r_alias, r_bytes, r_value)
        ON CONFLICT (store, host, prefix, place) DO UPDATE SET key = excluded.key, bytes = excluded.bytes, value = excluded.value
        RETURNING id INTO made;
      DELETE FROM table_entries WHERE row_id = made;
      INSERT INTO table_entries (row_id, name, store, host, prefix, rank, amount)
        SELECT made, entry->>0, r_store, r_bare, r_full, entry->>1, (entry->>2)::float8 FROM json_array_elements(r_words::json) AS entry;
      RETURN 1;
    WHEN 'unset' THEN -- only if the value is r_value; whatever it is where that is null
      DELETE FROM table_rows WHERE store = r_store AND host = r_bare AND prefix = r_full AND place = r_key
        AND (r_value IS NULL OR value = r_value);
    WHEN 'wipe' THEN
      DELETE FROM table_rows WHERE store = r_store AND host = r_bare AND prefix = r_full;
    WHEN 'lapse' THEN -- at most r_bytes rows whose rank in the index r_alias is at most r_key
      DELETE FROM table_rows WHERE id = ANY (ARRAY (
        WITH RECURSIVE hosts AS (
          (SELECT host FROM table_entries WHERE store = r_store AND name = r_alias ORDER BY host LIMIT 1)
          UNION ALL
          SELECT (SELECT host FROM table_entries WHERE store = r_store AND name = r_alias AND host > hosts.host ORDER BY host LIMIT 1)
            FROM hosts WHERE hosts.host IS NOT NULL
        )
        SELECT due.row_id FROM hosts CROSS JOIN LATERAL (
          SELECT e.row_id FROM table_entries AS e WHERE e.store = r_store AND e.name = r_alias AND e.host = hosts.host AND e.rank <= r_key
            ORDER BY e.rank, e.row_id LIMIT r_bytes
        ) AS due LIMIT r_bytes));
    WHEN 'own' THEN -- the owner is in the list of the store
      INSERT INTO store_owners (store, host, prefix) VALUES (r_store, r_bare, r_full) ON CONFLICT DO NOTHING;
    WHEN 'host' THEN -- from now on the store has a list of its owners
      UPDATE stores SET by_host = true WHERE id = r_store;
      INSERT INTO store_owners (store, host, prefix)
        WITH RECURSIVE owners AS (
          (SELECT owner FROM records WHERE store = r_store ORDER BY owner LIMIT 1)
          UNION ALL
          SELECT (SELECT owner FROM records WHERE store = r_store AND owner > owners.owner ORDER BY owner LIMIT 1)
            FROM owners WHERE owners.owner IS NOT NULL
        ), writers AS (
          (SELECT owner FROM journal WHERE store = r_store ORDER BY owner LIMIT 1)
          UNION ALL
          SELECT (SELECT owner FROM journal WHERE store = r_store AND owner > writers.owner ORDER BY owner LIMIT 1)
            FROM writers WHERE writers.owner IS NOT NULL
        ), bare AS (
          SELECT owner, CASE WHEN position('@' IN split_part(owner, '/', 1)) > 0 THEN position('@' IN owner) ELSE 0 END AS place
            FROM (SELECT owner FROM owners UNION SELECT owner FROM writers) AS every WHERE owner IS NOT NULL
        )
        SELECT r_store, substr(owner, place + 1), substr(owner, 1, place) FROM bare ON CONFLICT DO NOTHING;
    WHEN 'tidy' THEN -- the owner is in no list if it holds nothing
      DELETE FROM store_owners WHERE store = r_store AND host = r_bare AND prefix = r_full
        AND NOT EXISTS (SELECT 1 FROM records WHERE store = r_store AND owner = r_owner)
        AND NOT EXISTS (SELECT 1 FROM journal WHERE store = r_store AND owner = r_owner);
    WHEN 'segment' THEN -- r_at: its id; r_key: the highest number of its entries; r_words: what is removed from others
      INSERT INTO log_segments (store, id, last, entries, removed) VALUES (r_store, r_at, r_key::bigint, r_value, r_words);
    WHEN 'lose' THEN
      DELETE FROM log_segments WHERE store = r_store AND id = r_at;
    WHEN 'erase' THEN
      DELETE FROM records WHERE store IN (SELECT id FROM stores) AND owner = r_owner;
      GET DIAGNOSTICS changed = ROW_COUNT;
      DELETE FROM journal WHERE store IN (SELECT id FROM stores) AND owner = r_owner;
      GET DIAGNOSTICS more = ROW_COUNT;
      changed := changed + more;
      DELETE FROM table_rows WHERE store IN (SELECT id FROM stores) AND host = r_bare AND prefix = r_full;
      GET DIAGNOSTICS more = ROW_COUNT;
      DELETE FROM store_owners WHERE store IN (SELECT id FROM stores) AND host = r_bare AND prefix = r_full;
      RETURN changed + more;
  END CASE;
  GET DIAGNOSTICS changed = ROW_COUNT;
  RETURN changed;
END
$$;
