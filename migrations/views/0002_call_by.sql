-- +goose Up

-- Until when a carrier may be called for any start so far. NULL in rows from before
-- this column, until their partition is next written.
ALTER TABLE partitions ADD COLUMN call_by bigint;

-- From here on, handoffs also has the parts that are in doubt, under '#' and their
-- user_message_reference, with an empty carrier_id; not those of attempts from
-- before, whose references were not stored.

-- The one row says which is the oldest version of these migrations whose programs
-- may still use this database. A migration that only expands (new tables, indexes,
-- and columns that may be left out) leaves it; one that takes something away, or
-- changes what something means, sets it to its own number.
CREATE TABLE compatible (
    oldest bigint NOT NULL
);
INSERT INTO compatible (oldest) VALUES (2);

-- +goose Down
DROP TABLE compatible;
ALTER TABLE partitions DROP COLUMN call_by;
