package decision

import (
	"context"
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
	// Zone loads a zone from the embedded database: sms.LoadZone.
	Zone func(name string) (*time.Location, error)
	// ZoneData is that database's version: sms.WorldVersion().
	ZoneData string
}

// Decide decides the message m of the stream s at the instant now. reg is the registry of the
// control position that the partition has applied. fault is a fault that the caller found, with
// its detail; "" means none. Any fault, the caller's or one that Decide finds, makes the outcome
// Hold. Decide records nothing: the caller appends the result.
func (d *Decider) Decide(ctx context.Context, reg *control.Registry, s *recipient.State, m *recipient.Message, now time.Time, fault event.Fault, detail string) *event.MessageDecided {
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
	var clocks []event.Clock
	var answer *Answer
	var windows []zoned
	at := now
	for range daysAhead { // the policies are asked once more about the instant at which a deferral would end
		facts, cl, err := d.Facts(prog, s, m, at)
		if err != nil {
			return hold(m, now, event.FaultZoneData, err.Error())
		}
		a, err := d.Policy.Decide(ctx, facts)
		if err != nil {
			return hold(m, now, event.FaultPolicy, "the policies could not be evaluated")
		}
		ws, err := d.zoned(a.Windows)
		if err != nil {
			return hold(m, now, event.FaultZoneData, err.Error())
		}
		if answer == nil {
			answer, windows, clocks = a, ws, cl
		}
		if a.Outcome != Defer || at.After(now) && a.Outcome == Deny {
			break // a later denial is recorded when the message is due, not now
		}
		next, ok := allOpen(ws, at)
		if !ok || !next.After(at) {
			// Within a week there is no instant at which all windows are open.
			answer = &Answer{Outcome: Deny, Checks: answer.Checks}
			break
		}
		at = next
	}
	out := &event.MessageDecided{Outcome: answer.Outcome, Clocks: clocks, ZoneData: d.ZoneData, Revision: revision, Digest: short(digest)}
	for _, o := range s.OptOuts {
		out.OptOuts = append(out.OptOuts, o.Event)
	}
	for _, c := range answer.Checks {
		ec := event.Check{Check: c.Check, Outcome: c.Outcome, Rules: c.Rules}
		for _, i := range c.OptOuts {
			if i < 0 || i >= len(s.OptOuts) {
				return hold(m, now, event.FaultPolicy, "the policies named an opt-out that does not exist")
			}
			ec.OptOuts = append(ec.OptOuts, s.OptOuts[i].Event)
		}
		out.Checks = append(out.Checks, ec)
	}
	switch answer.Outcome {
	case Allow:
		until := now.Add(maxAllow)
		if c := firstClose(windows, now); !c.IsZero() && c.Before(until) {
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
		out.Until = event.Millis(at.Add(time.Millisecond - 1))
	case Deny:
	default:
		return hold(m, now, event.FaultPolicy, "the policies gave an unknown outcome")
	}
	return out
}

// hold makes a hold for a fault. Each hold of a message lasts twice as long as the one before it:
// from a second up to MaxHold.
func hold(m *recipient.Message, now time.Time, fault event.Fault, detail string) *event.MessageDecided {
	wait := min(time.Second<<min(m.Holds, 10), MaxHold)
	return &event.MessageDecided{Outcome: Hold, Fault: fault, Detail: detail, Until: event.Millis(now.Add(wait))}
}

func short(digest string) string { return digest[:min(len(digest), 32)] }

// Facts returns the policy input for the message m of the stream s at an instant, and the clocks
// in it in the form in which a decision records them. An error means that the zone of a place
// does not load.
func (d *Decider) Facts(prog *control.Program, s *recipient.State, m *recipient.Message, at time.Time) (*Facts, []event.Clock, error) {
	f := factsWithoutClocks(prog, m, s.OptOuts)
	f.ZoneData = d.ZoneData
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
// submit, its program's registration and the opt-outs in force.
func factsWithoutClocks(prog *control.Program, m *recipient.Message, optOuts []recipient.OptOut) *Facts {
	f := &Facts{
		Purpose:   m.Purpose,
		Program:   FactProgram{Name: prog.Name, LegalEntity: prog.LegalEntity, Purposes: prog.Purposes, Countries: prog.Countries},
		Recipient: FactRecipient{Country: m.Country, Places: make([]FactPlace, 0, len(m.Places))},
		Sender:    FactSender{ID: m.From, Type: string(sms.Sender(m.From).Type()), Owned: slices.Contains(prog.Senders, m.From)},
		Clocks:    make(map[string]FactClock, len(m.Places)),
	}
	for _, p := range m.Places {
		f.Recipient.Places = append(f.Recipient.Places, parsePlace(p))
	}
	for _, o := range optOuts {
		fo := FactOptOut{Scope: string(o.Reach.Scope), Unclear: o.Unclear, Answers: !m.Answers.IsZero() && o.Event == m.Answers}
		switch o.Reach.Scope {
		case event.ScopeSender:
			fo.Same = o.Reach.Name == m.From
		case event.ScopeProgram:
			fo.Same = o.Reach.Name == m.Program
		case event.ScopeLegalEntity:
			fo.Same = o.Reach.Name == prog.LegalEntity
		default:
			fo.Same = true
		}
		f.OptOuts = append(f.OptOuts, fo)
	}
	return f
}

// parsePlace reads what sms.Place.Event wrote, such as "US-FL America/New_York".
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
