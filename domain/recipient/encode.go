package recipient

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/recipient/internal/octets"
)

// version is the first octet of the form in bytes. Stores have what earlier versions wrote: a change of the fields below, or of
// how one is written, is a new version, and the old one is still read. JSON begins with '{'.
const version = 1

// AppendEncoded appends the fold to b in bytes, for Decode. As in JSON, what is not UTF-8 in a text becomes U+FFFD. Times become
// UTC.
func (s *State) AppendEncoded(b []byte) []byte {
	f := octets.Append(b, version)
	stateFields(&f, s)
	return f.Written()
}

// Decode reads what AppendEncoded wrote, or a fold as JSON. Its errors say nothing of what the fold holds. What it allocates is
// bounded by the length of b, times some hundreds.
func Decode(b []byte) (*State, error) {
	s := new(State)
	if isJSON(b) {
		err := readJSON(b, s)
		if err == nil && slices.Contains(s.Messages, nil) {
			err = errors.New("a message is null")
		}
		return decoded(s, err)
	}
	f := octets.Read(b, version)
	stateFields(&f, s)
	return decoded(s, f.End())
}

func appendMessage(b []byte, m *Message) []byte { return appendRow(b, messageFields, m) }

// DecodeMessage reads the body of a RowMessage. Its errors say nothing of what the message holds.
func DecodeMessage(b []byte) (*Message, error) { return decodeRow(b, messageFields) }

func appendFact(b []byte, x *rememberedFact) []byte { return appendRow(b, factFields, x) }

func decodeFact(b []byte) (*rememberedFact, error) { return decodeRow(b, factFields) }

func appendRow[T any](b []byte, fields func(*octets.Form, *T), x *T) []byte {
	f := octets.Append(b, version)
	fields(&f, x)
	return f.Written()
}

func decodeRow[T any](b []byte, fields func(*octets.Form, *T)) (*T, error) {
	x := new(T)
	if isJSON(b) {
		return decoded(x, readJSON(b, x))
	}
	f := octets.Read(b, version)
	fields(&f, x)
	return decoded(x, f.End())
}

func isJSON(b []byte) bool { return len(b) > 0 && b[0] == '{' }

func readJSON(b []byte, v any) error {
	if json.Unmarshal(b, v) != nil { // its error may quote what it read
		return errors.New("it is not the JSON of one")
	}
	return nil
}

// decoded is what was read, if err is nil.
func decoded[T any](x *T, err error) (*T, error) {
	if err != nil {
		return nil, fmt.Errorf("a fold or row of a stream cannot be read: %w", err)
	}
	return x, nil
}

// The functions below say which fields a struct has and in which order, and the same function writes and reads: so what is written
// and what is read cannot differ.

func stateFields(f *octets.Form, s *State) {
	outer := f.Open()
	octets.Word(f, &s.Tenant)
	octets.ID(f, &s.Subject)
	octets.ID(f, &s.Last)
	octets.Num(f, &s.Facts)
	octets.ID(f, &s.Key)
	f.Flag(&s.Texted)
	for i := range octets.List(f, &s.OptOuts) {
		optOutFields(f, &s.OptOuts[i])
	}
	for i := range octets.List(f, &s.Messages) {
		if f.Reading() {
			s.Messages[i] = new(Message)
		}
		messageFields(f, s.Messages[i])
		if f.Failed() {
			break
		}
	}
	for i := range octets.List(f, &s.Cancels) {
		rememberedFields(f, &s.Cancels[i])
	}
	for i := range octets.List(f, &s.Asks) {
		askFields(f, &s.Asks[i])
	}
	for i := range octets.List(f, &s.Inbound) {
		inboundFields(f, &s.Inbound[i])
	}
	for i := range octets.List(f, &s.Joined) {
		joinedFields(f, &s.Joined[i])
	}
	for i := range octets.List(f, &s.Reviews) {
		reviewFields(f, &s.Reviews[i])
	}
	for i := range octets.List(f, &s.Starts) {
		digestFields(f, &s.Starts[i])
	}
	for i := range octets.List(f, &s.Answered) {
		answeredFields(f, &s.Answered[i])
	}
	for i := range octets.List(f, (*[]toldTail)(&s.Tails)) {
		tailFields(f, &s.Tails[i])
	}
	for i := range octets.List(f, &s.Remembered) {
		rememberedFields(f, &s.Remembered[i])
	}
	if f.Has(s.Apart != nil) {
		if f.Reading() {
			s.Apart = new(Apart)
		}
		apartFields(f, s.Apart)
	}
	f.Close(outer)
}

