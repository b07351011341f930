// Package eventstoretest is a server for tests that speaks EventStoreDB's gRPC protocol
// over streams in memory: Read with subscriptions, Append, Delete and Tombstone of Streams,
// ServerFeatures and Gossip. Tests can inject faults, and stop nodes, let them lag, and
// choose the leader.
//
// It uses no real server. Its rules are those of the real server's sources (version 25.0,
// March 2025); the tests name the file in which each rule was read. Where a real server's
// answer depends on chance, this one gives the answer that is worse for the client:
//
//   - It remembers a bounded number of ids, and only a node that wrote the events does: after
//     another node has come to lead, or after a restart, a repeat at "any" is written a second
//     time. At an exact revision the stream itself is compared.
//   - A call at "any" whose first id is new is written as a whole, whatever ids follow. A call
//     with known first ids and a new later id fails with a wrong expected version.
//   - Events that no majority of the nodes has cannot be read, and their append does not
//     succeed: it times out, and the events may be there later, or be lost with the leader.
//   - An append that its caller has given up before its turn is dropped without an answer.
//   - A read from a position that is no record's is refused, and so is a read of 0 events.
//   - A connection has at most 100 calls at a time, like those of Kestrel.
//   - Passwords need TLS.
//
// It does not have BatchAppend, persistent subscriptions, projections, links, scavenging,
// user management over the wire, default ACLs in $settings, or a disk.
package eventstoretest
