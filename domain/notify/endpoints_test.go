package notify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/reading"
)

var caller, stranger = ledger.Caller{Tenant: "acme", Key: "ann"}, ledger.Caller{Tenant: "other", Key: "eve"}

func ptr[T any](v T) *T { return &v }

// An endpoint's life: each change is in the audit log, and no other tenant reaches it.
func TestEndpoints(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		s := h.endpoints()
		ctx := context.Background()
		h.feed.add(item("acme", 1))
		e, shown, err := s.Add(ctx, caller, &Settings{URL: ptr("https://a.example/"), Types: ptr([]string{"message.status", "message.status"}), Programs: ptr([]string{"b", "a", "a"})}, "", reading.Sight{Numbers: true})
		if err != nil || shown != (NewSecret{"hmac", "whsec_1"}) || len(e.Types) != 1 || !slices.Equal(e.Programs, []string{"a", "b"}) || !e.Sight.Numbers || len(e.Start) == 0 {
			t.Fatalf("%+v %+v %v", e, shown, err)
		}
		if e.Secrets[0].Sealed.ClassKey != "secret" || string(e.Secrets[0].Sealed.Box) != "whsec_1" {
			t.Errorf("%+v", e.Secrets)
		}
		if e, err = s.Change(ctx, caller, e.ID, &Settings{Description: ptr("ours"), Programs: ptr([]string{})}); err != nil || e.Description != "ours" || len(e.Programs) != 0 || e.URL != "https://a.example/" {
			t.Errorf("%+v %v", e, err)
		}
		for i, kind := range []string{"", "ed25519"} {
			var shown NewSecret
			if i > 0 { // while two sign, a third would end the first for its receivers
				if _, _, err := s.Rotate(ctx, caller, e.ID, kind, nil); err == nil || !strings.Contains(err.Error(), "secrets_in_force") {
					t.Error(err)
				}
				<-time.After(25 * time.Hour)
			}
			if e, shown, err = s.Rotate(ctx, caller, e.ID, kind, nil); err != nil || len(e.Secrets) != 2 || !e.Secrets[0].Until.IsZero() || !e.Secrets[1].Until.Equal(event.Millis(time.Now().Add(24*time.Hour))) {
				t.Errorf("%+v %v", e.Secrets, err)
			}
			if want := []string{"whsec_", "whpk_"}[i]; !strings.HasPrefix(shown.Secret, want) {
				t.Errorf("%+v", shown)
			}
		}
		for range 2 { // the second time there is nothing to do
			if e, err = s.Disable(ctx, caller, e.ID); err != nil || e.State != Disabled {
				t.Errorf("%+v %v", e, err)
			}
		}
		if e, err = s.Enable(ctx, caller, e.ID); err != nil || e.State != Enabled || e.Why != "" {
			t.Errorf("%+v %v", e, err)
		}
		if a, err := s.Test(ctx, caller, e.ID); err != nil || a.Status != 200 || len(h.callee.got(e.URL)) != 1 {
			t.Errorf("%+v %v", a, err)
		}
		for name, err := range map[string]error{
			"get": one(s.Get(ctx, stranger, e.ID)), "change": one(s.Change(ctx, stranger, e.ID, &Settings{})), "disable": one(s.Disable(ctx, stranger, e.ID)),
			"enable": one(s.Enable(ctx, stranger, e.ID)), "delete": s.Delete(ctx, stranger, e.ID), "test": one(s.Test(ctx, stranger, e.ID)),
			"replay": one(s.Replay(ctx, stranger, e.ID, &ReplayQuestion{From: 1})), "none": one(s.Get(ctx, caller, event.ID{55})),
		} {
			if !errors.Is(err, ErrNoEndpoint) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, _, err := s.Deliveries(ctx, stranger, e.ID, 0, 1, false); !errors.Is(err, ErrNoEndpoint) {
			t.Error(err)
		}
		if all, err := s.List(ctx, stranger); err != nil || len(all) != 0 {
			t.Errorf("%v %v", all, err)
		}
		if all, err := s.List(ctx, caller); err != nil || len(all) != 1 {
			t.Errorf("%v %v", all, err)
		}
		h.audit.err = ledger.ErrRefused // what cannot be recorded is not done
		if _, err := s.Disable(ctx, caller, e.ID); !errors.Is(err, ledger.ErrRefused) {
			t.Error(err)
		}
		if e, _ := s.Get(ctx, caller, e.ID); e.State != Enabled {
			t.Error("it was disabled without a record")
		}
		h.audit.err = nil
		if err := s.Delete(ctx, caller, e.ID); err != nil {
			t.Error(err)
		}
		want := []string{"added ann", "changed ann", "rotated ann", "rotated ann", "disabled ann", "enabled ann", "deleted ann"}
		if got := h.audit.said(); !slices.Equal(got, want) {
			t.Errorf("%v", got)
		}
	})
}

