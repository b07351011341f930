-- +goose Up

-- Whose number ends in which digits, as hand-offs told it: one row for each told tail. tail is a keyed digest
-- of the digits, day is the day (UTC) since 1970. A day's entries of a partition lie together in the index, and
-- old ones at its beginning; a search asks for each partition and day. The account is not in it: an
-- index of integers costs least, and few recipients of other accounts have the same tail.
CREATE TABLE tails (
    partition smallint NOT NULL,
    day       integer  NOT NULL,
    account   text     NOT NULL,
    tail      bigint   NOT NULL,
    tenant    text     NOT NULL,
    subject   bytea    NOT NULL
);
CREATE INDEX tails_told ON tails (partition, day, tail);

-- +goose Down
DROP TABLE tails;
