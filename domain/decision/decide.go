package decision

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/chirograph/chirograph/domain/control"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/domain/sms"
)

const (
	// maxAllow bounds how long an allow stands, so that the policies are asked at least once
	// an hour.
	maxAllow = time.Hour
	// MaxHold is the longest time after which a held message is decided anew.
	MaxHold = 5 * time.Minute
)

// Decider makes decisions. It is pure, as far as its Policy is.
type Decider struct {
	// Policy is asked for every answer.
	Policy Policy
	// Zone loads a zone of the world data: places.World.Zone.
	Zone func(name string) (*time.Location, error)
	// ZoneData is the version of the world data: places.World.Version.
	ZoneData string
}

// Decide decides the message m of the stream s at the instant now. reg is the registry of the
// control position that the partition has applied. fault is a fault that the caller found, with
// its detail; "" means none. Any fault, the caller's or one that Decide finds, makes the outcome
// Hold. Decide records nothing: the caller appends the result.
func (d *Decider) Decide(ctx context.Context, reg *control.Registry, s *recipient.State, m *recipient.Message, now time.Time, fault event.Fault, detail string) *event.MessageDecided {
	if reg.Epoch().Holds(s.Tenant, m.Program) {
		return hold(m, now, event.FaultRecovery, notReleased)
	}
	if fault != "" {
		return hold(m, now, fault, detail)
	}
	prog := reg.Program(s.Tenant, m.Program)
	if prog == nil {
		return hold(m, now, event.FaultProgram, "the program "+m.Program+" is not registered")
	}
	route, ok := reg.Routes().Choose(m.Country, m.Program)
	if !ok {
		return hold(m, now, event.FaultRoute, "no route takes messages to "+m.Country+" for the program "+m.Program)
	}
	if p := reg.Paused(s.Tenant, m.Program, route.Carrier); p != nil {
		return hold(m, now, event.FaultPause, "paused: "+p.Reason)
	}
	revision, digest := d.Policy.Bundle()
	if active := reg.Policy(); active == nil || active.Digest != digest {
		return hold(m, now, event.FaultBundle, "this node has loaded other policies than those in force")
	}
	q := question{d: d, reg: reg, prog: prog, s: s, m: m, now: now}
	if fault, detail := q.ask(ctx); fault != "" {
		return hold(m, now, fault, detail)
	}
	out := &event.MessageDecided{Outcome: q.answer.Outcome, Clocks: q.clocks, ZoneData: d.ZoneData, Revision: revision, Digest: short(digest)}
	for _, o := range s.OptOuts {
		out.OptOuts = append(out.OptOuts, o.Event)
	}
	out.Checks = slices.Grow(out.Checks, len(q.answer.Checks))
	for _, c := range q.answer.Checks {
		ec := event.Check{Check: c.Check, Outcome: c.Outcome, Rules: c.Rules}
		if reg.Level() >= 2 && !c.Until.IsZero() {
			ec.Until = q.valid(c.Until)
		}
		for _, i := range c.OptOuts {
			if i < 0 || i >= len(s.OptOuts) {
				return hold(m, now, event.FaultPolicy, "the policies named an opt-out that does not exist")
			}
			ec.OptOuts = append(ec.OptOuts, s.OptOuts[i].Event)
		}
		out.Checks = append(out.Checks, ec)
	}
	switch q.answer.Outcome {
	case Allow:
		until := now.Add(maxAllow)
		if c := firstClose(q.windows, now); !c.IsZero() && c.Before(until) {
			until = c
		}
		if m.ValidUntil.Before(until) {
			until = m.ValidUntil
		}
		out.Until, out.Senders = event.Millis(until), []string{m.From}
		if !out.Until.After(now) {
			return hold(m, now, event.FaultPolicy, "the policies allowed a message outside the hours that they allow")
		}
	case Defer:
		out.Until = event.Millis(q.until.Add(time.Millisecond - 1))
	case Deny:
	default:
		return hold(m, now, event.FaultPolicy, "the policies gave an unknown outcome")
	}
	return out
}

// notReleased is the detail of a hold in an epoch in which the program is not released.
const notReleased = "the ledger was recovered or restored; an operator has yet to release the program"

// question is what the policies are asked about one message, and what they answered.
type question struct {
	d    *Decider
	reg  *control.Registry
	prog *control.Program
	s    *recipient.State
	m    *recipient.Message
	now  time.Time

	// answer is the answer about now, with its windows, and the clocks that it was made from.
	answer  *Answer
	windows []zoned
	clocks  []event.Clock
	// until is when a deferral ends.
	until time.Time
}

