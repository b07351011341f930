package audit

import (
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/recipient"
)

// Finding is one thing that is wrong with a ledger.
type Finding struct {
	Position event.Position `json:"position"`
	// Promise is the number of the promise that is broken there: 2, 3, 4 or 10; 0 if the ledger's
	// structure is wrong.
	Promise int  `json:"promise"`
	Code    Code `json:"code"`
	// Text describes it in words. It has no phone number and no body. It may have program names,
	// sender IDs, carriers and positions.
	Text string `json:"text"`
}

// Code names a kind of finding, for scripts. docs/verify.md explains each code.
type Code string

// The structure of the ledger (promise 0).
const (
	// Unordered: the partitions were not given in the order that Take asks for.
	Unordered Code = "unordered"
	// Gap: a position does not follow the position before it.
	Gap Code = "gap"
	// Unreadable: the bytes are not an event.
	Unreadable Code = "unreadable"
	// UnknownType: the event has a type that this build cannot read.
	UnknownType Code = "unknown_type"
	// NotCanonical: the bytes are not those that the ledger's encoder writes.
	NotCanonical Code = "not_canonical"
	// AcceptedEvent: an operator accepted a record as no event, and it is an event of this
	// ledger.
	AcceptedEvent Code = "accepted_event"
	// ForeignSource: the event was written for another ledger.
	ForeignSource Code = "foreign_source"
	// NotCreated: control does not begin with LedgerCreated, or has it twice.
	NotCreated Code = "not_created"
	// Misplaced: an event of this type, stream or message does not belong in the partition.
	Misplaced Code = "misplaced"
	// Envelope: the envelope lacks a field that its type must have, or has one that it must not
	// have.
	Envelope Code = "envelope"
	// TenantChanged: a stream changes its tenant.
	TenantChanged Code = "tenant_changed"
	// TimeInsane: the event has no time, or a time that no writer of this ledger can have had.
	TimeInsane Code = "time_insane"
	// ControlUnknown: the event names a control position or a control event that does not exist.
	ControlUnknown Code = "control_unknown"
	// ControlAhead: an outcome was decided under a control position that its partition had not
	// applied.
	ControlAhead Code = "control_ahead"
	// AfterUnknown: an outcome was decided after an event that its stream does not have.
	AfterUnknown Code = "after_unknown"
	// LevelTooLow: an event, or a field of it, that the ledger's format level does not allow.
	LevelTooLow Code = "level_too_low"
	// LevelUnknown: the format level is raised by more than one, or to one that this build cannot
	// read.
	LevelUnknown Code = "level_unknown"
	// VaultOther: the ledger is bound to a vault although it is bound to another.
	VaultOther Code = "vault_other"
	// EpochUnknown: an event names an epoch that control does not have, an epoch begins that is not the next one, or a program is released in an epoch that
	// there is not.
	EpochUnknown Code = "epoch_unknown"
	// AuditImpossible: an event of the audit log with times, counts or texts that no writer of this
	// ledger can have written.
	AuditImpossible Code = "audit_impossible"
	// ExportUnknown: the audit log names an export that its tenant did not ask for before.
	ExportUnknown Code = "export_unknown"
	// ExportEndedTwice: an export ends that had ended.
	ExportEndedTwice Code = "export_ended_twice"
)

