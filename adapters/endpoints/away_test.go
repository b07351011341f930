package endpoints

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chirograph/chirograph/adapters/servertest"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/notify"
)

// TestAway: while PostgreSQL is away every call fails within its bound and names nothing; then all goes on, and numbers have no gap.
func TestAway(t *testing.T) {
	address := servertest.Postgres(t)
	p, url := servertest.Through(t, address)
	s, err := openPostgres(servertest.Within(t), url, "abc", 500*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	id := endpoint(t, s)
	lease := leased(t, s, id)
	ctx := servertest.Within(t)
	last := int64(0)
	step := func() error {
		_, err := s.Write(ctx, []notify.Write{{Endpoint: id, Lease: lease, Progress: progress(last + 1), Batches: []notify.Batch{batch(last+1, 1, 1, 0)}}})
		if err == nil {
			last++
		}
		return err
	}
	for _, way := range []servertest.Way{servertest.Refuse, servertest.Hang, servertest.Refuse} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
		p.Set(t, way)
		for name, call := range map[string]func() error{
			"write":    step,
			"read":     func() error { _, err := s.Endpoints(ctx); return err },
			"lease":    func() error { _, err := s.Lease(ctx, nil, 1, time.Minute); return err },
			"batches":  func() error { _, err := s.OpenBatches(ctx, id, 0, 10); return err },
			"put":      func() error { _, err := s.Put(ctx, notify.Stored{ID: id, Tenant: "acme"}, 1); return err },
			"prune":    func() error { _, err := s.Prune(ctx, time.Now(), 10); return err },
			"deletion": func() error { return s.Delete(ctx, event.NewID(time.Now())) },
		} {
			began := time.Now()
			err := call()
			if took := time.Since(began); err == nil || took > 15*time.Second {
				t.Errorf("%s: %v after %v", name, err, took)
			} else if name == "read" && !errors.Is(err, ledger.ErrRefused) {
				t.Errorf("%s: %v is no refusal", name, err)
			} else {
				servertest.Nameless(t, strings.ReplaceAll(err.Error(), "PostgreSQL", ""), url)
			}
		}
		if ok, _, detail := s.Health(); ok || detail == "" {
			t.Errorf("it is away, and it says %v, %q", ok, detail)
		}
		p.Set(t, servertest.Forward)
		servertest.Until(t, "it is back", func() bool {
			q, err := s.Progress(ctx, id)
			last = q.Last // a write whose answer was lost may be in
			ok, _, _ := s.Health()
			return ok && err == nil
		})
	}
	b, q := all(t, s, id)
	consecutive(t, b, q)
	// A server that takes no writes is left as soon as it says so.
	promote := servertest.Standby(t, address)
	servertest.Until(t, "a standby says so", func() bool { err := step(); return err != nil && strings.Contains(err.Error(), "25006") })
	promote()
	if err := step(); err != nil {
		t.Error(err)
	}
}

