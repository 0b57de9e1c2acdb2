-- alias: another name of an entry, which others may have as well. worded: journal_words has its words.
ALTER TABLE journal ADD COLUMN alias TEXT;
ALTER TABLE journal ADD COLUMN worded INTEGER NOT NULL DEFAULT 0;

CREATE INDEX journal_alias ON journal (store, owner, alias) WHERE alias IS NOT NULL;

-- The words of entries by seq, each behind a mark of its store and owner: a search walks over no word of anybody else. They come made
-- (lib/storage/words.ts), with a space between them; this tokenizer parts them there, and nowhere else.
CREATE VIRTUAL TABLE journal_words USING fts5 (words, content = '', contentless_delete = 1, detail = none, tokenize = 'ascii');

CREATE TRIGGER journal_gone AFTER DELETE ON journal WHEN old.worded BEGIN
  DELETE FROM journal_words WHERE rowid = old.seq;
END;

CREATE TRIGGER journal_silenced AFTER UPDATE OF worded ON journal WHEN old.worded AND NOT new.worded BEGIN
  DELETE FROM journal_words WHERE rowid = old.seq;
END;
