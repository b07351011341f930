// Package engine has what the ledger's engines have in common. An engine keeps a ledger's log:
// adapters/sqlitelog, adapters/kafkalog, adapters/eventstorelog and, for tests, adapters/memlog.
//
// Here are the bytes of an append, the records that are made of bytes that are read, the
// decision whether an append may be queued (Admission), the time between two writes (Pace), and
// the first event of a ledger. An engine decides where the bytes are stored, and how they
// become durable.
package engine
