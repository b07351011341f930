-- +goose Up

-- Which ledger these views are of: one row, with the ledger's short id. No row: it is not known, since a program
-- from before this table made the views.
CREATE TABLE ledger (
    id text NOT NULL PRIMARY KEY
);

-- 64 bits of a digest over the subject and the exact bytes of the state (no bytes for none). NULL where a program
-- from before this column wrote the row, until it is summed.
ALTER TABLE streams ADD COLUMN sum bigint;

-- What a partition has, as of summed. A program from before these columns moves next alone; then they are
-- not believed, and the rows are summed and counted anew. whole has a bit for each of the 64 buckets of streams
-- (the first six bits of the subject) whose rows all have their sums; sums has for each bucket how many rows
-- there are, and the sum of their sums (64 bits each, wrapping, big-endian). The counts are of the rows in
-- messages and reserved, and in opt_outs and standing together; NULL: not counted. summed is -1 where the rows do
-- not fit these: then the partition is made anew.
ALTER TABLE partitions ADD COLUMN summed bigint;
ALTER TABLE partitions ADD COLUMN whole bigint;
ALTER TABLE partitions ADD COLUMN sums bytea;
ALTER TABLE partitions ADD COLUMN messages_rows bigint;
ALTER TABLE partitions ADD COLUMN reserved_rows bigint;
ALTER TABLE partitions ADD COLUMN opt_outs_rows bigint;

-- +goose Down
ALTER TABLE partitions DROP COLUMN opt_outs_rows;
ALTER TABLE partitions DROP COLUMN reserved_rows;
ALTER TABLE partitions DROP COLUMN messages_rows;
ALTER TABLE partitions DROP COLUMN sums;
ALTER TABLE partitions DROP COLUMN whole;
ALTER TABLE partitions DROP COLUMN summed;
ALTER TABLE streams DROP COLUMN sum;
DROP TABLE ledger;