func one[T any](_ T, err error) error { return err }

func TestBadSettings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		s := h.endpoints()
		long := strings.Repeat("x", mostPEM+1)
		many := make([]string, 51)
		for i := range many {
			many[i] = fmt.Sprint(i)
		}
		for name, set := range map[string]*Settings{
			"/url": {}, "/url ": {URL: ptr("https://" + long)}, "/url  ": {URL: ptr("a\nb")}, "/url   ": {URL: ptr("http://10.0.0.1/")},
			"/description": {URL: ptr("u"), Description: ptr(long)}, "/types": {URL: ptr("u"), Types: ptr([]string{"x"})},
			"/programs": {URL: ptr("u"), Programs: &many}, "/references": {URL: ptr("u"), References: ptr([]string{""})},
			"/tls/ca": {URL: ptr("u"), CA: &long}, "/tls/key": {URL: ptr("u"), Key: ptr("k")}, "/tls/key ": {URL: ptr("u"), Certificate: ptr("c")},
		} {
			_, _, err := s.Add(context.Background(), caller, set, "", reading.Sight{})
			var r *ledger.Refusal
			if !errors.As(err, &r) || r.Field != strings.TrimSpace(name) {
				t.Errorf("%s: %v", name, err)
			}
		}
		if _, _, err := s.Add(context.Background(), caller, &Settings{URL: ptr("u")}, "rsa", reading.Sight{}); err == nil {
			t.Error("a kind of secret that is none")
		}
		for range 20 {
			if _, _, err := s.Add(context.Background(), caller, &Settings{URL: ptr("u")}, "", reading.Sight{}); err != nil {
				t.Fatal(err)
			}
		}
		if _, _, err := s.Add(context.Background(), caller, &Settings{URL: ptr("u")}, "", reading.Sight{}); err == nil {
			t.Error("more than 20")
		}
	})
}

