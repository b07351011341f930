package intake

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/sms"
)

// maxEvidence bounds the evidence of an opt-out or a lift, in bytes.
const maxEvidence = 4 << 10

// OptOutRequest asks for an opt-out; or, without OccurredAt, for a lift of opt-outs.
type OptOutRequest struct {
	Number     string
	Country    string // ISO 3166-1 alpha-2, when Number is national
	Scope      event.Scope
	Program    string
	Sender     string
	Source     event.Source
	Evidence   string
	OccurredAt time.Time
}

// OptedOut is the answer to an opt-out or a lift.
type OptedOut struct {
	Event    event.ID
	Position event.Position
	// Lifted are the opt-outs that a lift ended; empty for an opt-out.
	Lifted []event.ID
}

// OptOut records that a person does not want the messages that the request covers. It returns
// when the event is durable, and is in force from there on: every decision after the event in the
// stream's order knows it.
func (in *Intake) OptOut(ctx context.Context, c ledger.Caller, r *OptOutRequest) (*OptedOut, error) {
	reach, err := in.reach(c, r)
	if err != nil {
		return nil, err
	}
	if reach.Scope == event.ScopeSender {
		known := control.Spelled(in.registry().Programs(c.Tenant), reach.Name)
		if known == "" {
			return nil, refuse("unknown_sender", "/sender", "No program of this tenant has this sender ID, so the opt-out would stop nothing. Name one that a program registers, or record a wider scope.")
		}
		reach.Name = known
	}
	if r.OccurredAt.After(in.cfg.Now().Add(time.Minute)) {
		return nil, refuse("occurred_at_future", "/occurred_at", "occurred_at is in the future.")
	}
	to, stream, err := in.person(ctx, c, r)
	if err != nil {
		return nil, err
	}
	return in.record(ctx, stream, to, r, func(sealed *event.Sealed) event.Data {
		return &event.OptedOut{Reach: reach, Source: r.Source, Occurred: event.Millis(r.OccurredAt), By: c.Key, Sealed: sealed}
	})
}

// reach is what a request covers. It also checks the request's source and evidence.
func (in *Intake) reach(c ledger.Caller, r *OptOutRequest) (event.Reach, error) {
	reach := event.Reach{Scope: r.Scope}
	prog := in.registry().Program(c.Tenant, r.Program)
	if r.Program != "" && prog == nil {
		return reach, refuse("unknown_program", "/program", "This tenant has no program with this name.")
	}
	switch r.Scope {
	case event.ScopeSender:
		s, err := sms.ParseSender(r.Sender)
		if err != nil {
			return reach, refuse("invalid_sender", "/sender", "With scope sender, give the sender ID.")
		}
		reach.Name = string(s)
	case event.ScopeProgram:
		if r.Program == "" {
			return reach, refuse("program_required", "/program", "With scope program, name the program.")
		}
		reach.Name = prog.Name
	case event.ScopeLegalEntity:
		if prog == nil {
			return reach, refuse("program_required", "/program", "With scope legal_entity, name a program of that legal entity: this tenant has no default program.")
		}
		reach.Name = prog.LegalEntity
	case event.ScopeTenant:
	default:
		return reach, refuse("invalid_scope", "/scope", "A scope is sender, program, legal_entity or tenant.")
	}
	if !isSource(string(r.Source)) {
		return reach, refuse("invalid_source", "/source", "Say in at most 40 letters, spaces and hyphens, with 4 digits at most, where the request came from: phone, email, web, letter, … It is kept in clear for ever; who asked and what they said belong into the evidence.")
	}
	if len(r.Evidence) > maxEvidence || !utf8.ValidString(r.Evidence) {
		return reach, refuse("invalid_evidence", "/evidence", fmt.Sprintf("Evidence has at most %d bytes of text.", maxEvidence))
	}
	return reach, nil
}

// isSource reports whether a text may say where a request came from. It is not sealed, so it must have no
// room for a number, and nothing that a spreadsheet would run.
func isSource(s string) bool {
	digits := 0
	for _, r := range s {
		switch {
		case unicode.IsDigit(r):
			digits++
		case !unicode.IsLetter(r) && !unicode.IsMark(r) && !strings.ContainsRune(" -_./", r):
			return false
		}
	}
	first, _ := utf8.DecodeRuneInString(s)
	return s != "" && len(s) <= 40 && digits <= 4 && (unicode.IsLetter(first) || unicode.IsDigit(first))
}

// person is the number of the request, of whatever kind it is, and its stream with the caller's tenant.
func (in *Intake) person(ctx context.Context, c ledger.Caller, r *OptOutRequest) (sms.Number, ledger.Stream, error) {
	to, err := sms.ParseAny(r.Number, r.Country)
	if err != nil {
		return "", ledger.Stream{}, refuseNumber("/number", err)
	}
	stream, err := in.cfg.Writer.Keyed(ctx, in.cfg.Writer.Stream(c.Tenant, to))
	if err != nil {
		return "", stream, ledger.Refused(err)
	}
	return to, stream, nil
}

// record seals the evidence and appends the event that data makes of it.
func (in *Intake) record(ctx context.Context, stream ledger.Stream, to sms.Number, r *OptOutRequest, data func(*event.Sealed) event.Data) (*OptedOut, error) {
	w := in.cfg.Writer
	id := w.NewID()
	sealed, err := w.Seal(in.registry().Level(), stream, ledger.ClassEvidence, id, event.Evidence{Number: string(to), Text: r.Evidence})
	if err != nil {
		return nil, ledger.Refused(err)
	}
	pos, err := w.Append(ctx, stream.Partition, w.Write(stream, id, data(&sealed)))
	if err != nil {
		return nil, err
	}
	return &OptedOut{Event: id, Position: pos}, nil
}
