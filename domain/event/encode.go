package event

import "fmt"

// MaxSize is the largest size of one encoded event, in bytes.
const MaxSize = 256 << 10

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
	f := form{input: input{b: b}}
	start := len(b)
	f.whole(e)
	if f.err != nil {
		return b, fmt.Errorf("encode %s: %w", e.Data.Type(), f.err)
	}
	if n := len(f.b) - start; n > MaxSize {
		return b, fmt.Errorf("encode %s: %d bytes are more than an event may have (%d)", e.Data.Type(), n, MaxSize)
	}
	return f.b, nil
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
	register[WebhookChanged](Audit)
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
func (*WebhookChanged) Type() Type    { return "WebhookChanged.v1" }

func (d *MessageSubmitted) fields(f *form) {
	word(f, "program", &d.Program)
	word(f, "purpose", &d.Purpose)
	num(f, "priority", &d.Priority)
	word(f, "from", &d.From)
	word(f, "country", &d.Country)
	words(f, "places", &d.Places)
	word(f, "encoding", &d.Encoding)
	num(f, "segments", &d.Segments)
	f.time("send_at", &d.SendAt)
	f.time("valid_until", &d.ValidUntil)
	f.flag("prefers_duplicate", &d.PrefersDuplicate)
	str(f, "key", &d.Key)
	str(f, "input", &d.Input)
	f.flag("referenced", &d.Referenced)
	f.id("answers", &d.Answers)
	word(f, "by", &d.By)
	f.object("sealed", &d.Sealed)
}

func (d *CancelRequested) fields(f *form) { word(f, "by", &d.By) }

func (d *OptedOut) fields(f *form) {
	f.object("reach", &d.Reach)
	word(f, "source", &d.Source)
	f.time("occurred", &d.Occurred)
	f.flag("unclear", &d.Unclear)
	f.id("answers", &d.Answers)
	f.ids("lifts", &d.Lifts)
	word(f, "by", &d.By)
	optional(f, "sealed", &d.Sealed)
}

func (d *SuppressionLifted) fields(f *form) {
	f.ids("lifts", &d.Lifts)
	list(f, "reaches", &d.Reaches)
	word(f, "source", &d.Source)
	f.id("answers", &d.Answers)
	word(f, "by", &d.By)
	optional(f, "sealed", &d.Sealed)
}

func (d *MessageDecided) fields(f *form) {
	word(f, "outcome", &d.Outcome)
	f.time("until", &d.Until)
	words(f, "senders", &d.Senders)
	list(f, "checks", &d.Checks)
	word(f, "fault", &d.Fault)
	str(f, "detail", &d.Detail)
	words(f, "clocks", &d.Clocks)
	word(f, "zone_data", &d.ZoneData)
	f.ids("opt_outs", &d.OptOuts)
	word(f, "revision", &d.Revision)
	word(f, "digest", &d.Digest)
}

func (d *MessageRouted) fields(f *form) {
	word(f, "rule", &d.Rule)
	num(f, "table", &d.Table)
	word(f, "carrier", &d.Carrier)
	word(f, "from", &d.From)
	word(f, "encoding", &d.Encoding)
	num(f, "parts", &d.Parts)
}

func (d *HandoffStarted) fields(f *form) {
	num(f, "attempt", &d.Attempt)
	list(f, "parts", &d.Parts)
	f.time("call_by", &d.CallBy)
	f.time("answer_by", &d.AnswerBy)
	f.flag("duplicate", &d.Duplicate)
	num(f, "reference", &d.Reference)
	str(f, "tail", &d.Tail)
	num(f, "epoch", &d.Epoch)
}

func (d *HandoffAccepted) fields(f *form) {
	num(f, "attempt", &d.Attempt)
	num(f, "part", &d.Part)
	word(f, "carrier", &d.Carrier)
	str(f, "carrier_id", &d.CarrierID)
}

func (d *HandoffRefused) fields(f *form) {
	num(f, "attempt", &d.Attempt)
	num(f, "part", &d.Part)
	word(f, "carrier", &d.Carrier)
	f.flag("retry", &d.Retry)
	f.flag("not_called", &d.NotCalled)
	word(f, "code", &d.Code)
	str(f, "reason", &d.Reason)
}

func (d *HandoffInDoubt) fields(f *form) {
	num(f, "attempt", &d.Attempt)
	f.nums("parts", &d.Parts)
	str(f, "why", &d.Why)
}

func (d *InboundReceived) fields(f *form) {
	word(f, "account", &d.Account)
	word(f, "to", &d.To)
	word(f, "ask", &d.Ask)
	word(f, "match", &d.Match)
	word(f, "program", &d.Program)
	optional(f, "concat", &d.Concat)
	optional(f, "revokes", &d.Revokes)
	f.flag("unclear", &d.Unclear)
	optional(f, "holds", &d.Holds)
	list(f, "may_lift", &d.MayLift)
	num(f, "read", &d.Read)
	f.object("sealed", &d.Sealed)
}