// Deliveries are listed in pages, and are replayed by number, time and position, under the same ids.
func TestDeliveriesAndReplays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		s := h.endpoints()
		ctx := context.Background()
		e, _, err := s.Add(ctx, caller, &Settings{URL: ptr("u")}, "", reading.Sight{})
		if err != nil {
			t.Fatal(err)
		}
		stop := start(h.sender())
		<-time.After(2 * time.Second)
		var half time.Time
		for i := range 1000 {
			if i == 600 {
				<-time.After(time.Minute)
				half = time.Now()
			}
			h.feed.add(item("acme", byte(i)))
		}
		<-time.After(time.Minute)
		var all []Delivery
		for next := int64(0); ; {
			some, n, err := s.Deliveries(ctx, caller, e.ID, next, 300, false)
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, some...)
			if next = n; n == 0 {
				break
			}
		}
		if len(all) != 1000 || all[0].Seq != 1000 || all[999].Seq != 1 || all[0].State != Delivered || all[0].Attempts != 1 || all[0].Answer != "200" {
			t.Fatalf("%d, %+v", len(all), all[0])
		}
		calls := len(h.callee.got("u"))
		for name, c := range map[string]struct {
			q        ReplayQuestion
			from, to int64
		}{
			"numbers":  {ReplayQuestion{From: 5, To: 700}, 5, 700},
			"open end": {ReplayQuestion{From: 990}, 990, 1000},
			"time":     {ReplayQuestion{Since: half}, 601, 1000},
			"times":    {ReplayQuestion{Since: half.Add(-time.Hour), Until: half}, 1, 600},
			"position": {ReplayQuestion{Position: "00-41"}, 42, 42},
			"dead":     {ReplayQuestion{From: 1, Dead: true}, 1, 1000},
		} {
			r, err := s.Replay(ctx, caller, e.ID, &c.q)
			if err != nil || r.From != c.from || r.To != c.to {
				t.Fatalf("%s: %+v %v", name, r, err)
			}
			<-time.After(time.Minute)
			want := int(c.to - c.from + 1)
			if c.q.Dead {
				want = 0
			}
			got := h.callee.got("u")
			ids := got[calls:]
			if calls = len(got); len(ids) != want {
				t.Fatalf("%s: %d calls, want %d", name, len(ids), want)
			}
			for _, id := range ids {
				if !slices.Contains(got[:1000], id) {
					t.Fatalf("%s: another id %s", name, id)
				}
			}
			if e, _ := s.Get(ctx, caller, e.ID); len(e.Replays) != 0 {
				t.Fatalf("%s: the replay is still there", name)
			}
		}
		for name, q := range map[string]ReplayQuestion{"nothing": {}, "two": {From: 1, Since: half}, "turned": {From: 9, To: 3}, "above": {From: 1001},
			"future": {Since: time.Now().Add(time.Hour)}, "empty": {Since: half.Add(-time.Second), Until: half.Add(-time.Millisecond)}, "no position": {Position: "x"}, "nowhere": {Position: "00-5000"}} {
			var r *ledger.Refusal
			if _, err := s.Replay(ctx, caller, e.ID, &q); !errors.As(err, &r) {
				t.Errorf("%s: %v", name, err)
			}
		}
		stop()
		h.whole(e.ID, 1000)
	})
}

// An endpoint that answers 410 is disabled, one that fails for a day is paused, both in the audit log; and what is open is sent when it is enabled.
func TestPausedByTheSender(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t)
		s := h.endpoints()
		ctx := context.Background()
		e, _, err := s.Add(ctx, caller, &Settings{URL: ptr("u")}, "", reading.Sight{})
		if err != nil {
			t.Fatal(err)
		}
		sender := h.sender()
		stop := start(sender)
		answers := func(status int) {
			h.callee.set("u", func(context.Context, *Call) Answer { return Answer{Status: status, Text: fmt.Sprint(status)} })
		}
		answers(500)
		<-time.After(2 * time.Second)
		for i := range 30 {
			h.feed.add(item("acme", byte(i)))
		}
		<-time.After(30 * time.Hour)
		if e, _ := s.Get(ctx, caller, e.ID); e.State != Paused || !strings.Contains(e.Why, "24 hours") || sender.Figures().Paused != 1 {
			t.Fatalf("%+v %+v", e, sender.Figures())
		}
		answers(410)
		if _, err := s.Enable(ctx, caller, e.ID); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Minute)
		if e, _ := s.Get(ctx, caller, e.ID); e.State != Disabled || sender.Figures().Disabled != 1 {
			t.Fatalf("%+v", e)
		}
		answers(200)
		<-time.After(4 * 24 * time.Hour)
		h.feed.add(item("acme", 99))
		if _, err := s.Enable(ctx, caller, e.ID); err != nil {
			t.Fatal(err)
		}
		<-time.After(time.Minute)
		stop()
		h.whole(e.ID, 31)
		if got := h.audit.said(); !slices.Equal(got, []string{"added ann", "paused ", "enabled ann", "disabled ", "enabled ann"}) {
			t.Errorf("%v", got)
		}
	})
}
