package ledger

import (
	"errors"
	"maps"
	"testing"

	"github.com/chirograph/chirograph/domain/event"
)

func message(n int) event.ID { return event.ID{0: 1, 14: byte(n >> 8), 15: byte(n)} }

func TestKeyCache(t *testing.T) {
	k := newKeyCache(100)
	name := func(i int) event.Pseudonym { return event.Pseudonym{byte(i >> 8), byte(i), 1} }
	for i := range 1000 {
		k.put(name(i), message(i))
		if len(k.newer)+len(k.older) > 100 {
			t.Fatalf("%d keys are kept", len(k.newer)+len(k.older))
		}
		for back := range min(i, 49) {
			if id, ok := k.get(name(i - back)); !ok || id != message(i-back) {
				t.Fatalf("key %d is forgotten at %d", i-back, i)
			}
		}
	}
	if _, ok := k.get(name(0)); ok {
		t.Error("the oldest is kept for ever")
	}
}

// lossyVault lacks every key but those in has, and makes the keys 1, 2, ….
type lossyVault struct {
	Vault
	has  map[event.ID]bool
	made byte
}

func (v *lossyVault) SubjectKey(string, event.Pseudonym) (event.ID, error) {
	v.made++
	id := event.ID{v.made}
	v.has[id] = true
	return id, nil
}

func (v *lossyVault) Seal(_ string, key event.ID, _ Class, _ event.SealVersion, _ event.ID, plain []byte) (event.Sealed, error) {
	if !v.has[key] {
		return event.Sealed{}, ErrKeyMissing
	}
	return event.Sealed{SubjectKey: key, Box: plain}, nil
}

// What is new in a stream whose key is missing is sealed under another key, and so is what follows.
func TestSealWithoutItsKey(t *testing.T) {
	v := &lossyVault{has: map[event.ID]bool{}}
	w := &Writer{vault: v, keys: newKeyCache(10)}
	s := Stream{Tenant: "acme", Subject: event.Pseudonym{1}, Key: event.ID{99}}
	sealed, err := w.Seal(3, s, ClassEvidence, event.ID{7}, "STOP")
	if err != nil || sealed.SubjectKey != (event.ID{1}) || string(sealed.Box) != `"STOP"` {
		t.Fatalf("%+v, %v", sealed, err)
	}
	if s, err = w.Keyed(t.Context(), Stream{Tenant: "acme", Subject: s.Subject}); err != nil || s.Key != sealed.SubjectKey {
		t.Errorf("the stream's key is then %s, %v", s.Key, err)
	}
	if sealed, err = w.Seal(3, s, ClassEvidence, event.ID{8}, "STOP"); err != nil || sealed.SubjectKey != s.Key || v.made != 1 {
		t.Errorf("%+v, %v; %d keys were made", sealed, err, v.made)
	}
	if _, err := Seal(refusing{}, 3, s, ClassEvidence, event.ID{9}, "STOP"); !errors.Is(err, ErrRefused) {
		t.Errorf("a vault that cannot be read gave %v", err)
	}
}

type refusing struct{ Vault }

func (refusing) Seal(string, event.ID, Class, event.SealVersion, event.ID, []byte) (event.Sealed, error) {
	return event.Sealed{}, ErrRefused
}

func TestKeysOfEvents(t *testing.T) {
	var k Keys
	for _, d := range []event.Data{&event.MessageSubmitted{Sealed: event.Sealed{SubjectKey: event.ID{1}, ClassKey: "message/2026-11", Box: []byte{1}}},
		&event.OptedOut{Sealed: &event.Sealed{SubjectKey: event.ID{2}, ClassKey: "evidence/2026-11", Box: []byte{1}}}, &event.OptedOut{}, &event.Paused{}} {
		k.Add(&event.Event{Tenant: "acme", Data: d})
	}
	if !maps.Equal(k.Subjects, map[event.ID]struct{}{{1}: {}, {2}: {}}) || !maps.Equal(k.Classes, map[ClassKey]struct{}{{"acme", "message/2026-11"}: {}, {"acme", "evidence/2026-11"}: {}}) {
		t.Errorf("%v", k)
	}
}
