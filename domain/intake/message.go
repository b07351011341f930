package intake

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/decision"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/domain/sms"
)

// Bounds of what a submit may have.
const (
	maxBody           = 8 << 10 // bytes; the bound of segments is usually reached first
	maxReference      = 200     // characters
	maxMetadata       = 20      // entries
	maxMetadataKey    = 64      // bytes
	maxMetadataValue  = 512     // bytes
	maxIdempotencyKey = 255     // bytes
	maxSendAhead      = 35 * 24 * time.Hour
	minValidFor       = time.Minute
	maxValidFor       = 7 * 24 * time.Hour
	defaultValidFor   = 24 * time.Hour
)

// prepare checks a request and makes its submit event and its answer. id is the id that was
// reserved for the submit; zero: it makes a new one.
func (in *Intake) prepare(ctx context.Context, c ledger.Caller, r *SubmitRequest, key keyDigests, id event.ID) (*event.Event, *Submitted, error) {
	reg := in.registry()
	prog := reg.Program(c.Tenant, r.Program)
	if prog == nil {
		if r.Program == "" {
			return nil, nil, refuse("unknown_program", "/program", "Name a program: this tenant has no default program.")
		}
		return nil, nil, refuse("unknown_program", "/program", "This tenant has no program with this name.")
	}
	to, err := sms.ParseNumber(r.To, r.Country)
	if err != nil {
		return nil, nil, refuseNumber("/to", err)
	}
	d := &event.MessageSubmitted{Program: prog.Name, Country: in.cfg.World.Country(to), PrefersDuplicate: prog.PrefersDuplicate,
		Key: key.key, Input: key.input, Referenced: r.Reference != "", By: c.Key}
	if err := purpose(d, prog, r); err != nil {
		return nil, nil, err
	}
	if err := content(d, r); err != nil {
		return nil, nil, err
	}
	for _, p := range in.cfg.World.Of(to) {
		d.Places = append(d.Places, p.Event())
	}
	now := event.Millis(in.cfg.Now())
	if d.From, err = in.sender(ctx, reg, prog, d, r.From, now); err != nil {
		return nil, nil, err
	}
	if err := times(d, r, now); err != nil {
		return nil, nil, err
	}
	w := in.cfg.Writer
	stream := w.Stream(c.Tenant, to)
	if err := in.cfg.Serving.TakesFor(ctx, stream.Partition); err != nil {
		return nil, nil, err
	}
	if stream, err = w.Keyed(ctx, stream); err != nil {
		return nil, nil, ledger.Refused(err)
	}
	if id.IsZero() {
		id = event.NewMessageID(now, int(stream.Partition))
	}
	if d.Sealed, err = w.Seal(reg.Level(), stream, ledger.ClassMessage, id, event.Content{To: string(to), Body: r.Body, Reference: r.Reference, Metadata: r.Metadata}); err != nil {
		return nil, nil, ledger.Refused(err)
	}
	return w.Write(stream, id, d), answer(id, to, d), nil
}

// answer is the answer to a submit, without its position.
func answer(id event.ID, to sms.Number, d *event.MessageSubmitted) *Submitted {
	return &Submitted{ID: id, To: to, From: d.From, Program: d.Program, Purpose: d.Purpose,
		Encoding: sms.Encoding(d.Encoding), Segments: d.Segments}
}

// purpose sets the purpose and the priority of a message, within what its program registers.
func purpose(d *event.MessageSubmitted, prog *control.Program, r *SubmitRequest) error {
	d.Purpose, d.Priority = r.Purpose, r.Priority
	if d.Purpose == "" {
		d.Purpose = control.Strictest(prog.Purposes)
	}
	own, known := control.Purposes[d.Purpose]
	if !known || !slices.Contains(prog.Purposes, d.Purpose) {
		return refuse("purpose_not_registered", "/purpose", "The program "+prog.Name+" is registered for "+strings.Join(prog.Purposes, ", ")+" only. Use one of these purposes, or another program.")
	}
	switch {
	case d.Priority < 0 || d.Priority > 9:
		return refuse("invalid_priority", "/priority", "A priority is 1 (last) to 9 (first).")
	case d.Priority == 0 && prog.Priority != 0:
		d.Priority = prog.Priority
	case d.Priority == 0:
		d.Priority = own
	}
	return nil
}

