package recipient

import (
	"slices"
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

// State is one stream, folded. Views hold it in bytes (AppendEncoded) or as JSON.
type State struct {
	Tenant  string          `json:"tenant"`
	Subject event.Pseudonym `json:"subject"`
	// Last is the last effective event that can change a decision.
	Last event.ID `json:"last"`
	// Facts counts the facts among those. An allow that was given at another count no longer stands.
	Facts int64 `json:"facts,omitempty"`
	// Key is the person's current key.
	Key event.ID `json:"key"`
	// Texted: something was once handed to a carrier for this recipient.
	Texted   bool       `json:"texted,omitempty"`
	OptOuts  []OptOut   `json:"opt_outs,omitempty"`
	Messages []*Message `json:"messages,omitempty"`
	// Cancels are cancels whose submit has not landed yet.
	Cancels []Remembered `json:"cancels,omitempty"`
	// Asks are inbound messages that want an event of ours.
	Asks []Ask `json:"asks,omitempty"`
	// Inbound are parts of inbound messages that wait for the other parts.
	Inbound []inboundPart `json:"inbound,omitempty"`
	// Joined are inbound messages of several parts that were joined lately: a copy of one of their parts
	// is told by them.
	Joined []joinedMessage `json:"joined,omitempty"`
	// Reviews are inbound messages that an officer has yet to read and that stop nothing by themselves.
	// Those that do are among OptOuts: see OpenReviews.
	Reviews []Review `json:"reviews,omitempty"`
	// Starts are the STARTs that came lately, to tell one that a carrier delivers twice.
	Starts []digestAt `json:"starts,omitempty"`
	// Answered are the automatic answers that were asked for lately, to bound them.
	Answered []answeredAt `json:"answered,omitempty"`
	// Tails say for which carrier accounts a hand-off told the tail of the number lately.
	Tails toldTails `json:"tails,omitempty"`
	// Remembered are the facts that were folded within RepeatWindow, to tell repeats; from format level 3 on, the last 512.
	Remembered []Remembered `json:"seen,omitempty"`
	// Apart says what of the stream is in rows of its own; nil: nothing is. Then Messages and Remembered are all there are.
	Apart *Apart `json:"apart,omitempty"`

	byID   map[event.ID]*Message // the messages by id, if there are many; nil: to be made
	oldest time.Time             // the first instant at which a message may have to be pruned; zero: not known
}

// Remembered is an event (or a message) and when it was folded, in the partition's time.
type Remembered struct {
	ID event.ID  `json:"id"`
	At time.Time `json:"at"`
}

// OptOut is an opt-out that stands.
type OptOut struct {
	Event    event.ID     `json:"event"`
	Index    int64        `json:"index"`
	Reach    event.Reach  `json:"reach"`
	Source   event.Source `json:"source"`
	Known    time.Time    `json:"known"`
	Occurred time.Time    `json:"occurred,omitzero"`
	Unclear  bool         `json:"unclear,omitempty"`
	// Part: it is a part of an inbound message, which suppresses until its words can be read with
	// those of the other parts.
	Part bool `json:"part,omitempty"`
	// To is our number that it came to; "" if it did not come from a handset, or came before format
	// level 2.
	To string `json:"to,omitempty"`
	// Holds says why it is held, for what is unclear since format level 2.
	Holds ReviewKind `json:"holds,omitempty"`
	// Stream is the operator's stream that has the words of an inbound message which is certain for no
	// recipient.
	Stream event.Pseudonym `json:"stream,omitzero"`
	// Repeats is how many older opt-outs of the same reach it took the place of, and First the first of
	// them: a confirmation that is on its way answers that one.
	Repeats int      `json:"repeats,omitempty"`
	First   event.ID `json:"first,omitzero"`
}

// ReviewKind says why an officer has to read an inbound message.
type ReviewKind string

const (
	// ReviewUnclear: the words may be a revocation.
	ReviewUnclear ReviewKind = "unclear"
	// ReviewUnreadable: the octets cannot be read, or a part never came.
	ReviewUnreadable ReviewKind = "unreadable"
	// ReviewStart: a START that lifted nothing although an opt-out stands.
	ReviewStart ReviewKind = "start"
	// ReviewHeld: it may be of this recipient or for this tenant. The operator has the words, and places
	// them.
	ReviewHeld ReviewKind = "held"
	// ReviewUnplaced, in a stream of the operator: it is certain for no recipient and tenant.
	ReviewUnplaced ReviewKind = "unplaced"
)

// ReviewKinds are all kinds.
func ReviewKinds() []ReviewKind {
	return []ReviewKind{ReviewUnclear, ReviewUnreadable, ReviewStart, ReviewHeld, ReviewUnplaced}
}

// Review is an inbound message that an officer has yet to read.
type Review struct {
	// Event is the event under review: the inbound message, or what its joined parts showed. It is
	// the newest one if several of one kind came.
	Event event.ID `json:"event"`
	// Index is the position of Event.
	Index int64      `json:"index"`
	Kind  ReviewKind `json:"kind"`
	// To is our number that it came to.
	To string `json:"to,omitempty"`
	// Since is when the first of them came.
	Since time.Time `json:"since"`
	// Repeats is how many older ones it took the place of.
	Repeats int `json:"repeats,omitempty"`
	// Unplaced says why the message is not certain; Streams are the streams that it holds.
	Unplaced event.UnplacedReason `json:"unplaced,omitempty"`
	Streams  []event.HeldStream   `json:"streams,omitempty"`
	// Stream is the operator's stream that has the words of what is only held here.
	Stream event.Pseudonym `json:"stream,omitzero"`
}

// joinedMessage is an inbound message whose parts were joined.
type joinedMessage struct {
	Account string       `json:"account"`
	To      string       `json:"to"`
	Concat  event.Concat `json:"concat"`
	// Parts are the positions of its parts, in order, and Numbers their numbers within the message.
	Parts   []int64   `json:"parts"`
	Numbers []int     `json:"numbers"`
	At      time.Time `json:"at"`
}

// digestAt is an inbound message by the digest of its octets.
type digestAt struct {
	Digest string    `json:"digest"`
	At     time.Time `json:"at"`
}

// answeredAt is an automatic answer.
type answeredAt struct {
	Program string    `json:"program"`
	At      time.Time `json:"at"`
}

// AskKind is what an inbound message wants of us.
type AskKind string

const (
	// AskConfirm wants the one confirmation of an opt-out.
	AskConfirm AskKind = "stop"
	// AskHelp wants the HELP text.
	AskHelp AskKind = "help"
	// AskWelcome wants the program's answer to a START.
	AskWelcome AskKind = "welcome"
	// AskLift wants a lift of the opt-outs that stood.
	AskLift AskKind = "start"
)

// Ask is an inbound message that wants an event of ours.
type Ask struct {
	// Inbound is the event that is answered: the inbound message, or the opt-out that its joined parts
	// showed.
	Inbound event.ID `json:"inbound"`
	// Index is the position of an event that has the sender's number sealed in it.
	Index int64     `json:"index"`
	Kind  AskKind   `json:"kind"`
	At    time.Time `json:"at"`
	// To is our number that it was sent to, and Program the program that owns that number.
	To      string `json:"to"`
	Program string `json:"program,omitempty"`
	// Lifts are the opt-outs that a START lifts.
	Lifts []event.ID `json:"lifts,omitempty"`
	// Unsure are those of Lifts of which the fold does not know to which of our numbers they came (they
	// are from before format level 2), by position. The clerk reads them, and lifts only those that came
	// to the number of the START.
	Unsure []int64 `json:"unsure,omitempty"`
}

// inboundPart is a part of an inbound message that waits for the other parts.
type inboundPart struct {
	Event   event.ID     `json:"event"`
	Index   int64        `json:"index"`
	Account string       `json:"account"`
	To      string       `json:"to"`
	Program string       `json:"program,omitempty"`
	Concat  event.Concat `json:"concat"`
	Reach   event.Reach  `json:"reach"`
	At      time.Time    `json:"at"`
	// More are further reaches, Programs all programs of the number, and Read how far the adapter had
	// read (format level 2).
	More     []event.Reach `json:"more,omitempty"`
	Programs []string      `json:"programs,omitempty"`
	Read     int64         `json:"read,omitempty"`
	V2       bool          `json:"v2,omitempty"`
}

// Message is one message of the stream.
type Message struct {
	ID event.ID `json:"id"`
	// Index is its submit's position.
	Index    int64         `json:"index"`
	Program  string        `json:"program"`
	Purpose  string        `json:"purpose"`
	Priority int           `json:"priority,omitempty"`
	From     string        `json:"from"`
	Country  string        `json:"country,omitempty"`
	Places   []event.Place `json:"places,omitempty"`
	Segments int           `json:"segments"`
	Answers  event.ID      `json:"answers,omitzero"`
	// Reply is what the inbound message asked for that this message answers; "" for other messages.
	Reply AskKind `json:"reply,omitempty"`

	Status     Status    `json:"status"`
	SendAt     time.Time `json:"send_at,omitzero"`
	ValidUntil time.Time `json:"valid_until"`
	// Due is the earliest time of the next decision; zero: now.
	Due time.Time `json:"due,omitzero"`
	// Fault says why it is held.
	Fault event.Fault `json:"fault,omitempty"`
	// DecidedUnder is the control position of the last decision.
	DecidedUnder int64 `json:"decided_under,omitempty"`
	// AllowUntil, AllowFacts and AllowSenders are the last allow: until when, at which State.Facts, and
	// for which senders it was given. Whether it still stands, the rule says.
	AllowUntil   time.Time `json:"allow_until,omitzero"`
	AllowFacts   int64     `json:"allow_facts,omitempty"`
	AllowSenders []string  `json:"allow_senders,omitempty"`
	// Carrier and Sender are the route, once routed under that allow.
	Carrier string `json:"carrier,omitempty"`
	Sender  string `json:"sender,omitempty"`

	PrefersDuplicate bool `json:"prefers_duplicate,omitempty"`
	// NoLater: a cancel landed after a hand-off had started; no later attempt is made.
	NoLater bool `json:"no_later,omitempty"`
	// Recovered: the ledger had lost events of it. It is never sent again.
	Recovered bool      `json:"recovered,omitempty"`
	Parts     int       `json:"parts,omitempty"`
	Attempts  []Attempt `json:"attempts,omitempty"`
	// Changed is the partition's time when its status last changed.
	Changed time.Time `json:"changed"`
	// ReceiptBy is when its receipts are overdue.
	ReceiptBy time.Time `json:"receipt_by,omitzero"`
	// Holds counts holds in a row, for their back-off.
	Holds int `json:"holds,omitempty"`
}

// Attempt is one hand-off of some or all parts of a message.
type Attempt struct {
	Start    event.ID  `json:"start"`
	Carrier  string    `json:"carrier"`
	CallBy   time.Time `json:"call_by"`
	AnswerBy time.Time `json:"answer_by"`
	// Reference is the first part's user_message_reference.
	Reference uint16 `json:"reference,omitempty"`
	Parts     []Part `json:"parts"`
}

// PartStatus is what came of one part in one attempt.
type PartStatus string

const (
	// PartOpen: the carrier is called for it or will be, and has not answered.
	PartOpen PartStatus = "open"
	// PartTaken: the carrier accepted it and gave an id.
	PartTaken PartStatus = "accepted"
	// PartRetry: the carrier refused it, and it may be offered once more.
	PartRetry PartStatus = "retry"
	// PartFinal: the carrier refused it for good.
	PartFinal PartStatus = "refused"
	// PartInDoubt: the carrier did not answer in time, so it may have it or not.
	PartInDoubt PartStatus = "in_doubt"
)

// Part is one part in one attempt.
type Part struct {
	Part      int        `json:"part"`
	Status    PartStatus `json:"status"`
	CarrierID string     `json:"carrier_id,omitempty"`
	NotCalled bool       `json:"not_called,omitempty"`
	// Receipt is the furthest state that a receipt reported, "" before the first.
	Receipt event.MessageState `json:"receipt,omitempty"`
	Final   bool               `json:"final,omitempty"`
}

// New is a stream before its first event.
func New(tenant string, subject event.Pseudonym) *State {
	return &State{Tenant: tenant, Subject: subject}
}

// manyMessages is how many messages a state has at least that keeps them by id too.
const manyMessages = 16

// Message finds a message of the stream; nil when the fold does not hold it. One that is in a row is found while an event is
// folded that names it.
func (s *State) Message(id event.ID) *Message {
	if n := len(s.Messages); n >= manyMessages {
		if len(s.byID) != n {
			s.byID = make(map[event.ID]*Message, 2*n)
			for _, m := range slices.Backward(s.Messages) {
				s.byID[m.ID] = m
			}
		}
		return s.byID[id]
	}
	for _, m := range s.Messages {
		if m.ID == id {
			return m
		}
	}
	return nil
}

// part finds a part of an attempt; nil when there is none.
func (s *State) part(message event.ID, attempt, part int) (*Message, *Part) {
	m := s.Message(message)
	if m == nil || attempt < 1 || attempt > len(m.Attempts) {
		return nil, nil
	}
	a := &m.Attempts[attempt-1]
	for i := range a.Parts {
		if a.Parts[i].Part == part {
			return m, &a.Parts[i]
		}
	}
	return m, nil
}

// KeepSettled is how long, in the log's own time, a message stays in the fold after its validity and
// after its last change: late receipts still find it.
const KeepSettled = 7 * 24 * time.Hour

// prune forgets what the log's own time has passed: what tells repeats, cancels whose submit never
// came, asks that are too late to answer, messages with nothing more to do.
func (s *State) prune(p *PartitionState) {
	old := func(x Remembered) bool { return p.Time.Sub(x.At) > RepeatWindow }
	if len(s.Remembered) > 0 && old(s.Remembered[0]) { // they are in the order of their times
		n := slices.IndexFunc(s.Remembered, func(x Remembered) bool { return !old(x) })
		if n < 0 {
			n = len(s.Remembered)
		}
		RowsOf(s).forget(n)
	}
	if len(s.Cancels) > 0 && old(s.Cancels[0]) {
		s.Cancels = slices.DeleteFunc(s.Cancels, old)
	}
	s.Asks = slices.DeleteFunc(s.Asks, func(a Ask) bool { return a.Kind != AskLift && p.Time.Sub(a.At) > ReplyWithin })
	s.Joined = slices.DeleteFunc(s.Joined, func(j joinedMessage) bool { return p.Time.Sub(j.At) > copiesWithin })
	s.Starts = slices.DeleteFunc(s.Starts, func(d digestAt) bool { return p.Time.Sub(d.At) > copiesWithin })
	s.Answered = slices.DeleteFunc(s.Answered, func(a answeredAt) bool { return p.Time.Sub(a.At) > answerWindow })
	s.Tails = slices.DeleteFunc(s.Tails, func(t toldTail) bool { return p.Time.Sub(t.At) > TailEvery })
	RowsOf(s).pruneMessages(p)
	RowsOf(s).pruneApart(p)
}
