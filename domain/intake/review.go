package intake

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/receipts"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/domain/sms"
)

const (
	// mostResolved bounds the reviews of one bulk call, and resolvedAtOnce how many of them are
	// resolved side by side.
	mostResolved   = 1000
	resolvedAtOnce = 16
	// mostPlaced bounds how many of the older messages that a review took the place of are placed with
	// it: the newest.
	mostPlaced = 256
)

// Resolution is what an officer says of a review.
type Resolution struct {
	// As is stop, narrow, clear or place.
	As event.ReviewOutcome
	// Scope, and Name but for the scope tenant, are what narrow stops.
	Scope event.Scope
	Name  string
	// Number is the person's, for place; Country is its country if it is national. Tenant is for whom
	// the message was: it may be left out if only one tenant can be meant.
	Number, Country, Tenant string
	// Evidence says why: 1 to 4,096 bytes of text.
	Evidence string
}

// Resolved is the answer to a resolution. It is durable, and the views have applied it.
type Resolved struct {
	Event    event.ID
	Position event.Position
	// Reaches are what is stopped from here on.
	Reaches []event.Reach
	// Placed is the event with the words in the person's stream; zero if none was placed.
	Placed event.ID
	// Lifted are the holds that ended in other streams.
	Lifted []event.ID
}

// ResolveReview resolves an open review of owner: the caller's tenant, or "" for what the operator places.
// The caller of this function checks who may act for the operator.
//
// To place a message takes several events in several streams. They have derived ids, and the review is
// closed by the last of them: after an error the same call completes what is left.
func (in *Intake) ResolveReview(ctx context.Context, c ledger.Caller, owner string, id event.ID, r *Resolution) (*Resolved, error) {
	if n := len(r.Evidence); strings.TrimSpace(r.Evidence) == "" || n > maxEvidence || !utf8.ValidString(r.Evidence) {
		return nil, refuse("evidence_required", "/evidence", fmt.Sprintf("Say on what evidence, in 1 to %d bytes of text.", maxEvidence))
	}
	switch r.As {
	case event.ReviewStop, event.ReviewNarrow, event.ReviewClear, event.ReviewPlace:
	default:
		return nil, refuse("invalid_outcome", "/as", "A review is resolved as stop, narrow, clear or place.")
	}
	v, err := in.openReview(ctx, owner, id)
	if err != nil {
		return nil, err
	}
	x := &resolving{in: in, c: c, r: r, openReview: v, reg: in.registry()}
	if x.stream, err = in.cfg.Writer.Keyed(ctx, x.stream); err != nil {
		return nil, ledger.Refused(err)
	}
	out, err := x.do(ctx)
	if err != nil {
		return nil, err
	}
	if err := in.cfg.Finder.WaitFor(ctx, out.Position); err != nil {
		return nil, ledger.Unknown(err)
	}
	return out, nil
}

// Outcome is what became of one review of a bulk call: Resolved, or Err.
type Outcome struct {
	Resolved *Resolved
	Err      error
}

// ResolveReviews resolves up to 1,000 reviews in the same way, as stop or clear. It returns an outcome for
// each, in order.
func (in *Intake) ResolveReviews(ctx context.Context, c ledger.Caller, owner string, ids []event.ID, r *Resolution) ([]Outcome, error) {
	if len(ids) == 0 || len(ids) > mostResolved {
		return nil, refuse("too_many", "/ids", "Give 1 to 1,000 reviews.")
	}
	if r.As != event.ReviewStop && r.As != event.ReviewClear {
		return nil, refuse("invalid_outcome", "/as", "Several reviews are resolved at once as stop or clear.")
	}
	out := make([]Outcome, len(ids))
	next := make(chan int)
	var all sync.WaitGroup
	for range min(resolvedAtOnce, len(ids)) {
		all.Go(func() {
			for i := range next {
				out[i].Resolved, out[i].Err = in.ResolveReview(ctx, c, owner, ids[i], r)
			}
		})
	}
	for i, id := range ids {
		if slices.Contains(ids[:i], id) {
			out[i].Err = &ledger.Refusal{Code: "review_not_open", Status: ledger.Conflict, Text: "This review is named twice; see its first result."}
			continue
		}
		next <- i
	}
	close(next)
	all.Wait()
	return out, nil
}