// content sets the encoding and the number of segments, and checks the body, the reference and
// the metadata.
func content(d *event.MessageSubmitted, r *SubmitRequest) error {
	if len(r.Body) > maxBody {
		return refuse("body_too_long", "/body", fmt.Sprintf("A body has at most %d bytes.", maxBody))
	}
	encoding, segments, err := sms.Count(r.Body, sms.SegmentOptions{})
	switch {
	case errors.Is(err, sms.ErrTooLong):
		return refuse("too_many_segments", "/body", fmt.Sprintf("The body takes more than %d segments. Shorten it, or leave out characters that are not in the GSM alphabet.", sms.MaxSegments))
	case errors.Is(err, sms.ErrEmpty):
		return refuse("empty_body", "/body", "A message needs a text in body.")
	case err != nil:
		return refuse("invalid_body", "/body", "The body is not valid UTF-8 text.")
	}
	d.Encoding, d.Segments = string(encoding), segments
	if utf8.RuneCountInString(r.Reference) > maxReference || !printable(r.Reference) {
		return refuse("invalid_reference", "/reference", fmt.Sprintf("A reference has at most %d printable characters.", maxReference))
	}
	if len(r.Metadata) > maxMetadata {
		return refuse("invalid_metadata", "/metadata", fmt.Sprintf("Metadata has at most %d entries.", maxMetadata))
	}
	for k, v := range r.Metadata {
		if k == "" || len(k) > maxMetadataKey || len(v) > maxMetadataValue || !printable(k) || !printable(v) {
			return refuse("invalid_metadata", "/metadata", fmt.Sprintf("Metadata keys have 1 to %d bytes and values at most %d, of printable text.", maxMetadataKey, maxMetadataValue))
		}
	}
	return nil
}

// times sets the earliest and the latest time to send.
func times(d *event.MessageSubmitted, r *SubmitRequest, now time.Time) error {
	start := now
	if !r.SendAt.IsZero() {
		d.SendAt = event.Millis(r.SendAt)
		switch {
		case d.SendAt.Sub(now) > maxSendAhead:
			return refuse("send_at_too_far", "/send_at", "send_at is at most 35 days ahead.")
		case now.Sub(d.SendAt) > time.Minute:
			return refuse("send_at_past", "/send_at", "send_at has passed. Leave it out to send at once.")
		}
		if d.SendAt.After(now) {
			start = d.SendAt
		} else {
			d.SendAt = time.Time{}
		}
	}
	valid := r.ValidFor
	if valid == 0 {
		valid = defaultValidFor
	}
	if valid < minValidFor || valid > maxValidFor {
		return refuse("invalid_valid_for", "/valid_for", "valid_for is one minute to 7 days, counted from send_at.")
	}
	d.ValidUntil = event.Millis(start.Add(valid))
	return nil
}

// sender is the sender ID that a message goes out as: the one that the request names, else the
// program's first one that the rules allow for this recipient.
func (in *Intake) sender(ctx context.Context, reg *control.Registry, prog *control.Program, d *event.MessageSubmitted, asked string, now time.Time) (string, error) {
	if asked != "" {
		s, err := sms.ParseSender(asked)
		if err != nil {
			return "", refuse("invalid_sender", "/from", "A sender ID is a number in E.164 with its plus sign, a short code of 3 to 8 digits, or 1 to 11 letters and digits with at least one letter.")
		}
		return string(s), nil
	}
	if len(prog.Senders) == 1 {
		return prog.Senders[0], nil
	}
	m := &recipient.Message{Program: d.Program, Purpose: d.Purpose, Country: d.Country, Places: d.Places}
	for _, s := range prog.Senders {
		m.From = s
		facts, _, err := in.cfg.Decider.Facts(reg, prog, &recipient.State{}, m, now)
		if err != nil {
			break // the decision finds the same fault, and names it
		}
		a, err := in.cfg.Decider.Policy.Decide(ctx, facts)
		if err != nil {
			break
		}
		if !slices.ContainsFunc(a.Checks, func(c decision.Check) bool { return c.Check == "senders" && c.Outcome == decision.Deny }) {
			return s, nil
		}
	}
	return prog.Senders[0], nil // no sender ID is legal there, and the decision says why
}