// Promise 2: decided, and gated, in order.
const (
	// NoAllow: a start of a message that was not allowed since its last attempt.
	NoAllow Code = "start_without_allow"
	// AllowTakenBack: an event that can change the decision came between the allow and the start.
	AllowTakenBack Code = "allow_taken_back"
	// AllowOldControl: the allow was made under another control position.
	AllowOldControl Code = "allow_under_other_control"
	// StartCancelled: a start after the message was cancelled.
	StartCancelled Code = "start_after_cancel"
	// StartExpired: a start after the message had expired, or past its validity.
	StartExpired Code = "start_after_expiry"
	// StartEarly: a start before the time at which the sender wanted the message sent.
	StartEarly Code = "start_before_send_at"
	// StartLate: a start after its allow ended or after its call_by, or one whose deadlines are
	// not in order.
	StartLate Code = "start_late"
	// NoRoute: a start without a route since its allow.
	NoRoute Code = "start_without_route"
	// RouteUnknown: a route that its table does not have, or whose table was not in force.
	RouteUnknown Code = "route_not_in_force"
	// SenderNotAllowed: a route with a sender ID that the allow does not name.
	SenderNotAllowed Code = "sender_not_allowed"
	// OptedOut: a start of a message that an opt-out in force covers.
	OptedOut Code = "start_after_opt_out"
	// OptOutsDiffer: a decision that was not made from exactly the opt-outs in force.
	OptOutsDiffer Code = "opt_outs_differ"
	// ProgramUnknown: a start for a program that was not registered.
	ProgramUnknown Code = "program_unknown"
	// StartPaused: a start while a pause covers its program or carrier.
	StartPaused Code = "start_while_paused"
	// CalledWithoutStart: a carrier answered for an attempt that was never started.
	CalledWithoutStart Code = "called_without_start"
	// CalledVoidStart: a carrier answered for an attempt whose start is void.
	CalledVoidStart Code = "called_for_void_start"
	// CalledElsewhere: a carrier answered to which the attempt was not routed.
	CalledElsewhere Code = "called_elsewhere"
)

// Promise 3: never resent blindly.
const (
	// AttemptOrder: attempts are not counted densely from 1.
	AttemptOrder Code = "attempt_order"
	// PartUnknown: a start without parts, with a part twice, or with a part that its route does
	// not have.
	PartUnknown Code = "part_unknown"
	// ResentAccepted: a part was started once more after a carrier had accepted it.
	ResentAccepted Code = "resent_accepted"
	// ResentOpen: a part was started once more before its last attempt was answered.
	ResentOpen Code = "resent_unanswered"
	// ResentRefused: a part was started once more after a final refusal.
	ResentRefused Code = "resent_refused"
	// ResentInDoubt: a part in doubt was started once more, although its message does not prefer
	// a duplicate, or the start does not say that it may be one.
	ResentInDoubt Code = "resent_in_doubt"
	// ResentRecovered: a start of a message of which the ledger had lost events.
	ResentRecovered Code = "resent_recovered"
	// StartUnmarked: a start of a message from before the ledger was recovered or restored that does
	// not say so, or one that says so wrongly.
	StartUnmarked Code = "start_unmarked"
	// AcceptedTwice: a carrier accepted one part of one attempt under two ids.
	AcceptedTwice Code = "accepted_twice"
	// DoubtEarly: an attempt was recorded as in doubt before its answer_by.
	DoubtEarly Code = "in_doubt_early"
)

// Promise 4: in doubt about a rule, nothing is sent.
const (
	// OutcomeUnknown: a decision that is not allow, deny, defer or hold.
	OutcomeUnknown Code = "outcome_unknown"
	// CheckMissing: an allow that lacks a required check, or has one twice.
	CheckMissing Code = "check_missing"
	// CheckNotAllow: an allow with a check that did not allow.
	CheckNotAllow Code = "check_not_allow"
	// CheckNoRule: an allow with a check that names no rule.
	CheckNoRule Code = "check_without_rule"
	// FaultAllowed: a decision that records a fault and is not a hold.
	FaultAllowed Code = "fault_allowed"
	// AllowNoTime: an allow that ends before it begins, or after its message's validity.
	AllowNoTime Code = "allow_without_time"
	// AllowNoSender: an allow that names no sender ID.
	AllowNoSender Code = "allow_without_sender"
	// PolicyOther: a decision under policies that were not in force.
	PolicyOther Code = "policy_not_in_force"
	// StartHeld: a start of a program that the ledger's epoch holds.
	StartHeld Code = "start_while_held"
	// NoReason: a denial, a deferral or a hold without a reason.
	NoReason Code = "no_reason"
)

// Promise 10: a person's word counts.
const (
	// NotHeeded: an inbound message that is neither in force, nor held, nor under review.
	NotHeeded Code = "not_heeded"
	// ReachMissing: an inbound message does not reach a legal entity that sends from the number that
	// it came to.
	ReachMissing Code = "reach_missing"
	// HoldMissing: an unplaced message names a hold in a stream, and the hold never came.
	HoldMissing Code = "hold_missing"
	// HoldUnfounded: a hold names an unplaced message that there is not, or that does not name it.
	HoldUnfounded Code = "hold_unfounded"
	// WordsMissing: the holds of an unplaced message ended, and its words were not placed before that.
	WordsMissing Code = "words_missing"
	// LiftTooFar: a START, joined parts or a review ended an opt-out that was not theirs to end.
	LiftTooFar Code = "lift_too_far"
)