// ReviewRead records that the words of a review of a tenant are shown to the caller. It returns when the
// event is durable; else the words must not be shown.
func (in *Intake) ReviewRead(ctx context.Context, c ledger.Caller, tenant string, subject event.Pseudonym, review event.ID) error {
	if err := in.registry().NeedsLevel(2, "Reading the words of a review", ""); err != nil {
		return err
	}
	w := in.cfg.Writer
	s := w.StreamOf(tenant, subject)
	if _, err := w.Append(ctx, s.Partition, w.Write(s, w.NewID(), &event.ReviewRead{Review: review, By: c.Key})); err != nil {
		return ledger.Refused(err) // whether it was recorded or not, nothing is shown
	}
	return nil
}

// openReview is a review that is open at the head that its partition has now.
type openReview struct {
	recipient.Review
	stream ledger.Stream
	// reaches are what it holds.
	reaches []event.Reach
}

// openReview finds an open review.
func (in *Intake) openReview(ctx context.Context, owner string, id event.ID) (*openReview, error) {
	closed := &ledger.Refusal{Code: "review_not_open", Status: ledger.Conflict, Text: "This review is not open: it was resolved, or there is none with this id."}
	ref, ok, err := in.cfg.Finder.Inbound(ctx, owner, id)
	if err != nil {
		return nil, ledger.Refused(err)
	}
	if !ok {
		return nil, closed
	}
	f, err := in.foldAtHead(ctx, ref.Position.Partition, ref.Subject)
	if err != nil {
		return nil, err
	}
	if f == nil {
		return nil, closed
	}
	open := f.OpenReviews()
	i := slices.IndexFunc(open, func(v recipient.Review) bool { return v.Event == id })
	if i < 0 {
		if newer := tookThePlace(ctx, in.cfg.Log, ref, open); !newer.IsZero() {
			closed.Text = "A newer reply of the same kind took its place: resolve " + newer.String() + ", which covers this one too."
		}
		return nil, closed
	}
	v := &openReview{Review: open[i], stream: in.cfg.Writer.StreamOf(owner, ref.Subject)}
	v.stream.Key = f.Key
	for _, o := range f.OptOuts {
		if o.Event == id && !slices.Contains(v.reaches, o.Reach) {
			v.reaches = append(v.reaches, o.Reach)
		}
	}
	return v, nil
}

// tookThePlace is the open review that took the place of an inbound message: one of the same kind that came
// to the same number after it. Zero if there is none.
func tookThePlace(ctx context.Context, log ledger.Log, ref ledger.InboundRef, open []recipient.Review) (newer event.ID) {
	e, err := ledger.ReadEvent(ctx, log, ref.Position)
	if err != nil {
		return event.ID{}
	}
	for _, v := range open {
		if v.Index <= ref.Position.Index || v.Repeats == 0 || v.Since.After(e.Time) {
			continue
		}
		same := false
		switch d := e.Data.(type) {
		case *event.InboundReceivedV2:
			same = v.To == d.To && (v.Kind == recipient.ReviewKind(d.Holds) || d.Unplaced != "" && v.Kind == recipient.ReviewUnplaced || d.Ask == event.InboundStart && v.Kind == recipient.ReviewStart)
		case *event.InboundJoined:
			same = v.To == d.To && v.Kind == recipient.ReviewKind(d.Holds)
		case *event.InboundHeld:
			same = v.To == d.To && v.Kind == recipient.ReviewHeld
		}
		if same {
			newer = v.Event
		}
	}
	return newer
}

