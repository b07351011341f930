package event

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"
)

// MaxSize is the largest size of one encoded event, in bytes.
const MaxSize = 256 << 10

// ErrUnknownType means that the event has a type, or a version of a type, that this build cannot
// read. A fold stops there: an event that cannot be read is never skipped.
var ErrUnknownType = errors.New("unknown event type")

// Encode returns the event's exact bytes, which are stored and hashed. Fields have a fixed order,
// empty fields are left out, and no release of Go changes anything: the bytes are a promise. It
// fails for a text that is not UTF-8, for a time that is not in whole milliseconds of UTC, and
// for more than MaxSize bytes.
func Encode(e *Event) ([]byte, error) { return AppendEncoded(make([]byte, 0, 512), e) }

// AppendEncoded is Encode that appends the bytes to b. After an error it returns b as it was.
func AppendEncoded(b []byte, e *Event) ([]byte, error) {
	if o, ok := e.Data.(*Opaque); ok {
		if len(o.Raw) > MaxSize {
			return b, fmt.Errorf("a record of %d bytes is more than a ledger may have (%d)", len(o.Raw), MaxSize)
		}
		return append(b, o.Raw...), nil
	}
	w := encoder{b: b, first: true}
	start := len(b)
	w.b = append(w.b, '{')
	w.str("specversion", "1.0")
	w.id("id", e.ID)
	w.str("source", e.Source)
	w.str("type", string(e.Data.Type()))
	if !e.Subject.IsZero() {
		w.str("subject", e.Subject.String())
	}
	w.time("time", e.Time)
	w.str("tenant", e.Tenant)
	w.id("message", e.Message)
	w.id("after", e.After)
	w.num("control", e.Control)
	w.str("node", e.Node)
	w.obj("data", e.Data.encode)
	w.b = append(w.b, '}')
	if w.err != nil {
		return b, fmt.Errorf("encode %s: %w", e.Data.Type(), w.err)
	}
	if n := len(w.b) - start; n > MaxSize {
		return b, fmt.Errorf("encode %s: %d bytes are more than an event may have (%d)", e.Data.Type(), n, MaxSize)
	}
	return w.b, nil
}

type encoder struct {
	b     []byte
	first bool
	err   error
}

func (w *encoder) key(k string) {
	if !w.first {
		w.b = append(w.b, ',')
	}
	w.first = false
	w.b = append(w.b, '"')
	w.b = append(w.b, k...)
	w.b = append(w.b, '"', ':')
}

