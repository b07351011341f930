package feed

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/domain/recipient"
)

// Version is the version of every kind of record. Fields may be added within it.
const Version = 1

// Show says for whom records are rendered.
type Show struct {
	Look reading.Look
	// Call is the operation that the audit log names, such as getChanges.
	Call string
	// Bodies: records have the texts of messages too, as far as the look may see them. The words of persons need only the sight.
	Bodies bool
	// NoWords: the texts that persons wrote are left out, and not named as masked.
	NoWords bool
}

// Record is a record of the feed as it is told.
type Record struct {
	// ID is unique in the ledger, and the same each time the record is told.
	ID   string `json:"id"`
	Type Kind   `json:"type"`
	// Version is the version of Data.
	Version int `json:"version"`
	// Position is that of the event which made the record.
	Position  event.Position `json:"position"`
	Timestamp time.Time      `json:"timestamp"`
	Data      Data           `json:"data"`

	// Reference is the message's, whether it is shown or not; "" for none.
	Reference string `json:"-"`
}

// Data is what a record tells. Each kind has its own fields; docs/schemas/feed describes them.
type Data struct {
	// Of a message.
	Message   string            `json:"id,omitempty"`
	Status    recipient.Status  `json:"status,omitempty"`
	Was       recipient.Status  `json:"was,omitempty"`
	To        string            `json:"to,omitempty"`
	From      string            `json:"from,omitempty"`
	Program   string            `json:"program,omitempty"`
	Purpose   string            `json:"purpose,omitempty"`
	Reference string            `json:"reference,omitempty"`
	Metadata  map[string]string `json:"metadata,omitempty"`
	Body      string            `json:"body,omitempty"`
	Carrier   string            `json:"carrier,omitempty"`
	Code      string            `json:"code,omitempty"`
	Receipt   *Receipt          `json:"receipt,omitempty"`
	Outcome   string            `json:"outcome,omitempty"`
	Reasons   []Reason          `json:"reasons,omitempty"`
	Until     time.Time         `json:"until,omitzero"`

	// Of what is about a person and no message.
	Event     string    `json:"event,omitempty"`
	Number    string    `json:"number,omitempty"`
	OptOut    string    `json:"opt_out,omitempty"`
	Scope     string    `json:"scope,omitempty"`
	Name      string    `json:"name,omitempty"`
	Source    string    `json:"source,omitempty"`
	Occurred  time.Time `json:"occurred_at,omitzero"`
	Unclear   bool      `json:"unclear,omitempty"`
	By        string    `json:"replaced_by,omitempty"`
	Ask       string    `json:"ask,omitempty"`
	OurNumber string    `json:"our_number,omitempty"`
	Words     string    `json:"words,omitempty"`
	Review    string    `json:"review,omitempty"`
	Kind      string    `json:"kind,omitempty"`

	// Of an export.
	Export string `json:"export,omitempty"`
	As     string `json:"as,omitempty"`
	Why    string `json:"why,omitempty"`

	// Masked names what the caller may not see, of what the record has.
	Masked []string `json:"masked,omitempty"`
	// Erased: the person's data is destroyed. KeyMissing: the vault lacks its key.
	Erased     bool `json:"erased,omitempty"`
	KeyMissing bool `json:"key_missing,omitempty"`
}

// Receipt is what a delivery receipt said.
type Receipt struct {
	State event.MessageState `json:"state"`
	Error string             `json:"error,omitempty"`
	Grade event.Grade        `json:"grade,omitempty"`
}

// Reason is a rule, or a fault, that led to a decision.
type Reason struct {
	Rule     string `json:"rule"`
	Text     string `json:"text"`
	Citation string `json:"citation,omitempty"`
}

// idOf is the id of an item's record, in an epoch of the ledger.
func idOf(epoch int, at Place) string {
	b := strconv.AppendInt(make([]byte, 0, 32), int64(epoch), 10)
	b = append(append(b, '-'), at.Position.String()...)
	return string(strconv.AppendInt(append(b, '-'), int64(at.Nth), 10))
}

// rendering is one call of Render.
type rendering struct {
	r        *Reader
	tenant   string
	show     Show
	messages map[event.ID]Submitted
	kinds    map[string]bool
	ids      []event.ID
	subjects map[event.Pseudonym]bool
}

