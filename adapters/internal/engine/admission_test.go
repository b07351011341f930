package engine

import (
	"errors"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

// The bounds are in bytes and events of the appends that have not left, and nothing enters
// after Close.
func TestAdmissionBounds(t *testing.T) {
	now := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	ad := NewAdmission(4, 100, 5)
	two := &Append{Slot: 3, Events: make([]*event.Event, 2), Size: 40}
	for range 2 {
		if err := ad.Enter(two, now); err != nil {
			t.Fatal(err)
		}
	}
	if two.Queued != now {
		t.Errorf("queued at %v", two.Queued)
	}
	if err := ad.Check(2, 21, 1, now); !errors.Is(err, ErrFull) {
		t.Errorf("101 bytes: %v", err)
	}
	if err := ad.Check(2, 0, 2, now); !errors.Is(err, ErrFull) {
		t.Errorf("6 events: %v", err)
	}
	if err := ad.Check(2, 20, 1, now); err != nil {
		t.Errorf("100 bytes, 5 events: %v", err)
	}
	ad.Leave(two)
	if bytes, events := ad.Queued(); bytes != 40 || events != 2 {
		t.Errorf("%d bytes, %d events", bytes, events)
	}
	first := errors.New("first")
	ad.Close(first)
	ad.Close(ErrClosed)
	if err := ad.Enter(two, now); !errors.Is(err, first) || !errors.Is(ad.Closed(), first) {
		t.Errorf("closed: %v, %v", err, ad.Closed())
	}
}

// A partition that is down takes one append at a time, at most one a second; the others are as before.
func TestAdmissionDown(t *testing.T) {
	now := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	ad := NewAdmission(4, 100, 5)
	cause := errors.New("no broker")
	ad.Failed(3, cause, false, now.Add(time.Second), now)
	ad.Failed(3, cause, false, now.Add(time.Hour), now) // the first trial is still in a second
	if slots := ad.Failing(); len(slots) != 1 || slots[0] != 3 || !ad.IsDown(3) {
		t.Errorf("slots %v are down", slots)
	}
	a := &Append{Slot: 3, Events: make([]*event.Event, 1), Size: 1}
	if err := ad.Enter(a, now.Add(900*time.Millisecond)); !errors.Is(err, cause) || err.Error() != "partition 00 takes no append: no broker" {
		t.Errorf("before the trial: %v", err)
	}
	if err := ad.Check(1, 1, 1, now); err != nil {
		t.Errorf("another partition: %v", err)
	}
	now = now.Add(time.Second)
	if err := ad.Enter(a, now); err != nil {
		t.Errorf("the trial: %v", err)
	}
	if err := ad.Check(3, 1, 1, now.Add(time.Minute)); !errors.Is(err, cause) {
		t.Errorf("a second append during the trial: %v", err)
	}
	ad.Leave(a)
	if err := ad.Check(3, 1, 1, now.Add(TrialEvery-1)); !errors.Is(err, cause) {
		t.Errorf("soon after the trial: %v", err)
	}
	if err := ad.Check(3, 1, 1, now.Add(TrialEvery)); err != nil {
		t.Errorf("the next trial: %v", err)
	}
	ad.Worked(3)
	if err := ad.Check(3, 1, 1, now); err != nil || ad.IsDown(3) {
		t.Errorf("after an append that worked: %v", err)
	}
}

// An answer to a question ends a failure, but one that lasts only after a while.
func TestAdmissionAnswers(t *testing.T) {
	now := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	ad := NewAdmission(4, 100, 5)
	cause := errors.New("timed out")
	ad.Failed(2, cause, false, now, now)
	if err := ad.Answers(2, now); err != nil || ad.IsDown(2) {
		t.Errorf("answered: %v", err)
	}
	ad.Failed(2, cause, true, now, now)
	if err := ad.Answers(2, now.Add(lastingFailure-1)); !errors.Is(err, cause) || !ad.IsDown(2) {
		t.Errorf("a failure that lasts: %v", err)
	}
	if err := ad.Answers(2, now.Add(lastingFailure)); err != nil || ad.IsDown(2) {
		t.Errorf("after a while: %v", err)
	}
}

// The audit log has a part of the bounds, so that it cannot fill the queue of the others; but one
// append to it enters whatever its size.
func TestAdmissionOfAudit(t *testing.T) {
	now := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	audit, others := Slot(event.AuditPartition), Slot(0)
	for _, c := range []struct{ bytes, events, fit int }{{10, 1, 8}, {1, 5, 8}, {200, 1, 1}, {1, 100, 1}} {
		ad := NewAdmission(4, 640, 320)
		a := &Append{Slot: audit, Events: make([]*event.Event, c.events), Size: c.bytes}
		for i := range c.fit {
			if err := ad.Enter(a, now); err != nil {
				t.Fatalf("%+v: append %d: %v", c, i, err)
			}
		}
		if err := ad.Enter(a, now); !errors.Is(err, ErrFull) {
			t.Errorf("%+v: one more: %v", c, err)
		}
		if err := ad.Check(others, 640-c.fit*c.bytes, 320-c.fit*c.events, now); err != nil {
			t.Errorf("%+v: the rest is not free for the others: %v", c, err)
		}
		ad.Leave(a)
		if err := ad.Enter(a, now); err != nil {
			t.Errorf("%+v: after one has left: %v", c, err)
		}
	}
}

// A slot is a partition's index.
func TestSlots(t *testing.T) {
	for slot, p := range []event.Partition{event.AuditPartition, event.InboxPartition, event.ControlPartition, 0, 1} {
		if Slot(p) != slot || PartitionOf(slot) != p {
			t.Errorf("%s: slot %d; slot %d: %s", p, Slot(p), slot, PartitionOf(slot))
		}
	}
}

// Health keeps the time of the last change from good to bad or back, not that of another trouble.
func TestHealth(t *testing.T) {
	at := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	h := NewHealth(at)
	h.Set("", "", at.Add(time.Second))
	if ok, since, detail := h.State(); !ok || since != at || detail != "" {
		t.Errorf("%v, %v, %q", ok, since, detail)
	}
	h.Set("one", "", at.Add(2*time.Second))
	h.Set("two", "", at.Add(3*time.Second))
	if ok, since, detail := h.State(); ok || since != at.Add(2*time.Second) || detail != "two" {
		t.Errorf("%v, %v, %q", ok, since, detail)
	}
	h.Set("two", "audit", at.Add(4*time.Second))
	if ok, since, detail := h.State(); ok || since != at.Add(2*time.Second) || detail != "two; audit" {
		t.Errorf("%v, %v, %q", ok, since, detail)
	}
	// What is wrong with the audit log alone does not make the health bad.
	h.Set("", "audit", at.Add(5*time.Second))
	if ok, since, detail := h.State(); !ok || since != at.Add(5*time.Second) || detail != "audit" {
		t.Errorf("%v, %v, %q", ok, since, detail)
	}
}