func (w *encoder) quote(s string) {
	if !utf8.ValidString(s) {
		w.err = errors.New("a text is not valid UTF-8")
	}
	const hex = "0123456789abcdef"
	w.b = append(w.b, '"')
	from := 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		w.b = append(w.b, s[from:i]...)
		from = i + 1
		if c == '"' || c == '\\' {
			w.b = append(w.b, '\\', c)
		} else {
			w.b = append(w.b, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
	}
	w.b = append(w.b, s[from:]...)
	w.b = append(w.b, '"')
}

func (w *encoder) str(k, s string) {
	if s != "" {
		w.key(k)
		w.quote(s)
	}
}

func strs[S ~string](w *encoder, k string, s []S) {
	if len(s) == 0 {
		return
	}
	w.key(k)
	w.b = append(w.b, '[')
	for i, v := range s {
		if i > 0 {
			w.b = append(w.b, ',')
		}
		w.quote(string(v))
	}
	w.b = append(w.b, ']')
}

func (w *encoder) id(k string, id ID) {
	if !id.IsZero() {
		w.key(k)
		w.b = append(w.b, '"')
		w.b = append(id.append(w.b), '"')
	}
}

func (w *encoder) ids(k string, ids []ID) {
	if len(ids) == 0 {
		return
	}
	w.key(k)
	w.b = append(w.b, '[')
	for i, id := range ids {
		if i > 0 {
			w.b = append(w.b, ',')
		}
		w.b = append(w.b, '"')
		w.b = append(id.append(w.b), '"')
	}
	w.b = append(w.b, ']')
}

func (w *encoder) num(k string, n int64) {
	if n != 0 {
		w.key(k)
		w.b = strconv.AppendInt(w.b, n, 10)
	}
}

func (w *encoder) nums(k string, n []int) {
	if len(n) == 0 {
		return
	}
	w.key(k)
	w.b = append(w.b, '[')
	for i, v := range n {
		if i > 0 {
			w.b = append(w.b, ',')
		}
		w.b = strconv.AppendInt(w.b, int64(v), 10)
	}
	w.b = append(w.b, ']')
}

func (w *encoder) flag(k string, v bool) {
	if v {
		w.key(k)
		w.b = append(w.b, "true"...)
	}
}

func (w *encoder) time(k string, t time.Time) {
	if t.IsZero() {
		return
	}
	if t.Nanosecond()%int(time.Millisecond) != 0 || t.Location() != time.UTC || t.Year() < 0 || t.Year() > 9999 {
		w.err = fmt.Errorf("%s is not in whole milliseconds, UTC, of a year of four digits", k)
	}
	w.key(k)
	w.b = append(w.b, '"')
	w.b = t.AppendFormat(w.b, "2006-01-02T15:04:05.000Z")
	w.b = append(w.b, '"')
}

func (w *encoder) bytes(k string, v []byte) {
	if len(v) == 0 {
		return
	}
	w.key(k)
	w.b = append(w.b, '"')
	w.b = base64.StdEncoding.AppendEncode(w.b, v)
	w.b = append(w.b, '"')
}

// obj writes an object, also an empty one.
func (w *encoder) obj(k string, f func(*encoder)) {
	w.key(k)
	w.inner(f)
}

func (w *encoder) inner(f func(*encoder)) {
	w.b = append(w.b, '{')
	w.first = true
	f(w)
	w.b = append(w.b, '}')
	w.first = false
}

// list writes a list of n objects; an empty list is left out.
func (w *encoder) list(k string, n int, f func(*encoder, int)) {
	if n == 0 {
		return
	}
	w.key(k)
	w.b = append(w.b, '[')
	for i := range n {
		if i > 0 {
			w.b = append(w.b, ',')
		}
		w.inner(func(w *encoder) { f(w, i) })
	}
	w.b = append(w.b, ']')
}

func (w *encoder) sealed(k string, s *Sealed) {
	if s == nil {
		return
	}
	w.obj(k, func(w *encoder) {
		w.num("version", int64(s.Version))
		w.id("subject_key", s.SubjectKey)
		w.str("class_key", s.ClassKey)
		w.bytes("box", s.Box)
	})
}

func (w *encoder) reach(k string, r *Reach) {
	if r == nil {
		return
	}
	w.obj(k, func(w *encoder) {
		w.str("scope", string(r.Scope))
		w.str("name", r.Name)
	})
}

func (w *encoder) reaches(k string, r []Reach) {
	w.list(k, len(r), func(w *encoder, i int) {
		w.str("scope", string(r[i].Scope))
		w.str("name", r[i].Name)
	})
}

func (w *encoder) concat(k string, c *Concat) {
	if c == nil {
		return
	}
	w.obj(k, func(w *encoder) {
		w.num("reference", int64(c.Reference))
		w.num("part", int64(c.Part))
		w.num("parts", int64(c.Parts))
	})
}

func (w *encoder) pseudonym(k string, p Pseudonym) {
	if !p.IsZero() {
		w.str(k, p.String())
	}
}

// envelope is an event as Decode reads it, before its data is decoded.
type envelope struct {
	SpecVersion string          `json:"specversion"`
	ID          ID              `json:"id"`
	Source      string          `json:"source"`
	Type        Type            `json:"type"`
	Subject     Pseudonym       `json:"subject"`
	Time        time.Time       `json:"time"`
	Tenant      string          `json:"tenant"`
	Message     ID              `json:"message"`
	After       ID              `json:"after"`
	Control     int64           `json:"control"`
	Node        string          `json:"node"`
	Data        json.RawMessage `json:"data"`
}

// Decode reads what Encode wrote. For a type that this build does not know it returns
// ErrUnknownType, for bytes that are no event of a known type another error. It accepts other
// spellings of an event than Encode's: see Canonical.
func Decode(raw []byte) (*Event, error) {
	var v envelope
	if err := strict(raw, &v); err != nil {
		return nil, fmt.Errorf("decode event: %w", err)
	}
	if v.SpecVersion != "1.0" {
		return nil, errors.New("decode event: specversion is not 1.0")
	}
	t, ok := registry[v.Type]
	if !ok {
		return nil, fmt.Errorf("%w %.80q", ErrUnknownType, string(v.Type))
	}
	e := &Event{ID: v.ID, Source: v.Source, Subject: v.Subject, Time: v.Time, Tenant: v.Tenant,
		Message: v.Message, After: v.After, Control: v.Control, Node: v.Node, Data: t.make()}
	if err := strict(v.Data, e.Data); err != nil {
		return nil, fmt.Errorf("decode %s: %w", v.Type, err)
	}
	return e, nil
}

func strict(raw []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	if d.InputOffset() != int64(len(raw)) {
		return errors.New("something follows it")
	}
	return nil
}

// Canonical reports whether raw is exactly what Encode writes for e, which Decode read from raw.
// A ledger accepts no other spelling of the same event.
func Canonical(raw []byte, e *Event) bool {
	again, err := Encode(e)
	return err == nil && bytes.Equal(raw, again)
}

type typeInfo struct {
	kind Kind
	make func() Data
}

var registry = map[Type]typeInfo{}

func register[T any, P interface {
	*T
	Data
}](kind Kind) {
	registry[P(new(T)).Type()] = typeInfo{kind, func() Data { return P(new(T)) }}
}

// Types lists every type that this build knows, in no particular order.
func Types() []Type {
	out := make([]Type, 0, len(registry))
	for t := range registry {
		out = append(out, t)
	}
	return out
}

func init() {
	register[MessageSubmitted](Fact)
	register[CancelRequested](Request)
	register[OptedOut](Fact)
	register[SuppressionLifted](Fact)
	register[MessageDecided](Outcome)
	register[MessageRouted](Outcome)
	register[HandoffStarted](Outcome)
	register[HandoffAccepted](Fact)
	register[HandoffRefused](Fact)
	register[HandoffInDoubt](Outcome)
	register[InboundReceived](Fact)
	register[ReceiptReceived](Fact)
	register[MessageExpired](Outcome)
	register[ReceiptOverdue](Outcome)
	register[ControlApplied](Fact)
	register[LedgerCreated](Control)
	register[ProgramChanged](Control)
	register[RoutesChanged](Control)
	register[PolicyActivated](Control)
	register[Paused](Control)
	register[Resumed](Control)
	register[RecordAccepted](Control)
	register[InboundReceivedV2](Fact)
	register[InboundHeld](Fact)
	register[InboundJoined](Fact)
	register[ReviewResolved](Fact)
	register[ReviewRead](Fact)
	register[LevelRaised](Control)
	register[OwnerGranted](Control)
	register[VaultBound](Control)
	register[EpochBegan](Control)
	register[EpochReleased](Control)
	register[MessageRecovered](Fact)
	register[PersonalDataRead](Audit)
	register[KeyUsed](Audit)
	register[ExportAsked](Audit)
	register[ExportEnded](Audit)
	register[ExportDownloaded](Audit)
	register[ExportDeleted](Audit)
	register[MasterKeyRotated](Audit)
}

// Type names. The version of each type is written here and nowhere else.
func (*MessageSubmitted) Type() Type  { return "MessageSubmitted.v1" }
func (*CancelRequested) Type() Type   { return "CancelRequested.v1" }
func (*OptedOut) Type() Type          { return "OptedOut.v1" }
func (*SuppressionLifted) Type() Type { return "SuppressionLifted.v1" }
func (*MessageDecided) Type() Type    { return "MessageDecided.v1" }
func (*MessageRouted) Type() Type     { return "MessageRouted.v1" }
func (*HandoffStarted) Type() Type    { return "HandoffStarted.v1" }
func (*HandoffAccepted) Type() Type   { return "HandoffAccepted.v1" }
func (*HandoffRefused) Type() Type    { return "HandoffRefused.v1" }
func (*HandoffInDoubt) Type() Type    { return "HandoffInDoubt.v1" }
func (*InboundReceived) Type() Type   { return "InboundReceived.v1" }
func (*ReceiptReceived) Type() Type   { return "ReceiptReceived.v1" }
func (*MessageExpired) Type() Type    { return "MessageExpired.v1" }
func (*ReceiptOverdue) Type() Type    { return "ReceiptOverdue.v1" }
func (*ControlApplied) Type() Type    { return "ControlApplied.v1" }
func (*LedgerCreated) Type() Type     { return "LedgerCreated.v1" }
func (*ProgramChanged) Type() Type    { return "ProgramChanged.v1" }
func (*RoutesChanged) Type() Type     { return "RoutesChanged.v1" }
func (*PolicyActivated) Type() Type   { return "PolicyActivated.v1" }
func (*Paused) Type() Type            { return "Paused.v1" }
func (*Resumed) Type() Type           { return "Resumed.v1" }
func (*RecordAccepted) Type() Type    { return "RecordAccepted.v1" }
func (*InboundReceivedV2) Type() Type { return "InboundReceived.v2" }
func (*InboundHeld) Type() Type       { return "InboundHeld.v1" }
func (*InboundJoined) Type() Type     { return "InboundJoined.v1" }
func (*ReviewResolved) Type() Type    { return "ReviewResolved.v1" }
func (*ReviewRead) Type() Type        { return "ReviewRead.v1" }
func (*LevelRaised) Type() Type       { return "LevelRaised.v1" }
func (*OwnerGranted) Type() Type      { return "OwnerGranted.v1" }
func (*VaultBound) Type() Type        { return "VaultBound.v1" }
func (*EpochBegan) Type() Type        { return "EpochBegan.v1" }
func (*EpochReleased) Type() Type     { return "EpochReleased.v1" }
func (*MessageRecovered) Type() Type  { return "MessageRecovered.v1" }
func (*PersonalDataRead) Type() Type  { return "PersonalDataRead.v1" }
func (*KeyUsed) Type() Type           { return "KeyUsed.v1" }
func (*ExportAsked) Type() Type       { return "ExportAsked.v1" }
func (*ExportEnded) Type() Type       { return "ExportEnded.v1" }
func (*ExportDownloaded) Type() Type  { return "ExportDownloaded.v1" }
func (*ExportDeleted) Type() Type     { return "ExportDeleted.v1" }
func (*MasterKeyRotated) Type() Type  { return "MasterKeyRotated.v1" }

func (d *MessageSubmitted) encode(w *encoder) {
	w.str("program", d.Program)
	w.str("purpose", d.Purpose)
	w.num("priority", int64(d.Priority))
	w.str("from", d.From)
	w.str("country", d.Country)
	strs(w, "places", d.Places)
	w.str("encoding", d.Encoding)
	w.num("segments", int64(d.Segments))
	w.time("send_at", d.SendAt)
	w.time("valid_until", d.ValidUntil)
	w.flag("prefers_duplicate", d.PrefersDuplicate)
	w.str("key", d.Key)
	w.str("input", d.Input)
	w.flag("referenced", d.Referenced)
	w.id("answers", d.Answers)
	w.str("by", d.By)
	w.sealed("sealed", &d.Sealed)
}

func (d *CancelRequested) encode(w *encoder) { w.str("by", d.By) }

func (d *OptedOut) encode(w *encoder) {
	w.reach("reach", &d.Reach)
	w.str("source", string(d.Source))
	w.time("occurred", d.Occurred)
	w.flag("unclear", d.Unclear)
	w.id("answers", d.Answers)
	w.ids("lifts", d.Lifts)
	w.str("by", d.By)
	w.sealed("sealed", d.Sealed)
}

func (d *SuppressionLifted) encode(w *encoder) {
	w.ids("lifts", d.Lifts)
	w.reaches("reaches", d.Reaches)
	w.str("source", string(d.Source))
	w.id("answers", d.Answers)
	w.str("by", d.By)
	w.sealed("sealed", d.Sealed)
}

func (d *MessageDecided) encode(w *encoder) {
	w.str("outcome", string(d.Outcome))
	w.time("until", d.Until)
	strs(w, "senders", d.Senders)
	w.list("checks", len(d.Checks), func(w *encoder, i int) {
		c := &d.Checks[i]
		w.str("check", c.Check)
		w.str("outcome", string(c.Outcome))
		strs(w, "rules", c.Rules)
		w.ids("opt_outs", c.OptOuts)
		w.time("until", c.Until)
	})
	w.str("fault", string(d.Fault))
	w.str("detail", d.Detail)
	strs(w, "clocks", d.Clocks)
	w.str("zone_data", d.ZoneData)
	w.ids("opt_outs", d.OptOuts)
	w.str("revision", d.Revision)
	w.str("digest", d.Digest)
}

func (d *MessageRouted) encode(w *encoder) {
	w.str("rule", d.Rule)
	w.num("table", d.Table)
	w.str("carrier", d.Carrier)
	w.str("from", d.From)
	w.str("encoding", d.Encoding)
	w.num("parts", int64(d.Parts))
}

func (d *HandoffStarted) encode(w *encoder) {
	w.num("attempt", int64(d.Attempt))
	w.list("parts", len(d.Parts), func(w *encoder, i int) {
		w.num("part", int64(d.Parts[i].Part))
		w.str("digest", d.Parts[i].Digest)
	})
	w.time("call_by", d.CallBy)
	w.time("answer_by", d.AnswerBy)
	w.flag("duplicate", d.Duplicate)
	w.num("reference", int64(d.Reference))
	w.str("tail", d.Tail)
	w.num("epoch", int64(d.Epoch))
}

func (d *HandoffAccepted) encode(w *encoder) {
	w.num("attempt", int64(d.Attempt))
	w.num("part", int64(d.Part))
	w.str("carrier", d.Carrier)
	w.str("carrier_id", d.CarrierID)
}

func (d *HandoffRefused) encode(w *encoder) {
	w.num("attempt", int64(d.Attempt))
	w.num("part", int64(d.Part))
	w.str("carrier", d.Carrier)
	w.flag("retry", d.Retry)
	w.flag("not_called", d.NotCalled)
	w.str("code", d.Code)
	w.str("reason", d.Reason)
}

func (d *HandoffInDoubt) encode(w *encoder) {
	w.num("attempt", int64(d.Attempt))
	w.nums("parts", d.Parts)
	w.str("why", d.Why)
}

func (d *InboundReceived) encode(w *encoder) {
	w.str("account", d.Account)
	w.str("to", d.To)
	w.str("ask", string(d.Ask))
	w.str("match", d.Match)
	w.str("program", d.Program)
	w.concat("concat", d.Concat)
	w.reach("revokes", d.Revokes)
	w.flag("unclear", d.Unclear)
	w.reach("holds", d.Holds)
	w.reaches("may_lift", d.MayLift)
	w.num("read", d.Read)
	w.sealed("sealed", &d.Sealed)
}

func (d *ReceiptReceived) encode(w *encoder) {
	w.str("account", d.Account)
	w.str("carrier_id", d.CarrierID)
	w.num("reference", int64(d.Reference))
	w.num("attempt", int64(d.Attempt))
	w.num("part", int64(d.Part))
	w.str("state", string(d.State))
	w.flag("final", d.Final)
	w.str("error", d.Error)
	w.str("grade", string(d.Grade))
	w.str("match", string(d.Match))
	w.time("received", d.Received)
	w.sealed("sealed", &d.Sealed)
}

func (*MessageExpired) encode(*encoder) {}
func (*ReceiptOverdue) encode(*encoder) {}

func (d *ControlApplied) encode(w *encoder) {
	w.num("position", d.Position)
	w.id("event", d.Event)
}

func (d *LedgerCreated) encode(w *encoder) {
	w.str("ledger", d.Ledger)
	w.num("partitions", int64(d.Partitions))
	w.num("number_forms", int64(d.NumberForms))
}

func (d *ProgramChanged) encode(w *encoder) {
	w.str("name", d.Name)
	w.str("legal_entity", d.LegalEntity)
	w.str("brand", d.Brand)
	strs(w, "purposes", d.Purposes)
	strs(w, "countries", d.Countries)
	strs(w, "senders", d.Senders)
	w.num("priority", int64(d.Priority))
	w.flag("prefers_duplicate", d.PrefersDuplicate)
	w.str("help_text", d.HelpText)
	w.str("stop_text", d.StopText)
	w.str("start_text", d.StartText)
	w.flag("default", d.Default)
	w.str("by", d.By)
}

func (d *RoutesChanged) encode(w *encoder) {
	w.list("routes", len(d.Routes), func(w *encoder, i int) {
		r := &d.Routes[i]
		w.str("rule", r.Rule)
		strs(w, "countries", r.Countries)
		strs(w, "programs", r.Programs)
		w.str("carrier", r.Carrier)
	})
	w.str("by", d.By)
}

func (d *PolicyActivated) encode(w *encoder) {
	w.str("revision", d.Revision)
	w.str("digest", d.Digest)
	w.str("by", d.By)
}

func (d *Paused) encode(w *encoder) {
	w.str("program", d.Program)
	w.str("carrier", d.Carrier)
	w.str("reason", d.Reason)
	w.str("by", d.By)
}

func (d *Resumed) encode(w *encoder) {
	w.str("program", d.Program)
	w.str("carrier", d.Carrier)
	w.str("reason", d.Reason)
	w.str("by", d.By)
}

func (d *RecordAccepted) encode(w *encoder) {
	w.str("position", d.Position)
	w.str("hash", d.Hash)
	w.str("reason", d.Reason)
	w.str("by", d.By)
}

func (d *InboundReceivedV2) encode(w *encoder) {
	w.str("account", d.Account)
	w.str("to", d.To)
	w.str("ask", string(d.Ask))
	w.str("match", d.Match)
	w.str("language", d.Language)
	w.str("lists", d.Lists)
	strs(w, "programs", d.Programs)
	w.reaches("reaches", d.Reaches)
	w.str("holds", string(d.Holds))
	w.concat("concat", d.Concat)
	w.num("control", d.Control)
	w.num("read", d.Read)
	w.str("unplaced", string(d.Unplaced))
	w.list("streams", len(d.Streams), func(w *encoder, i int) {
		w.str("tenant", d.Streams[i].Tenant)
		w.pseudonym("subject", d.Streams[i].Subject)
		w.id("event", d.Streams[i].Event)
	})
	w.str("digest", d.Digest)
	w.id("places", d.Places)
	w.sealed("sealed", &d.Sealed)
}

func (d *InboundHeld) encode(w *encoder) {
	w.id("inbound", d.Inbound)
	w.pseudonym("stream", d.Stream)
	w.str("account", d.Account)
	w.str("to", d.To)
	w.reaches("reaches", d.Reaches)
	w.str("unplaced", string(d.Unplaced))
	w.flag("plain", d.Plain)
	w.num("control", d.Control)
}

func (d *InboundJoined) encode(w *encoder) {
	w.ids("parts", d.Parts)
	w.str("to", d.To)
	w.str("ask", string(d.Ask))
	w.str("match", d.Match)
	w.str("language", d.Language)
	w.str("lists", d.Lists)
	strs(w, "programs", d.Programs)
	w.reaches("reaches", d.Reaches)
	w.str("holds", string(d.Holds))
	w.num("read", d.Read)
}

func (d *ReviewResolved) encode(w *encoder) {
	w.id("review", d.Review)
	w.str("as", string(d.As))
	w.reaches("reaches", d.Reaches)
	w.id("placed", d.Placed)
	w.str("by", d.By)
	w.sealed("sealed", d.Sealed)
}

func (d *ReviewRead) encode(w *encoder) {
	w.id("review", d.Review)
	w.str("by", d.By)
}

func (d *LevelRaised) encode(w *encoder) {
	w.num("level", int64(d.Level))
	w.str("by", d.By)
}

func (d *VaultBound) encode(w *encoder) {
	w.str("vault", d.Vault)
	w.flag("development", d.Development)
	w.str("by", d.By)
}

func (d *EpochBegan) encode(w *encoder) {
	w.num("epoch", int64(d.Epoch))
	w.str("cause", string(d.Cause))
	w.list("lost", len(d.Lost), func(w *encoder, i int) {
		l := &d.Lost[i]
		w.str("partition", l.Partition)
		w.num("from", l.From)
		w.num("to", l.To)
		w.str("hash", l.Hash)
	})
	w.str("reason", d.Reason)
	w.str("by", d.By)
}

func (d *EpochReleased) encode(w *encoder) {
	w.num("epoch", int64(d.Epoch))
	w.str("program", d.Program)
	w.str("reason", d.Reason)
	w.str("by", d.By)
}

func (d *MessageRecovered) encode(w *encoder) {
	w.num("epoch", int64(d.Epoch))
	w.str("program", d.Program)
	w.str("purpose", d.Purpose)
	w.str("from", d.From)
	w.str("country", d.Country)
	w.time("accepted", d.Accepted)
	w.time("valid_until", d.ValidUntil)
	w.str("key", d.Key)
	w.str("input", d.Input)
	w.id("answers", d.Answers)
	w.str("status", d.Status)
	w.num("parts", int64(d.Parts))
	w.list("handoffs", len(d.Handoffs), func(w *encoder, i int) {
		h := &d.Handoffs[i]
		w.num("attempt", int64(h.Attempt))
		w.num("part", int64(h.Part))
		w.str("carrier", h.Carrier)
		w.str("carrier_id", h.CarrierID)
		w.num("reference", int64(h.Reference))
	})
	w.str("source", string(d.Source))
	w.str("by", d.By)
}

func (d *OwnerGranted) encode(w *encoder) {
	w.str("sender", d.Sender)
	w.str("legal_entity", d.LegalEntity)
	w.str("by", d.By)
}

func (d *PersonalDataRead) encode(w *encoder) {
	w.str("key", d.Key)
	w.str("reason", d.Reason)
	w.time("from", d.From)
	w.time("until", d.Until)
	w.list("reads", len(d.Reads), func(w *encoder, i int) {
		r := &d.Reads[i]
		w.str("call", r.Call)
		strs(w, "shown", r.Shown)
		w.pseudonym("subject", r.Subject)
		w.ids("events", r.Events)
		w.num("times", int64(r.Times))
	})
}

func (d *KeyUsed) encode(w *encoder) {
	w.str("key", d.Key)
	w.time("from", d.From)
	w.time("until", d.Until)
	w.list("calls", len(d.Calls), func(w *encoder, i int) {
		w.str("scope", d.Calls[i].Scope)
		w.num("times", d.Calls[i].Times)
		w.num("refused", d.Calls[i].Refused)
	})
}

func (d *ExportAsked) encode(w *encoder) {
	w.str("by", d.By)
	w.str("reason", d.Reason)
	w.str("scope", d.Scope)
	w.flag("clear", d.Clear)
	strs(w, "heads", d.Heads)
}

func (d *ExportEnded) encode(w *encoder) {
	w.id("export", d.Export)
	w.str("as", string(d.As))
	w.str("by", d.By)
	w.str("why", d.Why)
	w.num("events", d.Events)
	w.num("size", d.Size)
	w.str("sha256", d.SHA256)
	w.time("delete_after", d.DeleteAfter)
}

func (d *ExportDownloaded) encode(w *encoder) {
	w.id("export", d.Export)
	w.str("by", d.By)
	w.str("sha256", d.SHA256)
}

func (d *ExportDeleted) encode(w *encoder) {
	w.id("export", d.Export)
	w.str("by", d.By)
}

func (d *MasterKeyRotated) encode(w *encoder) {
	w.time("began", d.Began)
	w.time("ended", d.Ended)
	w.num("keys", d.Keys)
	w.str("by", d.By)
}