// maxFindings is how many findings a report lists. All are counted.
const maxFindings = 1000

// Report is the result of a verification.
type Report struct {
	// Events is how many events were read. Effective and Void say how many of those that could be
	// judged are effective, and how many are void, by reason.
	Events    int64                   `json:"events"`
	Effective int64                   `json:"effective"`
	Void      map[recipient.Why]int64 `json:"void"`
	// Opaque counts the records that are no events of this ledger, each of which an operator
	// accepted by its hash.
	Opaque int64 `json:"opaque,omitempty"`
	// Streams counts the streams of recipients.
	Streams int64 `json:"streams"`
	// Messages counts the messages by their status at the end of the ledger.
	Messages map[recipient.Status]int64 `json:"messages"`
	// Calls counts the effective starts: for each, a carrier may have been called.
	Calls int64 `json:"calls"`
	// Audit counts the events of the audit log, by type. They are counted in Events too.
	Audit map[event.Type]int64 `json:"audit,omitempty"`
	// Reviews are the inbound messages that an officer has yet to read at the end of the ledger.
	Reviews map[ReviewKind]Reviews `json:"reviews,omitempty"`
	// Total counts all findings, and Codes those of each kind.
	Total int64          `json:"found"`
	Codes map[Code]int64 `json:"codes,omitempty"`
	// Findings are the first maxFindings findings, in the order in which they were found.
	Findings []Finding `json:"findings,omitempty"`
	// First is the first finding of each partition. Read these before all others: later findings
	// in a partition may only follow from its first.
	First []Finding `json:"first,omitempty"`
}

// ReviewKind says why an officer has to read an inbound message: unclear, unreadable, start, held or
// unplaced, as docs/verify.md explains them, or inbox.
type ReviewKind string

// inInbox is an inbound message of format level 1 that lies in the inbox: it belongs to no recipient's
// stream.
const inInbox ReviewKind = "inbox"

// Reviews are the inbound messages of one kind that an officer has yet to read.
type Reviews struct {
	// Open counts them. Those that a later one of the same kind took the place of are not counted.
	Open int64 `json:"open"`
	// Oldest is when the first of them came.
	Oldest time.Time `json:"oldest"`
}

// review counts an inbound message that came at that time and that an officer has yet to read.
func (r *Report) review(kind ReviewKind, since time.Time) {
	if r.Reviews == nil {
		r.Reviews = map[ReviewKind]Reviews{}
	}
	all := r.Reviews[kind]
	if all.Open++; all.Open == 1 || since.Before(all.Oldest) {
		all.Oldest = since
	}
	r.Reviews[kind] = all
}

func newReport() Report {
	return Report{Void: map[recipient.Why]int64{}, Messages: map[recipient.Status]int64{}, Codes: map[Code]int64{}}
}

// add adds the report of a partition, whose findings come after those that there are.
func (r *Report) add(o *Report) {
	r.Events += o.Events
	r.Effective += o.Effective
	r.Opaque += o.Opaque
	r.Streams += o.Streams
	r.Calls += o.Calls
	r.Total += o.Total
	sum(&r.Void, o.Void)
	sum(&r.Messages, o.Messages)
	sum(&r.Codes, o.Codes)
	sum(&r.Audit, o.Audit)
	for kind, all := range o.Reviews {
		if r.Reviews == nil {
			r.Reviews = map[ReviewKind]Reviews{}
		}
		had := r.Reviews[kind]
		if had.Open > 0 && had.Oldest.Before(all.Oldest) {
			all.Oldest = had.Oldest
		}
		all.Open += had.Open
		r.Reviews[kind] = all
	}
	r.Findings = append(r.Findings, o.Findings[:min(len(o.Findings), maxFindings-len(r.Findings))]...)
	r.First = append(r.First, o.First...)
}

// sum adds counts, by what they count.
func sum[K comparable](to *map[K]int64, counts map[K]int64) {
	for k, n := range counts {
		if *to == nil {
			*to = map[K]int64{}
		}
		(*to)[k] += n
	}
}

// OK reports whether nothing was found.
func (r *Report) OK() bool { return r.Total == 0 }