// TestCuts writes over connections that are cut at any moment: what was answered is there, and numbers have no gap.
func TestCuts(t *testing.T) {
	const last = 150
	p, url := servertest.Through(t, servertest.Postgres(t))
	s, err := openPostgres(servertest.Within(t), url, "abc", 2*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	id := endpoint(t, s)
	lease := leased(t, s, id)
	ctx := servertest.Within(t)
	amid := make(chan struct{}, 1)
	var wg sync.WaitGroup
	wg.Go(func() {
		defer close(amid)
		q := notify.Progress{}
		for q.Last < last {
			n := q.Last + 1
			if n%10 == 0 {
				select {
				case amid <- struct{}{}:
				default:
				}
			}
			if _, err := s.Write(ctx, []notify.Write{{Endpoint: id, Lease: lease, Progress: progress(n), Batches: []notify.Batch{batch(n, 1, 1, 0)}}}); err == nil {
				q.Last = n
			} else if errors.Is(err, ErrNumbers) || ctx.Err() != nil {
				t.Error(err)
				return
			}
			// A write whose answer was lost is repeated as it was.
		}
	})
	for range amid {
		p.Set(t, servertest.Refuse)
		p.Set(t, servertest.Forward)
	}
	wg.Wait()
	servertest.Until(t, "it is back", func() bool { _, err := s.Progress(ctx, id); return err == nil })
	b, q := all(t, s, id)
	consecutive(t, b, q)
	if q.Last != last {
		t.Errorf("it ends with %d", q.Last)
	}
}

// TestFrozen: a process that is frozen amid a write keeps no other from the endpoint for long.
func TestFrozen(t *testing.T) {
	address := servertest.Postgres(t)
	p, url := servertest.Through(t, address)
	frozen, err := openPostgres(servertest.Within(t), url, "abc", time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer frozen.Close()
	other := open(t, address)
	id := endpoint(t, other)
	ctx := servertest.Within(t)
	leases, err := frozen.Lease(ctx, []event.ID{id}, 1, time.Millisecond)
	if err != nil || len(leases) != 1 {
		t.Fatal(leases, err)
	}
	_ = frozen.engine.write(ctx, func(ctx context.Context, q querier, _ bool) error {
		if _, err := frozen.engine.standing(ctx, q, []notify.Write{{Endpoint: id}}); err != nil {
			t.Error(err)
		}
		p.Set(t, servertest.Hang) // it holds the row
		servertest.Until(t, "another takes the endpoint", func() bool {
			leases, err := other.Lease(context.WithoutCancel(ctx), []event.ID{id}, 1, time.Minute)
			return err == nil && len(leases) == 1
		})
		return errors.New("enough")
	})
	p.Set(t, servertest.Forward)
	servertest.Until(t, "it hears that it lost the lease", func() bool {
		lost, err := frozen.Write(ctx, []notify.Write{{Endpoint: id, Lease: leases[0].Number}})
		return err == nil && len(lost) == 1
	})
}

// TestOpenFile: a file that is not this ledger's store is refused, and stays as it is.
func TestOpenFile(t *testing.T) {
	whole := filepath.Join(t.TempDir(), "webhooks.db")
	s := open(t, whole)
	for range 200 {
		endpoint(t, s)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(filepath.Dir(whole)); err != nil || len(entries) != 1 {
		t.Errorf("beside a file that was closed there is more: %v, %v", entries, err)
	}
	if info, err := os.Stat(whole); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("it is %v, %v", info, err)
	}
	if of, err := LookAt(whole); of != "abc" || err != nil {
		t.Errorf("it is of %q, %v", of, err)
	}
	raw, err := os.ReadFile(whole)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenFile(whole, "another"); !errors.Is(err, ErrOtherLedger) {
		t.Errorf("of another ledger: %v", err)
	}
	for name, change := range map[string]func(b []byte) []byte{
		"cut":                 func(b []byte) []byte { return b[:len(b)/2] },
		"cut in a page":       func(b []byte) []byte { return b[:len(b)*9/10+17] },
		"text":                func([]byte) []byte { return []byte(strings.Repeat("dear reader ", 1000)) },
		"another application": func(b []byte) []byte { b[68]++; return b },
		"a page of zeros":     func(b []byte) []byte { clear(b[8*4096 : 9*4096]); return b },
		"the schema":          func(b []byte) []byte { clear(b[100:4096]); return b },
	} {
		path := filepath.Join(t.TempDir(), "webhooks.db")
		damaged := change([]byte(string(raw)))
		if err := os.WriteFile(path, damaged, 0o600); err != nil {
			t.Fatal(err)
		}
		if s, err := OpenFile(path, "abc"); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
			if err == nil {
				s.Close()
			}
		}
		if now, err := os.ReadFile(path); err != nil || string(now) != string(damaged) {
			t.Errorf("%s: it was changed, %v", name, err)
		}
	}
	// An empty one is none yet.
	path := filepath.Join(t.TempDir(), "webhooks.db")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if s := open(t, path); !s.Made() {
		t.Error("it says that it was there")
	}
	// A later version has closed it.
	s = open(t, whole)
	if err := s.engine.write(t.Context(), func(ctx context.Context, q querier, _ bool) error {
		_, err := q.ExecContext(ctx, "UPDATE version SET version = 99")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenFile(whole, "abc"); err == nil || !strings.Contains(err.Error(), "later version") {
		t.Errorf("of a later version: %v", err)
	}
}

// TestOpenPostgres: nodes that start together make one schema, which is one ledger's.
func TestOpenPostgres(t *testing.T) {
	url := servertest.Postgres(t)
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			s, err := OpenPostgres(servertest.Within(t), url, "abc")
			if err != nil {
				t.Error(err)
				return
			}
			s.Close()
		})
	}
	wg.Wait()
	if _, err := OpenPostgres(servertest.Within(t), url, "another"); !errors.Is(err, ErrOtherLedger) {
		t.Errorf("of another ledger: %v", err)
	}
	s := open(t, url)
	var setting string
	if err := s.engine.read(t.Context(), func(ctx context.Context, q querier) error {
		return q.QueryRowContext(ctx, "SHOW synchronous_commit").Scan(&setting)
	}); err != nil || setting != "on" {
		t.Errorf("synchronous_commit is %s, %v", setting, err)
	}
	_, err := OpenPostgres(servertest.Within(t), "postgres://somebody:hunter2@127.0.0.1:1/nowhere", "abc")
	if !errors.Is(err, ledger.ErrRefused) || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("nobody home: %v", err)
	}
}