// foldAtHead is a stream's fold at the head that the log has now; nil if the stream has none.
func (in *Intake) foldAtHead(ctx context.Context, p event.Partition, subject event.Pseudonym) (*recipient.State, error) {
	_, head, err := in.cfg.Log.Read(ctx, p, 0, 0)
	if err != nil {
		return nil, ledger.Refused(err)
	}
	if head == 0 {
		return nil, nil
	}
	if err := in.cfg.Finder.WaitFor(ctx, event.Position{Partition: p, Index: head - 1}); err != nil {
		return nil, ledger.Refused(err)
	}
	folds, _, err := in.cfg.Views.Streams(ctx, p, []event.Pseudonym{subject})
	if err != nil {
		return nil, ledger.Refused(err)
	}
	return folds[subject], nil
}

// resolving is one review being resolved.
type resolving struct {
	in  *Intake
	c   ledger.Caller
	r   *Resolution
	reg *control.Registry
	*openReview
}

// do checks that the outcome fits the review, and appends what it takes.
func (x *resolving) do(ctx context.Context) (*Resolved, error) {
	switch as := x.r.As; {
	case x.Kind == recipient.ReviewHeld:
		return nil, &ledger.Refusal{Code: "operator_places", Status: ledger.Conflict, Text: "It is not certain that this message is of this person or for this tenant. The operator has the words, and places them; the hold ends with that."}
	case as == event.ReviewPlace && x.reg.Level() < 2:
		return nil, x.reg.NeedsLevel(2, "Placing a message", "/as")
	case x.Kind == recipient.ReviewUnplaced && as == event.ReviewPlace:
		return x.place(ctx)
	case x.Kind == recipient.ReviewUnplaced && as == event.ReviewClear:
		messages, err := x.messages(ctx)
		if err != nil {
			return nil, err
		}
		if err := x.held(ctx, messages); err != nil {
			return nil, err
		}
		lifted, err := x.liftHolds(ctx, messages)
		if err != nil {
			return nil, err
		}
		return x.resolve(ctx, nil, event.ID{}, lifted)
	case x.Kind == recipient.ReviewUnplaced:
		return nil, &ledger.Refusal{Code: "place_it", Status: ledger.Conflict, Text: "It is not certain whose words these are. Place the message, with the number and the tenant; what it stops there follows from its words. Or clear it."}
	case as == event.ReviewPlace:
		return nil, &ledger.Refusal{Code: "already_placed", Status: ledger.Conflict, Text: "This message is in its person's stream already. Resolve it as stop, narrow or clear."}
	case as == event.ReviewClear:
		return x.resolve(ctx, nil, event.ID{}, nil)
	case as == event.ReviewNarrow:
		reach, err := x.narrow()
		if err != nil {
			return nil, err
		}
		if !x.within(reach) {
			return nil, refuse("invalid_scope", "/scope", "This is not less than what the reply stopped. Name a legal entity that it stopped, or a program or a sender ID of one; to stop more, record an opt-out.")
		}
		return x.resolve(ctx, []event.Reach{reach}, event.ID{}, nil)
	case len(x.reaches) == 0:
		return nil, &ledger.Refusal{Code: "holds_nothing", Status: ledger.Conflict, Text: "This START holds nothing, and what stood before it still stands. Resolve it as clear; where the person may be texted again, lift their opt-outs."}
	}
	return x.resolve(ctx, x.reaches, event.ID{}, nil)
}

// narrow is what an officer says is stopped.
func (x *resolving) narrow() (event.Reach, error) {
	out := event.Reach{Scope: x.r.Scope, Name: x.r.Name}
	programs := x.reg.Programs(x.stream.Tenant)
	switch x.r.Scope {
	case event.ScopeSender:
		s, err := sms.ParseSender(x.r.Name)
		if err != nil {
			return out, refuse("invalid_sender", "/name", "With scope sender, give the sender ID.")
		}
		out.Name = string(s)
	case event.ScopeProgram:
		if x.r.Name == "" || x.reg.Program(x.stream.Tenant, x.r.Name) == nil {
			return out, refuse("unknown_program", "/name", "This tenant has no program with this name.")
		}
	case event.ScopeLegalEntity:
		if !slices.ContainsFunc(programs, func(p *control.Program) bool { return p.LegalEntity == x.r.Name }) {
			return out, refuse("unknown_legal_entity", "/name", "No program of this tenant has this legal entity.")
		}
	case event.ScopeTenant:
		if x.r.Name != "" {
			return out, refuse("invalid_scope", "/name", "The scope tenant has no name.")
		}
	default:
		return out, refuse("invalid_scope", "/scope", "A scope is sender, program, legal_entity or tenant.")
	}
	return out, nil
}

