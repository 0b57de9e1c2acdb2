-- alias: another name of an entry, which others may have as well. words: what a search finds it by, each behind a mark of its store and
-- owner, so that a search walks over no word of anybody else. They come made (lib/storage/words.ts), with a space between them.
ALTER TABLE journal ADD COLUMN alias text COLLATE "C", ADD COLUMN words tsvector;

CREATE INDEX journal_alias ON journal (store, owner, alias) WHERE alias IS NOT NULL;
CREATE INDEX journal_words ON journal USING gin (words);

DROP FUNCTION commit_batches (text, bigint, integer, integer[], text[], integer[], text[], text[], bigint[], text[], text[], integer[], text[]);
DROP FUNCTION perform_row (text, integer, text, text, bigint, text, text, integer, text);

-- What one row of a batch asks for; how many rows of tables that changed.
CREATE FUNCTION perform_row (
  r_op text, r_store integer, r_owner text, r_key text, r_at bigint, r_bare text, r_full text, r_bytes integer, r_value text, r_alias text,
  r_words text
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
  r_bytes integer[], r_value text[], r_alias text[], r_words text[]
) RETURNS integer[] LANGUAGE plpgsql AS $$
DECLARE
  r record;
  changed integer[] := array_fill(0, ARRAY[batches]);
BEGIN
  FOR r IN SELECT * FROM unnest(r_batch, r_op, r_store, r_owner, r_key, r_at, r_bare, r_full, r_bytes, r_value, r_alias, r_words)
    AS t (batch, op, store, owner, key, at, bare, fully, bytes, value, alias, words)
  LOOP
    changed[r.batch] := changed[r.batch] + perform_row(r.op, r.store, r.owner, r.key, r.at, r.bare, r.fully, r.bytes, r.value,
      r.alias, r.words);
  END LOOP;
  UPDATE writer SET number = w_number, changes = changed WHERE token = w_token;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'another server has written to this database';
  END IF;
  RETURN changed;
END
$$;
