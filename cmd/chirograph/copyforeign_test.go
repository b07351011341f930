package main

import (
	"errors"
	"strings"
	"testing"

	"github.com/chirograph/chirograph/adapters/logtest"
	"github.com/chirograph/chirograph/adapters/sqlitelog"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/sms"
)

// A record that is no event, and that control has accepted, is at its place in every copy.
func TestCopyForeign(t *testing.T) {
	t.Parallel()
	from, key := original(t, 1200)
	log, err := sqlitelog.Open(from.dir, sqlitelog.Options{NumberForms: sms.CanonicalForms})
	if err != nil {
		t.Fatal(err)
	}
	e := &event.Event{Data: &event.Opaque{Raw: []byte("not an event\n")}}
	a := logtest.Wait(log, 3, []*event.Event{e})
	if err := errors.Join(a.Err, log.Close()); err != nil {
		t.Fatal(err)
	}
	at := event.Position{Partition: 3, Index: a.First}.String()
	accepted := func(pl *place) {
		t.Helper()
		if out, code := command(t, pl.dir, "audit", "verify", "--data", pl.dir); code != 0 || !strings.Contains(out, "accepted: 1") {
			t.Errorf("audit verify says: %s", out)
		}
	}
	if out, code := command(t, from.dir, "log", "accept", at, "--reason", "somebody's test tool", "--data", from.dir); code != 0 {
		t.Fatalf("log accept says: %s", out)
	}
	accepted(from)
	store, kafka, back := eventStorePlace(t, key), kafkaPlace(t, key), folderPlace(t, key)
	store.from(from, 0)
	kafka.from(store, 0)
	back.from(kafka.place, 0)
	back.same(from)
	accepted(back)
}