// Render makes the records of a tenant's items. What the caller may not see is masked, and what is erased is left out. That
// personal data is shown is recorded first: after an error nothing may be shown. The error is ErrBehind while the views are made anew.
func (r *Reader) Render(ctx context.Context, tenant string, show Show, items []Item) ([]Record, error) {
	x := &rendering{r: r, tenant: tenant, show: show, kinds: map[string]bool{}, subjects: map[event.Pseudonym]bool{}}
	var err error
	if x.messages, err = r.submitted(ctx, tenant, items); err != nil {
		return nil, err
	}
	epoch := r.epoch()
	out := make([]Record, len(items))
	for i := range items {
		it := &items[i]
		if it.Tenant != tenant {
			return nil, errors.New("an item of the feed is another tenant's")
		}
		out[i] = Record{ID: idOf(epoch, it.Place), Type: it.Kind, Version: Version, Position: it.Position, Timestamp: it.At}
		var err error
		switch it.Kind {
		case MessageStatus, MessageInDoubt:
			err = x.message(&out[i], it)
		case ExportFinished:
			out[i].Data = Data{Export: it.Detail.Export.String(), As: string(it.Detail.As), Why: it.Detail.Why}
		default:
			err = x.person(ctx, &out[i], it)
		}
		if err != nil {
			return nil, err
		}
	}
	return out, x.record(ctx)
}