func (d *ReceiptReceived) fields(f *form) {
	word(f, "account", &d.Account)
	str(f, "carrier_id", &d.CarrierID)
	num(f, "reference", &d.Reference)
	num(f, "attempt", &d.Attempt)
	num(f, "part", &d.Part)
	word(f, "state", &d.State)
	f.flag("final", &d.Final)
	word(f, "error", &d.Error)
	word(f, "grade", &d.Grade)
	word(f, "match", &d.Match)
	f.time("received", &d.Received)
	f.object("sealed", &d.Sealed)
}

func (*MessageExpired) fields(*form) {}
func (*ReceiptOverdue) fields(*form) {}

func (d *ControlApplied) fields(f *form) {
	num(f, "position", &d.Position)
	f.id("event", &d.Event)
}

func (d *LedgerCreated) fields(f *form) {
	str(f, "ledger", &d.Ledger)
	num(f, "partitions", &d.Partitions)
	num(f, "number_forms", &d.NumberForms)
}

func (d *ProgramChanged) fields(f *form) {
	word(f, "name", &d.Name)
	str(f, "legal_entity", &d.LegalEntity)
	str(f, "brand", &d.Brand)
	words(f, "purposes", &d.Purposes)
	words(f, "countries", &d.Countries)
	words(f, "senders", &d.Senders)
	num(f, "priority", &d.Priority)
	f.flag("prefers_duplicate", &d.PrefersDuplicate)
	str(f, "help_text", &d.HelpText)
	str(f, "stop_text", &d.StopText)
	str(f, "start_text", &d.StartText)
	f.flag("default", &d.Default)
	word(f, "by", &d.By)
}

func (d *RoutesChanged) fields(f *form) {
	list(f, "routes", &d.Routes)
	word(f, "by", &d.By)
}

func (d *PolicyActivated) fields(f *form) {
	word(f, "revision", &d.Revision)
	str(f, "digest", &d.Digest)
	word(f, "by", &d.By)
}

func (d *Paused) fields(f *form) {
	word(f, "program", &d.Program)
	word(f, "carrier", &d.Carrier)
	str(f, "reason", &d.Reason)
	word(f, "by", &d.By)
}

func (d *Resumed) fields(f *form) {
	word(f, "program", &d.Program)
	word(f, "carrier", &d.Carrier)
	str(f, "reason", &d.Reason)
	word(f, "by", &d.By)
}

func (d *RecordAccepted) fields(f *form) {
	str(f, "position", &d.Position)
	str(f, "hash", &d.Hash)
	str(f, "reason", &d.Reason)
	word(f, "by", &d.By)
}

func (d *InboundReceivedV2) fields(f *form) {
	word(f, "account", &d.Account)
	word(f, "to", &d.To)
	word(f, "ask", &d.Ask)
	word(f, "match", &d.Match)
	word(f, "language", &d.Language)
	word(f, "lists", &d.Lists)
	words(f, "programs", &d.Programs)
	list(f, "reaches", &d.Reaches)
	word(f, "holds", &d.Holds)
	optional(f, "concat", &d.Concat)
	num(f, "control", &d.Control)
	num(f, "read", &d.Read)
	word(f, "unplaced", &d.Unplaced)
	list(f, "streams", &d.Streams)
	str(f, "digest", &d.Digest)
	f.id("places", &d.Places)
	f.object("sealed", &d.Sealed)
}

func (d *InboundHeld) fields(f *form) {
	f.id("inbound", &d.Inbound)
	f.pseudonym("stream", &d.Stream)
	word(f, "account", &d.Account)
	word(f, "to", &d.To)
	list(f, "reaches", &d.Reaches)
	word(f, "unplaced", &d.Unplaced)
	f.flag("plain", &d.Plain)
	num(f, "control", &d.Control)
}

func (d *InboundJoined) fields(f *form) {
	f.ids("parts", &d.Parts)
	word(f, "to", &d.To)
	word(f, "ask", &d.Ask)
	word(f, "match", &d.Match)
	word(f, "language", &d.Language)
	word(f, "lists", &d.Lists)
	words(f, "programs", &d.Programs)
	list(f, "reaches", &d.Reaches)
	word(f, "holds", &d.Holds)
	num(f, "read", &d.Read)
}

func (d *ReviewResolved) fields(f *form) {
	f.id("review", &d.Review)
	word(f, "as", &d.As)
	list(f, "reaches", &d.Reaches)
	f.id("placed", &d.Placed)
	word(f, "by", &d.By)
	optional(f, "sealed", &d.Sealed)
}

func (d *ReviewRead) fields(f *form) {
	f.id("review", &d.Review)
	word(f, "by", &d.By)
}

func (d *LevelRaised) fields(f *form) {
	num(f, "level", &d.Level)
	word(f, "by", &d.By)
}

func (d *VaultBound) fields(f *form) {
	str(f, "vault", &d.Vault)
	f.flag("development", &d.Development)
	word(f, "by", &d.By)
}

func (d *EpochBegan) fields(f *form) {
	num(f, "epoch", &d.Epoch)
	word(f, "cause", &d.Cause)
	list(f, "lost", &d.Lost)
	str(f, "reason", &d.Reason)
	word(f, "by", &d.By)
}