// within reports whether what an officer says is stopped lies within what the reply held.
func (x *resolving) within(r event.Reach) bool {
	held := func(p *control.Program) bool {
		return slices.ContainsFunc(x.reaches, func(h event.Reach) bool {
			switch h.Scope {
			case event.ScopeTenant:
				return true
			case event.ScopeLegalEntity:
				return h.Name == p.LegalEntity
			case event.ScopeProgram:
				return h.Name == p.Name
			}
			return slices.Contains(p.Senders, h.Name)
		})
	}
	if slices.Contains(x.reaches, r) {
		return true
	}
	return r.Scope != event.ScopeTenant && slices.ContainsFunc(x.reg.Programs(x.stream.Tenant), func(p *control.Program) bool {
		names := r.Scope == event.ScopeLegalEntity && p.LegalEntity == r.Name || r.Scope == event.ScopeProgram && p.Name == r.Name ||
			r.Scope == event.ScopeSender && slices.Contains(p.Senders, r.Name)
		return names && held(p)
	})
}

// isWriter reports whether a number may be placed: where the writer's number is certain, and something is
// held for it, no other number is the writer's.
func (x *resolving) isWriter(to sms.Number) bool {
	if x.Unplaced != event.UnplacedUnowned && x.Unplaced != event.UnplacedShared || len(x.Streams) == 0 {
		return true
	}
	return slices.ContainsFunc(x.Streams, func(s event.HeldStream) bool {
		return x.in.cfg.Writer.Stream(s.Tenant, to).Subject == s.Subject
	})
}

// resolve appends the event that closes the review, in the form of the ledger's format level.
func (x *resolving) resolve(ctx context.Context, reaches []event.Reach, placed event.ID, lifted []event.ID) (*Resolved, error) {
	w := x.in.cfg.Writer
	id := w.NewID()
	sealed, err := w.Seal(x.reg.Level(), x.stream, ledger.ClassEvidence, id, event.Evidence{Text: x.r.Evidence})
	if err != nil {
		return nil, ledger.Refused(err)
	}
	var d event.Data
	switch {
	case x.reg.Level() >= 2:
		d = &event.ReviewResolved{Review: x.Event, As: x.r.As, Reaches: reaches, Placed: placed, By: x.c.Key, Sealed: &sealed}
	case len(reaches) > 0: // before level 2 an event holds one reach
		d = &event.OptedOut{Reach: reaches[0], Source: event.SourceReview, Lifts: []event.ID{x.Event}, By: x.c.Key, Sealed: &sealed}
	default:
		d = &event.SuppressionLifted{Lifts: []event.ID{x.Event}, Source: event.SourceReview, By: x.c.Key, Sealed: &sealed}
	}
	pos, err := w.Append(ctx, x.stream.Partition, w.Write(x.stream, id, d))
	if err != nil {
		return nil, err
	}
	return &Resolved{Event: id, Position: pos, Reaches: reaches, Placed: placed, Lifted: lifted}, nil
}

