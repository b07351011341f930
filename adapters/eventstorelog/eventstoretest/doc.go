// Package eventstoretest is a server for tests that speaks EventStoreDB's gRPC protocol
// over streams in memory: Read with subscriptions, Append, Delete and Tombstone of Streams,
// ServerFeatures and Gossip. Faults can be injected, and nodes stopped, left behind and
// made the leader.
//
// No real server is asked by it. What it does was written after the real one's sources
// (version 25.0, March 2025); the tests name the file that each rule was read in. It is
// strict where luck would otherwise decide:
//
//   - The ids that it knows are bounded, and known only by the process that wrote them: after
//     another node has taken the lead, or a restart, a repeat at "any" is written again. At an
//     exact revision the stream itself is compared.
//   - A call at "any" whose first id is new is written whole, whatever ids follow. One whose
//     first ids are known and a later one is not has the wrong expected version.
//   - What no majority of the nodes has is not read, and its append has no success: it times
//     out, and the events may be there later all the same, or be gone with the leader.
//   - An append that its caller has given up before its turn is dropped without a word.
//   - A position that is no record's is refused, and so is a read of no events.
//   - A connection has at most 100 calls at a time, as Kestrel's have.
//   - Passwords are for TLS alone.
//
// What it has not: BatchAppend, persistent subscriptions, projections, links, scavenging,
// user management over the wire, default ACLs in $settings, and anything on a disk.
package eventstoretest