func (d *EpochReleased) fields(f *form) {
	num(f, "epoch", &d.Epoch)
	word(f, "program", &d.Program)
	str(f, "reason", &d.Reason)
	word(f, "by", &d.By)
}

func (d *MessageRecovered) fields(f *form) {
	num(f, "epoch", &d.Epoch)
	word(f, "program", &d.Program)
	word(f, "purpose", &d.Purpose)
	word(f, "from", &d.From)
	word(f, "country", &d.Country)
	f.time("accepted", &d.Accepted)
	f.time("valid_until", &d.ValidUntil)
	str(f, "key", &d.Key)
	str(f, "input", &d.Input)
	f.id("answers", &d.Answers)
	word(f, "status", &d.Status)
	num(f, "parts", &d.Parts)
	list(f, "handoffs", &d.Handoffs)
	word(f, "source", &d.Source)
	word(f, "by", &d.By)
}

func (d *OwnerGranted) fields(f *form) {
	str(f, "sender", &d.Sender)
	str(f, "legal_entity", &d.LegalEntity)
	word(f, "by", &d.By)
}

func (d *PersonalDataRead) fields(f *form) {
	str(f, "key", &d.Key)
	str(f, "reason", &d.Reason)
	f.time("from", &d.From)
	f.time("until", &d.Until)
	list(f, "reads", &d.Reads)
}

func (d *KeyUsed) fields(f *form) {
	str(f, "key", &d.Key)
	f.time("from", &d.From)
	f.time("until", &d.Until)
	list(f, "calls", &d.Calls)
}

func (d *ExportAsked) fields(f *form) {
	word(f, "by", &d.By)
	str(f, "reason", &d.Reason)
	word(f, "scope", &d.Scope)
	f.flag("clear", &d.Clear)
	strs(f, "heads", &d.Heads)
}

func (d *ExportEnded) fields(f *form) {
	f.id("export", &d.Export)
	word(f, "as", &d.As)
	word(f, "by", &d.By)
	str(f, "why", &d.Why)
	num(f, "events", &d.Events)
	num(f, "size", &d.Size)
	str(f, "sha256", &d.SHA256)
	f.time("delete_after", &d.DeleteAfter)
}

func (d *ExportDownloaded) fields(f *form) {
	f.id("export", &d.Export)
	word(f, "by", &d.By)
	str(f, "sha256", &d.SHA256)
}

func (d *ExportDeleted) fields(f *form) {
	f.id("export", &d.Export)
	word(f, "by", &d.By)
}

func (d *MasterKeyRotated) fields(f *form) {
	f.time("began", &d.Began)
	f.time("ended", &d.Ended)
	num(f, "keys", &d.Keys)
	word(f, "by", &d.By)
}

func (d *WebhookChanged) fields(f *form) {
	f.id("webhook", &d.Webhook)
	word(f, "as", &d.As)
	str(f, "why", &d.Why)
	word(f, "by", &d.By)
}

func (s *Sealed) fields(f *form) {
	num(f, "version", &s.Version)
	f.id("subject_key", &s.SubjectKey)
	word(f, "class_key", &s.ClassKey)
	f.bytes("box", &s.Box)
}

func (r *Reach) fields(f *form) {
	word(f, "scope", &r.Scope)
	word(f, "name", &r.Name)
}

func (c *Concat) fields(f *form) {
	num(f, "reference", &c.Reference)
	num(f, "part", &c.Part)
	num(f, "parts", &c.Parts)
}

func (c *Check) fields(f *form) {
	word(f, "check", &c.Check)
	word(f, "outcome", &c.Outcome)
	words(f, "rules", &c.Rules)
	f.ids("opt_outs", &c.OptOuts)
	f.time("until", &c.Until)
}

func (p *StartedPart) fields(f *form) {
	num(f, "part", &p.Part)
	str(f, "digest", &p.Digest)
}

func (r *Route) fields(f *form) {
	word(f, "rule", &r.Rule)
	words(f, "countries", &r.Countries)
	words(f, "programs", &r.Programs)
	word(f, "carrier", &r.Carrier)
}

func (h *HeldStream) fields(f *form) {
	word(f, "tenant", &h.Tenant)
	f.pseudonym("subject", &h.Subject)
	f.id("event", &h.Event)
}

func (l *LostEvents) fields(f *form) {
	str(f, "partition", &l.Partition)
	num(f, "from", &l.From)
	num(f, "to", &l.To)
	str(f, "hash", &l.Hash)
}

func (h *KnownHandoff) fields(f *form) {
	num(f, "attempt", &h.Attempt)
	num(f, "part", &h.Part)
	word(f, "carrier", &h.Carrier)
	str(f, "carrier_id", &h.CarrierID)
	num(f, "reference", &h.Reference)
}

func (r *DataRead) fields(f *form) {
	word(f, "call", &r.Call)
	words(f, "shown", &r.Shown)
	f.pseudonym("subject", &r.Subject)
	f.ids("events", &r.Events)
	num(f, "times", &r.Times)
}

func (c *KeyCalls) fields(f *form) {
	word(f, "scope", &c.Scope)
	num(f, "times", &c.Times)
	num(f, "refused", &c.Refused)
}
