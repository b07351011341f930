package reading

import (
	"strings"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/recipient"
)

// Message is one message's whole life, as the views keep it. It holds no number
// and no body: those stay sealed in Content, until a Reader opens them.
type Message struct {
	ID      event.ID        `json:"id"`
	Tenant  string          `json:"tenant"`
	Subject event.Pseudonym `json:"subject"`
	// Position is where its submit stands.
	Position event.Position   `json:"position"`
	Status   recipient.Status `json:"status"`

	Program    string        `json:"program"`
	Purpose    string        `json:"purpose"`
	Priority   int           `json:"priority,omitempty"`
	From       string        `json:"from"` // asked for
	Country    string        `json:"country,omitempty"`
	Places     []event.Place `json:"places,omitempty"`
	Encoding   string        `json:"encoding"`
	Segments   int           `json:"segments"`
	SendAt     time.Time     `json:"send_at,omitzero"`
	ValidUntil time.Time     `json:"valid_until"`
	By         string        `json:"by"`
	Answers    event.ID      `json:"answers,omitzero"`
	Content    event.Sealed  `json:"content"`

	// Decision is the last effective one; Decisions counts them.
	Decision  *Decision `json:"decision,omitempty"`
	Decisions int       `json:"decisions,omitempty"`
	Route     *Route    `json:"route,omitempty"`
	Attempts  []Attempt `json:"attempts,omitempty"`
	// Epoch is the ledger's epoch, of a message from before it that was sent in it (the recipient may
	// have got it before), or that was recovered in it; 0 for every other message. Recovered is the
	// status in which a recovered message was known to be.
	Epoch     int    `json:"epoch,omitempty"`
	Recovered string `json:"recovered,omitempty"`
	// CancelRequested is when a cancel was asked for.
	CancelRequested time.Time `json:"cancel_requested,omitzero"`

	Accepted time.Time `json:"accepted"`         // the submit's time
	Decided  time.Time `json:"decided,omitzero"` // the last decision
	Started  time.Time `json:"started,omitzero"` // the last attempt's start
	Sent     time.Time `json:"sent,omitzero"`    // the first time every part was taken
	Settled  time.Time `json:"settled,omitzero"` // when it came into a state that is not open
	Changed  time.Time `json:"changed"`          // the last event's time

	// Events are all its events in order, void ones included.
	Events []Entry `json:"events"`
}

// Entry is where one of a message's events stands, and whether it counts.
type Entry struct {
	Index int64         `json:"i"`
	Why   recipient.Why `json:"why,omitempty"`
}

// Decision is an effective MessageDecided.
type Decision struct {
	Event   event.ID              `json:"event"`
	At      time.Time             `json:"at"`
	Control int64                 `json:"control"`
	Data    *event.MessageDecided `json:"data"`
}

// Route is an effective MessageRouted.
type Route struct {
	Data *event.MessageRouted `json:"data"`
}

// Attempt is an effective HandoffStarted and what came of it.
type Attempt struct {
	Number    int       `json:"number"`
	Carrier   string    `json:"carrier"`
	From      string    `json:"from"`
	StartedAt time.Time `json:"started_at"`
	CallBy    time.Time `json:"call_by"`
	AnswerBy  time.Time `json:"answer_by"`
	Duplicate bool      `json:"duplicate,omitempty"`
	// Reference is the first part's user_message_reference, and part n has
	// Reference+n-1; 0: none, or none that was stored.
	Reference int `json:"reference,omitempty"`
	// Epoch is HandoffStarted.Epoch.
	Epoch int    `json:"epoch,omitempty"`
	Parts []Part `json:"parts"`
}

// Part is one part of an attempt.
type Part struct {
	Part   int                  `json:"part"`
	Status recipient.PartStatus `json:"status"`
	// CarrierID and AnsweredAt are the carrier's answer; Code and Reason its refusal.
	CarrierID  string    `json:"carrier_id,omitempty"`
	AnsweredAt time.Time `json:"answered_at,omitzero"`
	NotCalled  bool      `json:"not_called,omitempty"`
	Code       string    `json:"code,omitempty"`
	Reason     string    `json:"reason,omitempty"`
	// Receipt is the state of the receipt that counts, and its grade (network,
	// handset, inferred), match and error; Receipts counts all that came.
	Receipt   event.MessageState `json:"receipt,omitempty"`
	Final     bool               `json:"final,omitempty"`
	Grade     event.Grade        `json:"grade,omitempty"`
	Match     event.Match        `json:"match,omitempty"`
	Error     string             `json:"error,omitempty"`
	ReceiptAt time.Time          `json:"receipt_at,omitzero"`
	Receipts  int                `json:"receipts,omitempty"`
}

// Submitted reports whether the submit was seen. Before that a message is a mere
// placeholder for a cancel that came first, and no query shows it.
func (m *Message) Submitted() bool { return !m.Accepted.IsZero() }

// Lost reports whether the ledger has lost its submit, and with it the number and the text.
func (m *Message) Lost() bool { return m.Recovered != "" && len(m.Content.Box) == 0 }

// MayChange reports whether more than a contradiction can still change the status.
func (m *Message) MayChange() bool {
	return m.Status.Open() || m.Status == recipient.InDoubt || m.Status == recipient.Unconfirmed
}

// Carrier is the account of the last route; "" before the first.
func (m *Message) Carrier() string {
	if m.Route == nil {
		return ""
	}
	return m.Route.Data.Carrier
}

// SentFrom is the sender of the last attempt; "" before the first.
func (m *Message) SentFrom() string {
	if n := len(m.Attempts); n > 0 {
		return m.Attempts[n-1].From
	}
	return ""
}

// grades orders how well a receipt's word is known.
var grades = map[event.Grade]int{event.GradeInferred: 1, event.GradeNetwork: 2, event.GradeHandset: 3}

// Grade is the weakest among the receipts that count: a message is known no better
// than its least known part. It is "" without a receipt.
func (m *Message) Grade() event.Grade {
	var weakest event.Grade
	for _, a := range m.Attempts {
		for _, p := range a.Parts {
			if g := grades[p.Grade]; g > 0 && (weakest == "" || g < grades[weakest]) {
				weakest = p.Grade
			}
		}
	}
	return weakest
}

// LocalTime is the time in a zone in which the recipient may be.
type LocalTime struct{ Zone, Time string }

// LocalTimes are the recipient's at the last decision; nil before the first.
func (m *Message) LocalTimes() []LocalTime {
	if m.Decision == nil {
		return nil
	}
	out := make([]LocalTime, len(m.Decision.Data.Clocks))
	for i, clock := range m.Decision.Data.Clocks {
		out[i].Zone, out[i].Time, _ = strings.Cut(string(clock), " ")
	}
	return out
}