// ask asks the policies about now. If they defer, it asks once more about the instant at which every
// check that defers lets go, and so on, at most daysAhead times. A fault says why there is no answer.
func (q *question) ask(ctx context.Context) (fault event.Fault, detail string) {
	q.until = q.now
	for range daysAhead {
		facts, clocks, err := q.d.Facts(q.reg, q.prog, q.s, q.m, q.until)
		if err != nil {
			return event.FaultZoneData, err.Error()
		}
		a, err := q.d.Policy.Decide(ctx, facts)
		if err != nil {
			return event.FaultPolicy, "the policies could not be evaluated"
		}
		ws, err := q.d.zoned(a.Windows)
		if err != nil {
			return event.FaultZoneData, err.Error()
		}
		if q.answer == nil {
			q.answer, q.windows, q.clocks = a, ws, clocks
		}
		if a.Outcome != Defer {
			return "", "" // a later denial is recorded when the message is due, not now
		}
		next, err := q.release(a, ws)
		switch {
		case err != nil:
			return event.FaultPolicy, err.Error()
		case next.IsZero():
			q.answer = &Answer{Outcome: Deny, Checks: q.answer.Checks}
			return "", ""
		}
		if q.until = next; !next.Before(q.m.ValidUntil) {
			return "", "" // the message expires before it could be decided anew
		}
	}
	return "", ""
}

// release is the first instant after q.until at which every check that defers has let go: at its own
// instant, or when all windows are open. It is zero if the windows are never all open within a week.
func (q *question) release(a *Answer, ws []zoned) (time.Time, error) {
	next := q.until
	hours := false // does any check wait for the windows?
	for _, c := range a.Checks {
		switch {
		case c.Outcome != Defer:
		case c.Until.IsZero():
			hours = true
		case !q.valid(c.Until).After(q.until):
			return time.Time{}, errors.New("the policies deferred the message to an instant that has passed")
		default:
			next = later(next, q.valid(c.Until))
		}
	}
	if !hours {
		if next.Equal(q.until) {
			return time.Time{}, errors.New("the policies deferred the message, and none of their checks did")
		}
		return next, nil
	}
	open, ok := allOpen(ws, q.until)
	if !ok || !open.After(q.until) {
		return time.Time{}, nil
	}
	return later(next, open), nil
}

