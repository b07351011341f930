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
	ad := NewAdmission(3, 100, 5)
	two := &Append{Slot: 2, Events: make([]*event.Event, 2), Size: 40}
	for range 2 {
		if err := ad.Enter(two, now); err != nil {
			t.Fatal(err)
		}
	}
	if two.Queued != now {
		t.Errorf("queued at %v", two.Queued)
	}
	if err := ad.Check(0, 21, 1, now); !errors.Is(err, ErrFull) {
		t.Errorf("101 bytes: %v", err)
	}
	if err := ad.Check(0, 0, 2, now); !errors.Is(err, ErrFull) {
		t.Errorf("6 events: %v", err)
	}
	if err := ad.Check(0, 20, 1, now); err != nil {
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
	ad := NewAdmission(3, 100, 5)
	cause := errors.New("no broker")
	ad.Failed(2, cause, false, now.Add(time.Second), now)
	ad.Failed(2, cause, false, now.Add(time.Hour), now) // the first trial is still in a second
	if slots := ad.Failing(); len(slots) != 1 || slots[0] != 2 || !ad.IsDown(2) {
		t.Errorf("slots %v are down", slots)
	}
	a := &Append{Slot: 2, Events: make([]*event.Event, 1), Size: 1}
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
	if err := ad.Check(2, 1, 1, now.Add(time.Minute)); !errors.Is(err, cause) {
		t.Errorf("a second append during the trial: %v", err)
	}
	ad.Leave(a)
	if err := ad.Check(2, 1, 1, now.Add(TrialEvery-1)); !errors.Is(err, cause) {
		t.Errorf("soon after the trial: %v", err)
	}
	if err := ad.Check(2, 1, 1, now.Add(TrialEvery)); err != nil {
		t.Errorf("the next trial: %v", err)
	}
	ad.Worked(2)
	if err := ad.Check(2, 1, 1, now); err != nil || ad.IsDown(2) {
		t.Errorf("after an append that worked: %v", err)
	}
}

// An answer to a question ends a failure, but one that lasts only after a while.
func TestAdmissionAnswers(t *testing.T) {
	now := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	ad := NewAdmission(3, 100, 5)
	cause := errors.New("timed out")
	ad.Failed(0, cause, false, now, now)
	if err := ad.Answers(0, now); err != nil || ad.IsDown(0) {
		t.Errorf("answered: %v", err)
	}
	ad.Failed(0, cause, true, now, now)
	if err := ad.Answers(0, now.Add(lastingFailure-1)); !errors.Is(err, cause) || !ad.IsDown(0) {
		t.Errorf("a failure that lasts: %v", err)
	}
	if err := ad.Answers(0, now.Add(lastingFailure)); err != nil || ad.IsDown(0) {
		t.Errorf("after a while: %v", err)
	}
}

// A slot is a partition's index.
func TestSlots(t *testing.T) {
	for slot, p := range []event.Partition{event.InboxPartition, event.ControlPartition, 0, 1} {
		if Slot(p) != slot || PartitionOf(slot) != p {
			t.Errorf("%s: slot %d; slot %d: %s", p, Slot(p), slot, PartitionOf(slot))
		}
	}
}

// Health keeps the time of the last change from good to bad or back, not that of another trouble.
func TestHealth(t *testing.T) {
	at := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	h := NewHealth(at)
	h.Set("", at.Add(time.Second))
	if ok, since, detail := h.State(); !ok || since != at || detail != "" {
		t.Errorf("%v, %v, %q", ok, since, detail)
	}
	h.Set("one", at.Add(2*time.Second))
	h.Set("two", at.Add(3*time.Second))
	if ok, since, detail := h.State(); ok || since != at.Add(2*time.Second) || detail != "two" {
		t.Errorf("%v, %v, %q", ok, since, detail)
	}
}