// place puts the words where they belong: first into the person's stream, then it ends the holds of all
// streams that were meant, then it closes the review. Each step is durable before the next, so that the
// person's words are in force, or held, before any hold ends.
func (x *resolving) place(ctx context.Context) (*Resolved, error) {
	to, err := sms.ParseAny(x.r.Number, x.r.Country)
	if err != nil {
		return nil, refuseNumber("/number", err)
	}
	if !x.isWriter(to) {
		return nil, refuse("invalid_number", "/number", "The number of the writer is certain, and it is not this one. Give the number that the review shows; only the tenant is to be found out.")
	}
	messages, err := x.messages(ctx)
	if err != nil {
		return nil, err
	}
	if err := x.held(ctx, messages); err != nil {
		return nil, err
	}
	tenant, err := x.tenant(messages[0].Data.(*event.InboundReceivedV2).Account)
	if err != nil {
		return nil, err
	}
	stream, err := x.in.cfg.Writer.Keyed(ctx, x.in.cfg.Writer.Stream(tenant, to))
	if err != nil {
		return nil, ledger.Refused(err)
	}
	var placed event.ID
	for i, m := range messages {
		// Older ones than can be found may have stopped something: then the newest holds what it may.
		holds := i == len(messages)-1 && len(messages) <= x.Repeats
		if placed, err = x.placeOne(ctx, stream, to, m, holds); err != nil {
			return nil, err
		}
	}
	lifted, err := x.liftHolds(ctx, messages)
	if err != nil {
		return nil, err
	}
	return x.resolve(ctx, nil, placed, lifted)
}

// tenant is for whom the message was, which an account delivered.
func (x *resolving) tenant(account string) (string, error) {
	// Those whose streams it holds, and those that send from the number that was texted now.
	all := receipts.TenantsOf(x.reg, account, x.To)
	for _, s := range x.Streams {
		if !slices.Contains(all, s.Tenant) {
			all = append(all, s.Tenant)
		}
	}
	if x.r.Tenant != "" {
		if len(x.reg.Programs(x.r.Tenant)) == 0 {
			return "", refuse("unknown_tenant", "/tenant", "There is no tenant of this name with a program.")
		}
		if !slices.Contains(all, x.r.Tenant) {
			return "", refuse("unknown_tenant", "/tenant", "This tenant cannot be meant: another sends from the number that was texted.")
		}
		return x.r.Tenant, nil
	}
	if len(all) != 1 {
		return "", refuse("tenant_required", "/tenant", "Several tenants may be meant, or none is known: name the tenant.")
	}
	return all[0], nil
}

// messages are the unplaced messages of the review, the oldest first: its own, and those that it took the
// place of. Each may have stopped something of its own.
func (x *resolving) messages(ctx context.Context) ([]*event.Event, error) {
	at := event.Position{Partition: x.stream.Partition, Index: x.Index}
	e, err := ledger.ReadEvent(ctx, x.in.cfg.Log, at)
	if err != nil {
		return nil, ledger.Refused(err)
	}
	own, ok := e.Data.(*event.InboundReceivedV2)
	if !ok {
		return nil, fmt.Errorf("the event under review at %s: %w", at, ledger.ErrUnreadable)
	}
	out := []*event.Event{e}
	if x.Repeats == 0 {
		return out, nil
	}
	near, err := x.in.cfg.Finder.InboundNear(ctx, x.stream.Subject, x.Index, 4*mostPlaced)
	if err != nil {
		return nil, ledger.Refused(err)
	}
	same := func(a, b event.HeldStream) bool { return a.Tenant == b.Tenant && a.Subject == b.Subject }
	for _, ref := range near {
		if len(out) > min(x.Repeats, mostPlaced) {
			break
		}
		old, err := ledger.ReadEvent(ctx, x.in.cfg.Log, ref.Position)
		if err != nil {
			return nil, ledger.Refused(err)
		}
		if d, ok := old.Data.(*event.InboundReceivedV2); ok && d.To == own.To && d.Unplaced == own.Unplaced && slices.EqualFunc(d.Streams, own.Streams, same) {
			out = append(out, old)
		}
	}
	slices.Reverse(out)
	return out, nil
}

// heldWithin is how long after a message its holds may still be on their way: longer than any append is tried.
const heldWithin = time.Hour