// valid is t, or the end of the message's validity if that comes earlier.
func (q *question) valid(t time.Time) time.Time {
	if q.m.ValidUntil.Before(t) {
		return q.m.ValidUntil
	}
	return t
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// hold makes a hold for a fault. Each hold of a message lasts twice as long as the one before it:
// from a second up to MaxHold.
func hold(m *recipient.Message, now time.Time, fault event.Fault, detail string) *event.MessageDecided {
	wait := min(time.Second<<min(m.Holds, 10), MaxHold)
	return &event.MessageDecided{Outcome: Hold, Fault: fault, Detail: detail, Until: event.Millis(now.Add(wait))}
}

func short(digest string) string { return digest[:min(len(digest), 32)] }

// Facts returns the policy input for the message m of the program prog of reg, in the stream s, at an
// instant, and the clocks
// in it in the form in which a decision records them. An error means that the zone of a place
// does not load.
func (d *Decider) Facts(reg *control.Registry, prog *control.Program, s *recipient.State, m *recipient.Message, at time.Time) (*Facts, []event.Clock, error) {
	f := factsWithoutClocks(reg, prog, m, s.OptOuts)
	f.ZoneData = d.ZoneData
	f.Review = review(f.OptOuts, s.OptOuts, m, at)
	var clocks []event.Clock
	for _, p := range f.Recipient.Places {
		if _, done := f.Clocks[p.Zone]; done {
			continue
		}
		loc, err := d.Zone(p.Zone)
		if err != nil {
			return nil, nil, fmt.Errorf("the time zone %s cannot be loaded", p.Zone)
		}
		l := at.In(loc)
		f.Clocks[p.Zone] = FactClock{Date: l.Format("2006-01-02"), Time: l.Format("15:04"), Weekday: (int(l.Weekday())+6)%7 + 1}
		clocks = append(clocks, event.Clock(p.Zone+" "+l.Format("2006-01-02T15:04")))
	}
	return f, clocks, nil
}

// factsWithoutClocks is the policy input without its clocks: what follows from the message's
// submit, its program's registration, who owns its sender ID, and the opt-outs in force.
func factsWithoutClocks(reg *control.Registry, prog *control.Program, m *recipient.Message, optOuts []recipient.OptOut) *Facts {
	f := &Facts{
		Purpose:   m.Purpose,
		Reply:     string(m.Reply),
		Program:   FactProgram{Name: prog.Name, LegalEntity: prog.LegalEntity, Purposes: prog.Purposes, Countries: prog.Countries},
		Recipient: FactRecipient{Country: m.Country, Places: make([]FactPlace, 0, len(m.Places))},
		Sender:    FactSender{ID: m.From, Type: string(sms.Sender(m.From).Type()), Owned: owned(reg, prog, m.From)},
		Clocks:    make(map[string]FactClock, len(m.Places)),
	}
	for _, p := range m.Places {
		f.Recipient.Places = append(f.Recipient.Places, parsePlace(p))
	}
	for _, o := range optOuts {
		fo := FactOptOut{Scope: string(o.Reach.Scope), Unclear: o.Unclear, Answers: !m.Answers.IsZero() && (o.Event == m.Answers || o.First == m.Answers)}
		switch o.Reach.Scope {
		case event.ScopeSender:
			fo.Same = control.SenderForm(o.Reach.Name) == control.SenderForm(m.From)
		case event.ScopeProgram:
			fo.Same = o.Reach.Name == m.Program
		case event.ScopeLegalEntity:
			fo.Same = o.Reach.Name == prog.LegalEntity || control.EntityForm(o.Reach.Name) == control.EntityForm(prog.LegalEntity)
		default:
			fo.Same = true
		}
		f.OptOuts = append(f.OptOuts, fo)
	}
	return f
}

// reviewWithin is how long a message waits for an officer to read unclear opt-outs, from when the
// message and the first of them met.
const reviewWithin = time.Hour

// review is the wait at an instant for the unclear opt-outs that cover the message; zero if there are
// none. facts are the opt-outs as the message sees them.
//
// For example: a message of 08:00 with a validity of a day meets unclear words of 09:30:10. It waits
// until 10:31.
func review(facts []FactOptOut, optOuts []recipient.OptOut, m *recipient.Message, at time.Time) FactReview {
	var met time.Time
	for i, o := range optOuts {
		if facts[i].Same && o.Unclear && (met.IsZero() || o.Known.Before(met)) {
			met = o.Known
		}
	}
	if met.IsZero() {
		return FactReview{}
	}
	start := m.SendAt
	if start.IsZero() {
		start = m.ID.Time()
	}
	until := later(met, start).Add(reviewWithin)
	if m.ValidUntil.Before(until) {
		until = m.ValidUntil
	}
	until = until.Add(time.Minute - 1).Truncate(time.Minute)
	return FactReview{Until: until.UTC().Format(time.RFC3339), Ended: !at.Before(until)}
}

// owned reports whether a program registers a sender ID, and no operator has granted that or its legal
// entity to another tenant.
func owned(reg *control.Registry, prog *control.Program, sender string) bool {
	owner, granted := reg.Owner(sender)
	entityOwner, entityGranted := prog.EntityOwner(reg)
	return slices.Contains(prog.Senders, sender) && (!granted || owner == prog.Tenant) && (!entityGranted || entityOwner == prog.Tenant)
}

// parsePlace reads what places.Place.Event wrote, such as "US-FL America/New_York".
func parsePlace(p event.Place) FactPlace {
	region, zone, _ := strings.Cut(string(p), " ")
	country, state, _ := strings.Cut(region, "-")
	return FactPlace{Country: country, State: state, Zone: zone}
}

// zoned loads the zones of windows. Windows with the same zone and hours become one.
func (d *Decider) zoned(ws []Window) ([]zoned, error) {
	type key struct {
		zone string
		days [7][2]int
	}
	known := make(map[key]bool, len(ws))
	out := make([]zoned, 0, len(ws))
	for _, w := range ws {
		k := key{w.Zone, w.Days}
		if known[k] {
			continue
		}
		known[k] = true
		loc, err := d.Zone(w.Zone)
		if err != nil {
			return nil, fmt.Errorf("the time zone %s cannot be loaded", w.Zone)
		}
		out = append(out, zoned{w, loc})
	}
	return out, nil
}