func rememberedFields(f *octets.Form, x *Remembered) {
	outer := f.Open()
	octets.ID(f, &x.ID)
	f.Time(&x.At)
	f.Close(outer)
}

func optOutFields(f *octets.Form, o *OptOut) {
	outer := f.Open()
	octets.ID(f, &o.Event)
	octets.Num(f, &o.Index)
	reachFields(f, &o.Reach)
	octets.Word(f, &o.Source)
	f.Time(&o.Known)
	f.Time(&o.Occurred)
	f.Flag(&o.Unclear)
	f.Flag(&o.Part)
	octets.Word(f, &o.To)
	octets.Word(f, &o.Holds)
	octets.ID(f, &o.Stream)
	octets.Num(f, &o.Repeats)
	octets.ID(f, &o.First)
	f.Close(outer)
}

func reachFields(f *octets.Form, r *event.Reach) {
	outer := f.Open()
	octets.Word(f, &r.Scope)
	octets.Word(f, &r.Name)
	f.Close(outer)
}

func reviewFields(f *octets.Form, r *Review) {
	outer := f.Open()
	octets.ID(f, &r.Event)
	octets.Num(f, &r.Index)
	octets.Word(f, &r.Kind)
	octets.Word(f, &r.To)
	f.Time(&r.Since)
	octets.Num(f, &r.Repeats)
	octets.Word(f, &r.Unplaced)
	for i := range octets.List(f, &r.Streams) {
		heldFields(f, &r.Streams[i])
	}
	octets.ID(f, &r.Stream)
	f.Close(outer)
}

func heldFields(f *octets.Form, h *event.HeldStream) {
	outer := f.Open()
	octets.Word(f, &h.Tenant)
	octets.ID(f, &h.Subject)
	octets.ID(f, &h.Event)
	f.Close(outer)
}

func joinedFields(f *octets.Form, j *joinedMessage) {
	outer := f.Open()
	octets.Word(f, &j.Account)
	octets.Word(f, &j.To)
	concatFields(f, &j.Concat)
	for i := range octets.ListOrNull(f, &j.Parts) {
		octets.Number(f, &j.Parts[i])
	}
	for i := range octets.ListOrNull(f, &j.Numbers) {
		octets.Number(f, &j.Numbers[i])
	}
	f.Time(&j.At)
	f.Close(outer)
}

func concatFields(f *octets.Form, c *event.Concat) {
	outer := f.Open()
	octets.Num(f, &c.Reference)
	octets.Num(f, &c.Part)
	octets.Num(f, &c.Parts)
	f.Close(outer)
}

func digestFields(f *octets.Form, d *digestAt) {
	outer := f.Open()
	octets.Str(f, &d.Digest)
	f.Time(&d.At)
	f.Close(outer)
}

func answeredFields(f *octets.Form, a *answeredAt) {
	outer := f.Open()
	octets.Word(f, &a.Program)
	f.Time(&a.At)
	f.Close(outer)
}

func tailFields(f *octets.Form, t *toldTail) {
	outer := f.Open()
	octets.Word(f, &t.Account)
	f.Time(&t.At)
	f.Close(outer)
}

func askFields(f *octets.Form, a *Ask) {
	outer := f.Open()
	octets.ID(f, &a.Inbound)
	octets.Num(f, &a.Index)
	octets.Word(f, &a.Kind)
	f.Time(&a.At)
	octets.Word(f, &a.To)
	octets.Word(f, &a.Program)
	for i := range octets.List(f, &a.Lifts) {
		octets.WholeID(f, &a.Lifts[i])
	}
	for i := range octets.List(f, &a.Unsure) {
		octets.Number(f, &a.Unsure[i])
	}
	f.Close(outer)
}