// held refuses, for the caller to try again, while a hold of one of the messages is still on its way: one that came after
// its review was closed could be ended by nobody.
func (x *resolving) held(ctx context.Context, messages []*event.Event) error {
	for _, m := range messages {
		if x.in.cfg.Now().Sub(m.Time) > heldWithin {
			continue
		}
		for _, s := range m.Data.(*event.InboundReceivedV2).Streams {
			if _, there, err := x.in.cfg.Finder.Inbound(ctx, s.Tenant, s.Event); err != nil {
				return ledger.Refused(err)
			} else if !there {
				return ledger.Refused(errors.New("a hold of this message is still being recorded"))
			}
		}
	}
	return nil
}

// placeOne appends one unplaced message to the person's stream, unless it is there already.
// Its words are read again, now that their writer's country is known, and count as what was read first if that
// revoked more plainly. With holds they hold at least what is unclear.
func (x *resolving) placeOne(ctx context.Context, s ledger.Stream, number sms.Number, e *event.Event, holds bool) (event.ID, error) {
	w, id := x.in.cfg.Writer, event.Derive(e.ID, "placed", s.Subject.String())
	if _, there, err := x.in.cfg.Finder.Inbound(ctx, s.Tenant, id); err != nil {
		return id, ledger.Refused(err)
	} else if there {
		return id, nil
	}
	d := e.Data.(*event.InboundReceivedV2)
	words, err := ledger.Open[event.Inbound](x.in.cfg.Vault, e.Tenant, e.ID, &d.Sealed)
	if err != nil {
		return id, ledger.Refused(err)
	}
	texts := words.Others
	if words.Text != "" {
		texts = append([]string{words.Text}, texts...)
	}
	heard := x.in.cfg.Hear(receipts.Writer{Tenant: s.Tenant, Country: x.in.cfg.World.Country(number)}, texts, words.Unreadable)
	if d.Concat == nil {
		heard = heard.OrElse(d)
	}
	if holds {
		heard = heard.OrElse(&event.InboundReceivedV2{Ask: event.InboundUnclear, Holds: event.HoldUnclear, Lists: heard.Lists})
	}
	placed := receipts.Placed(x.reg, d, s.Tenant, heard)
	words.From = string(number)
	if placed.Sealed, err = w.Seal(x.reg.Level(), s, ledger.ClassEvidence, id, words); err != nil {
		return id, ledger.Refused(err)
	}
	// Read stays 0: when it came, nothing of this stream is known to have been read. So a START that an
	// officer places lifts nothing by itself, and is under review in the person's stream.
	said := ledger.Delivery{Texts: texts, To: d.To, Raw: words.Raw}
	if c := d.Concat; c != nil {
		said.Concat = &sms.Concat{Reference: uint16(c.Reference), Part: c.Part, Parts: c.Parts}
	}
	placed.Places, placed.Digest = e.ID, w.SaidDigest(s.Tenant, &said)
	_, err = w.Append(ctx, s.Partition, w.Write(s, id, &placed))
	return id, err
}

// liftHolds ends the holds of the streams that the messages may have been for, with one event a stream.
func (x *resolving) liftHolds(ctx context.Context, messages []*event.Event) (lifted []event.ID, err error) {
	w := x.in.cfg.Writer
	for _, h := range x.Streams {
		d := &event.SuppressionLifted{Source: event.SourceReview, Answers: x.Event, By: x.c.Key}
		for _, m := range messages {
			for _, of := range m.Data.(*event.InboundReceivedV2).Streams {
				if of.Tenant == h.Tenant && of.Subject == h.Subject {
					d.Lifts = append(d.Lifts, of.Event)
				}
			}
		}
		s := w.StreamOf(h.Tenant, h.Subject)
		if _, err := w.Append(ctx, s.Partition, w.Write(s, event.Derive(x.Event, "lifted", h.Tenant, h.Subject.String()), d)); err != nil {
			return lifted, err
		}
		lifted = append(lifted, d.Lifts...)
	}
	return lifted, nil
}