// submitted finds the messages of items.
func (r *Reader) submitted(ctx context.Context, tenant string, items []Item) (map[event.ID]Submitted, error) {
	var ids []event.ID
	for i := range items {
		if id := items[i].Message; !id.IsZero() && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	return r.p.Views.Submitted(ctx, tenant, ids)
}

// record writes down what is shown.
func (x *rendering) record(ctx context.Context) error {
	read := event.DataRead{Call: x.show.Call, Times: 1, Events: x.ids[:min(len(x.ids), reading.MaxPage)]}
	for _, k := range []string{event.ShownNumber, event.ShownBody, event.ShownReference, event.ShownMetadata, event.ShownWords} {
		if x.kinds[k] {
			read.Shown = append(read.Shown, k)
		}
	}
	if len(read.Shown) == 0 {
		return nil
	}
	if len(x.subjects) == 1 {
		for read.Subject = range x.subjects {
		}
	}
	return x.r.p.Witness.DataShown(ctx, x.show.Look.Caller, x.tenant, x.show.Look.Reason, read)
}

// sees reports whether a kind of personal data that a record has may be shown, and notes that it is shown or masked.
func (x *rendering) sees(d *Data, kind string) bool {
	if x.show.Look.Sight.Shows(kind) {
		x.kinds[kind] = true
		return true
	}
	if !slices.Contains(d.Masked, kind) {
		d.Masked = append(d.Masked, kind)
	}
	return false
}

func (x *rendering) about(it *Item, id event.ID, by string) {
	x.subjects[it.Subject] = true
	if by == "" || by != x.show.Look.Caller.Key {
		x.ids = append(x.ids, id)
	}
}

func (x *rendering) message(out *Record, it *Item) error {
	m, ok := x.messages[it.Message]
	if !ok {
		return ErrBehind
	}
	d := &out.Data
	*d = Data{Message: it.Message.String(), Status: it.Status, Was: it.Was, Program: it.Program, Purpose: m.Purpose, From: m.From,
		Carrier: it.Detail.Carrier, Code: it.Detail.Code, Until: it.Detail.Until, Outcome: string(it.Detail.Outcome), Reasons: x.reasons(&it.Detail)}
	if it.Detail.Receipt != "" {
		d.Receipt = &Receipt{it.Detail.Receipt, it.Detail.Code, it.Detail.Grade}
	}
	if m.Lost {
		return nil
	}
	c, err := ledger.Open[event.Content](x.r.p.Vault, x.tenant, it.Message, &m.Content)
	switch {
	case errors.Is(err, ledger.ErrErased):
		d.Erased = true
		return nil
	case errors.Is(err, ledger.ErrKeyMissing):
		d.KeyMissing = true
		return nil
	case err != nil:
		return err
	}
	out.Reference = c.Reference
	x.about(it, it.Message, m.By)
	x.sees(d, event.ShownNumber)
	d.To = x.show.Look.Sight.Number(c.To)
	if c.Reference != "" && x.sees(d, event.ShownReference) {
		d.Reference = c.Reference
	}
	if len(c.Metadata) > 0 && x.sees(d, event.ShownMetadata) {
		d.Metadata = c.Metadata
	}
	if x.show.Bodies && x.sees(d, event.ShownBody) {
		d.Body = c.Body
	}
	return nil
}

// reasons puts a decision into words.
func (x *rendering) reasons(d *Detail) (out []Reason) {
	if d.Outcome == "" {
		return nil
	}
	decided := &event.MessageDecided{Outcome: d.Outcome, Fault: d.Fault, Detail: d.Why}
	if len(d.Rules) > 0 {
		decided.Checks = []event.Check{{Outcome: d.Outcome, Rules: d.Rules}}
	}
	for _, r := range reading.Reasons(x.r.p.Rules, decided) {
		out = append(out, Reason{r.Rule, r.Text, r.Citation})
	}
	return out
}

func (x *rendering) person(ctx context.Context, out *Record, it *Item) error {
	d, t := &out.Data, &it.Detail
	*d = Data{Event: it.Event.String(), Scope: string(t.Scope), Name: t.Name, Source: string(t.Source), Occurred: t.Occurred, Unclear: t.Unclear,
		Ask: string(t.Ask), OurNumber: t.To, Kind: string(t.Kind)}
	for id, to := range map[event.ID]*string{t.OptOut: &d.OptOut, t.By: &d.By, t.Review: &d.Review} {
		if !id.IsZero() {
			*to = id.String()
		}
	}
	e, err := reading.EventAt(ctx, x.r.p.Log, it.Position)
	if err != nil {
		return err
	}
	if e.ID != it.Event || e.Tenant != x.tenant {
		return errors.New("the event at " + it.Position.String() + " is not the one that the views have read")
	}
	said, err := reading.SaidIn(x.r.p.Vault, e, 2, func(id event.ID) (*event.Event, error) { return x.find(ctx, id) })
	if err == nil && said.Number == "" && !said.Erased && !said.KeyMissing {
		err = x.texted(ctx, it.Subject, &said)
	}
	if err != nil {
		return err
	}
	d.Erased, d.KeyMissing = said.Erased, said.KeyMissing
	if said.Number == "" && (said.Words == "" || it.Kind != MessageInbound) {
		return nil
	}
	x.about(it, it.Event, "")
	if said.Number != "" {
		x.sees(d, event.ShownNumber)
		d.Number = x.show.Look.Sight.Number(said.Number)
	}
	if it.Kind == MessageInbound && said.Words != "" && !x.show.NoWords && x.sees(d, event.ShownWords) {
		d.Words = said.Words
	}
	return nil
}

// find reads an event of the tenant that belongs to no message, by its id; nil if there is none that counts.
func (x *rendering) find(ctx context.Context, id event.ID) (*event.Event, error) {
	at, ok, err := x.r.p.Views.StreamEvent(ctx, x.tenant, id)
	if err != nil || !ok || at.Why != "" {
		return nil, err
	}
	return reading.EventAt(ctx, x.r.p.Log, at.Position)
}

// texted takes the number from the latest message to the person.
func (x *rendering) texted(ctx context.Context, subject event.Pseudonym, s *reading.Said) error {
	found, err := x.r.p.Views.Search(ctx, x.tenant, reading.Filter{Subject: subject, Limit: 1})
	if err != nil || len(found) == 0 || found[0].Lost() {
		return err
	}
	c, err := ledger.Open[event.Content](x.r.p.Vault, x.tenant, found[0].ID, &found[0].Content)
	switch {
	case errors.Is(err, ledger.ErrErased):
		s.Erased = true
		return nil
	case errors.Is(err, ledger.ErrKeyMissing):
		s.KeyMissing = true
		return nil
	}
	s.Number = c.To
	return err
}

// JSON is a record as its bytes.
func (r *Record) JSON() ([]byte, error) { return json.Marshal(r) }
