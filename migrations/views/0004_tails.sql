-- +goose Up

-- Whose number ends in which digits, as hand-offs told it: one row for each told tail. tail is a keyed digest
-- of the digits, day is the day (UTC) since 1970. The index begins with what grows, so that new
-- entries lie together and old ones are found at its beginning; a search asks for each partition and day.
CREATE TABLE tails (
    partition smallint NOT NULL,
    day       integer  NOT NULL,
    account   text     NOT NULL,
    tail      bigint   NOT NULL,
    tenant    text     NOT NULL,
    subject   bytea    NOT NULL
);
CREATE INDEX tails_told ON tails (partition, day, account, tail);

-- +goose Down
DROP TABLE tails;