func inboundFields(f *octets.Form, x *inboundPart) {
	outer := f.Open()
	octets.ID(f, &x.Event)
	octets.Num(f, &x.Index)
	octets.Word(f, &x.Account)
	octets.Word(f, &x.To)
	octets.Word(f, &x.Program)
	concatFields(f, &x.Concat)
	reachFields(f, &x.Reach)
	f.Time(&x.At)
	for i := range octets.List(f, &x.More) {
		reachFields(f, &x.More[i])
	}
	for i := range octets.List(f, &x.Programs) {
		octets.Text(f, &x.Programs[i])
	}
	octets.Num(f, &x.Read)
	f.Flag(&x.V2)
	f.Close(outer)
}

func messageFields(f *octets.Form, m *Message) {
	outer := f.Open()
	octets.ID(f, &m.ID)
	octets.Num(f, &m.Index)
	octets.Word(f, &m.Program)
	octets.Word(f, &m.Purpose)
	octets.Num(f, &m.Priority)
	octets.Word(f, &m.From)
	octets.Word(f, &m.Country)
	for i := range octets.List(f, &m.Places) {
		octets.Text(f, &m.Places[i])
	}
	octets.Num(f, &m.Segments)
	octets.ID(f, &m.Answers)
	octets.Word(f, &m.Reply)
	octets.Word(f, &m.Status)
	f.Time(&m.SendAt)
	f.Time(&m.ValidUntil)
	f.Time(&m.Due)
	octets.Word(f, &m.Fault)
	octets.Num(f, &m.DecidedUnder)
	f.Time(&m.AllowUntil)
	octets.Num(f, &m.AllowFacts)
	for i := range octets.List(f, &m.AllowSenders) {
		octets.Text(f, &m.AllowSenders[i])
	}
	octets.Word(f, &m.Carrier)
	octets.Word(f, &m.Sender)
	f.Flag(&m.PrefersDuplicate)
	f.Flag(&m.NoLater)
	f.Flag(&m.Recovered)
	octets.Num(f, &m.Parts)
	for i := range octets.List(f, &m.Attempts) {
		attemptFields(f, &m.Attempts[i])
	}
	f.Time(&m.Changed)
	f.Time(&m.ReceiptBy)
	octets.Num(f, &m.Holds)
	f.Close(outer)
}

func attemptFields(f *octets.Form, a *Attempt) {
	outer := f.Open()
	octets.ID(f, &a.Start)
	octets.Word(f, &a.Carrier)
	f.Time(&a.CallBy)
	f.Time(&a.AnswerBy)
	octets.Num(f, &a.Reference)
	for i := range octets.ListOrNull(f, &a.Parts) {
		partFields(f, &a.Parts[i])
	}
	f.Close(outer)
}

func partFields(f *octets.Form, p *Part) {
	outer := f.Open()
	octets.Num(f, &p.Part)
	octets.Word(f, &p.Status)
	octets.Str(f, &p.CarrierID)
	f.Flag(&p.NotCalled)
	octets.Word(f, &p.Receipt)
	f.Flag(&p.Final)
	f.Close(outer)
}

func apartFields(f *octets.Form, a *Apart) {
	outer := f.Open()
	f.Time(&a.Messages)
	octets.Num(f, &a.First)
	f.Time(&a.Facts)
	octets.Num(f, &a.Floor)
	for i := range octets.List(f, &a.Sent) {
		sentFields(f, &a.Sent[i])
	}
	f.Close(outer)
}

func sentFields(f *octets.Form, x *SentMessage) {
	outer := f.Open()
	octets.Num(f, &x.Index)
	octets.Word(f, &x.Program)
	octets.Word(f, &x.From)
	f.Flag(&x.Reply)
	f.Time(&x.Until)
	f.Close(outer)
}

func factFields(f *octets.Form, x *rememberedFact) {
	outer := f.Open()
	octets.Num(f, &x.Number)
	f.Time(&x.At)
	f.Close(outer)
}
