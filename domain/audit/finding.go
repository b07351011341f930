package audit

import (
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/recipient"
)

// Finding is one thing that is wrong with a ledger.
type Finding struct {
	Position event.Position `json:"position"`
	// Promise is the promise that is broken there: 2, 3 or 4; 0: the ledger's
	// structure.
	Promise int  `json:"promise"`
	Code    Code `json:"code"`
	// Text says it in words. It holds no number and no body; program names, sender
	// IDs, carriers and positions it may.
	Text string `json:"text"`
}

// Code names a kind of finding, for scripts. docs/verify.md explains each.
type Code string

// The structure of the ledger (promise 0).
const (
	// Unordered: partitions were not given in the order that Take asks for.
	Unordered Code = "unordered"
	// Gap: a position does not follow the one before.
	Gap Code = "gap"
	// Unreadable: the bytes are no event.
	Unreadable Code = "unreadable"
	// UnknownType: an event of a type that this build cannot read.
	UnknownType Code = "unknown_type"
	// NotCanonical: the bytes are not those that the ledger's encoder writes.
	NotCanonical Code = "not_canonical"
	// AcceptedEvent: an operator accepted as no event what is an event of this ledger.
	AcceptedEvent Code = "accepted_event"
	// ForeignSource: the event was written for another ledger.
	ForeignSource Code = "foreign_source"
	// NotCreated: control does not begin with LedgerCreated, or has a second one.
	NotCreated Code = "not_created"
	// Misplaced: the type, the stream or the message does not belong in the partition.
	Misplaced Code = "misplaced"
	// Envelope: the envelope lacks what its type must have, or has what it must not.
	Envelope Code = "envelope"
	// TenantChanged: a stream changes its tenant.
	TenantChanged Code = "tenant_changed"
	// TimeInsane: no time, or one that no writer of this ledger can have had.
	TimeInsane Code = "time_insane"
	// ControlUnknown: it names a control position or event that there is not.
	ControlUnknown Code = "control_unknown"
	// ControlAhead: an outcome was decided under control that its partition had not applied.
	ControlAhead Code = "control_ahead"
	// AfterUnknown: an outcome was decided after an event that its stream does not have.
	AfterUnknown Code = "after_unknown"
)

// Promise 2: decided, and gated, in order.
const (
	// NoAllow: a start of a message that was not allowed since its last attempt.
	NoAllow Code = "start_without_allow"
	// AllowTakenBack: something that can change the decision came after the allow.
	AllowTakenBack Code = "allow_taken_back"
	// AllowOldControl: the allow was made under another control position.
	AllowOldControl Code = "allow_under_other_control"
	// StartCancelled: a start after the message was cancelled.
	StartCancelled Code = "start_after_cancel"
	// StartExpired: a start after the message had expired, or past its validity.
	StartExpired Code = "start_after_expiry"
	// StartEarly: a start before the time that its sender asked for.
	StartEarly Code = "start_before_send_at"
	// StartLate: a start past its allow or its call_by, or with deadlines out of order.
	StartLate Code = "start_late"
	// NoRoute: a start without a route under its allow.
	NoRoute Code = "start_without_route"
	// RouteUnknown: a route that is not in the table that it names, or not the table in force.
	RouteUnknown Code = "route_not_in_force"
	// SenderNotAllowed: a route under a sender ID that the allow was not made for.
	SenderNotAllowed Code = "sender_not_allowed"
	// OptedOut: a start although an opt-out stands that covers the message.
	OptedOut Code = "start_after_opt_out"
	// OptOutsDiffer: a decision that was not made from the opt-outs that stood.
	OptOutsDiffer Code = "opt_outs_differ"
	// ProgramUnknown: a start for a program that was not registered.
	ProgramUnknown Code = "program_unknown"
	// StartPaused: a start while a pause covers its program or carrier.
	StartPaused Code = "start_while_paused"
	// CalledWithoutStart: a carrier answered for an attempt that nobody had started.
	CalledWithoutStart Code = "called_without_start"
	// CalledVoidStart: a carrier answered for an attempt whose start is void.
	CalledVoidStart Code = "called_for_void_start"
	// CalledElsewhere: another carrier answered than the attempt was routed to.
	CalledElsewhere Code = "called_elsewhere"
)

// Promise 3: never resent blindly.
const (
	// AttemptOrder: attempts are not counted densely from 1.
	AttemptOrder Code = "attempt_order"
	// PartUnknown: a start of no part, of one twice, or of one that the route does not have.
	PartUnknown Code = "part_unknown"
	// ResentAccepted: a part is started again after a carrier had taken it.
	ResentAccepted Code = "resent_accepted"
	// ResentOpen: a part is started again before its last attempt was answered.
	ResentOpen Code = "resent_unanswered"
	// ResentRefused: a part is started again after a refusal that was final.
	ResentRefused Code = "resent_refused"
	// ResentInDoubt: a part in doubt is started again, and nobody preferred that or the start does not say so.
	ResentInDoubt Code = "resent_in_doubt"
	// AcceptedTwice: a carrier took one part of one attempt under two ids.
	AcceptedTwice Code = "accepted_twice"
	// DoubtEarly: an attempt was given up before its answer_by.
	DoubtEarly Code = "in_doubt_early"
)

// Promise 4: in doubt about a rule, nothing leaves.
const (
	// OutcomeUnknown: a decision that is neither allow, deny, defer nor hold.
	OutcomeUnknown Code = "outcome_unknown"
	// CheckMissing: an allow without one of the required checks, or with one twice.
	CheckMissing Code = "check_missing"
	// CheckNotAllow: an allow although a check did not allow.
	CheckNotAllow Code = "check_not_allow"
	// CheckNoRule: a check of an allow that names no rule.
	CheckNoRule Code = "check_without_rule"
	// FaultAllowed: a decision other than hold that records a fault.
	FaultAllowed Code = "fault_allowed"
	// AllowNoTime: an allow that is over when it is made, or outlasts its message.
	AllowNoTime Code = "allow_without_time"
	// AllowNoSender: an allow that names no sender ID.
	AllowNoSender Code = "allow_without_sender"
	// PolicyOther: a decision under other policies than were in force.
	PolicyOther Code = "policy_not_in_force"
	// NoReason: a denial, a deferral or a hold that does not say why.
	NoReason Code = "no_reason"
)

// maxFindings is how many findings a report holds; all are counted.
const maxFindings = 1000

// Report is what a verification found.
type Report struct {
	// Events were read; Effective and Void are how those that could be read were judged.
	Events    int64                   `json:"events"`
	Effective int64                   `json:"effective"`
	Void      map[recipient.Why]int64 `json:"void"`
	// Opaque records are no events of this ledger; an operator accepted each, by hash.
	Opaque int64 `json:"opaque,omitempty"`
	// Streams of recipients.
	Streams int64 `json:"streams"`
	// Messages by the status in which the ledger leaves them.
	Messages map[recipient.Status]int64 `json:"messages"`
	// Calls are the effective starts: what a carrier may have been called for.
	Calls int64 `json:"calls"`
	// Total counts all findings, Codes each kind of them.
	Total int64          `json:"found"`
	Codes map[Code]int64 `json:"codes,omitempty"`
	// Findings are the first maxFindings, in the order in which they were met.
	Findings []Finding `json:"findings,omitempty"`
	// First is each partition's first finding. Read these before all others: what
	// comes later in a partition may only follow from its first.
	First []Finding `json:"first,omitempty"`
}

// OK reports whether nothing was found.
func (r *Report) OK() bool { return r.Total == 0 }
