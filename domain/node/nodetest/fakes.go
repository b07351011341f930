package nodetest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/chirograph/chirograph/domain/decision"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
)

// Policy is a decision.Policy for tests. It denies a message that an opt-out covers, except the
// one confirmation of that opt-out, and defers marketing outside its hours.
type Policy struct {
	// Opens and Closes are the minutes of the day, in UTC, between which marketing may be sent;
	// both 0: at any time. With hours, every place must have the zone UTC.
	Opens, Closes int
}

// checks are the names of the checks that Policy reports.
var checks = []string{"opt_out", "quiet_hours"}

// Decide is part of decision.Policy.
func (p Policy) Decide(_ context.Context, f *decision.Facts) (*decision.Answer, error) {
	a := &decision.Answer{Outcome: decision.Allow}
	opt := decision.Check{Check: "opt_out", Outcome: decision.Allow, Rules: []string{"opt_out.none"}}
	for i, o := range f.OptOuts {
		if o.Same && !(f.Purpose == "compliance_reply" && o.Answers) {
			opt.Outcome, opt.Rules = decision.Deny, []string{"opt_out.stands"}
			opt.OptOuts = append(opt.OptOuts, i)
		}
	}
	hours := decision.Check{Check: "quiet_hours", Outcome: decision.Allow, Rules: []string{"quiet_hours.open"}}
	if f.Purpose == "marketing" && p != (Policy{}) {
		w := decision.Window{Zone: "Etc/UTC", Rule: "quiet_hours"}
		for i := range w.Days {
			w.Days[i] = [2]int{p.Opens, p.Closes}
		}
		a.Windows = []decision.Window{w}
		for _, c := range f.Clocks {
			t, err := time.Parse("15:04", c.Time)
			if err != nil {
				return nil, err
			}
			if m := t.Hour()*60 + t.Minute(); m < p.Opens || m >= p.Closes {
				hours.Outcome, hours.Rules = decision.Defer, []string{"quiet_hours.closed"}
			}
		}
	}
	a.Checks = []decision.Check{opt, hours}
	switch {
	case opt.Outcome == decision.Deny:
		a.Outcome = decision.Deny
	case hours.Outcome == decision.Defer:
		a.Outcome = decision.Defer
	}
	return a, nil
}

// Reviewed is part of decision.Policy. Every country is.
func (Policy) Reviewed(string) bool { return true }

// Rule is part of decision.Policy. It describes no rule.
func (Policy) Rule(string) (decision.Rule, bool) { return decision.Rule{}, false }

// Bundle is part of decision.Policy.
func (Policy) Bundle() (revision, digest string) { return "r1", "digest-of-the-policies" }

// Vault is a ledger.Vault for tests that encrypts nothing: a box is the plain bytes. It is
// deterministic.
type Vault struct{}

// Pseudonym is part of ledger.Vault.
func (Vault) Pseudonym(tenant, name string) event.Pseudonym {
	return event.NewPseudonym([]byte("k"), tenant, name)
}

// SubjectKey is part of ledger.Vault. It always returns the same key.
func (Vault) SubjectKey(string, event.Pseudonym) (event.ID, error) { return event.ID{1}, nil }

// Seal is part of ledger.Vault.
func (Vault) Seal(_ string, key event.ID, class ledger.Class, version event.SealVersion, _ event.ID, plain []byte) (event.Sealed, error) {
	return event.Sealed{Version: version, SubjectKey: key, ClassKey: string(class) + "/2026-11", Box: plain}, nil
}

// Open is part of ledger.Vault.
func (Vault) Open(_ string, _ event.ID, s *event.Sealed) ([]byte, error) { return s.Box, nil }

// Digest is part of ledger.Vault.
func (Vault) Digest(_, purpose string, data []byte) string {
	sum := sha256.Sum256(append([]byte(purpose), data...))
	return hex.EncodeToString(sum[:16])
}

// chance draws random numbers, for many goroutines.
type chance struct {
	mu  sync.Mutex
	rng *rand.Rand
}

func newChance(seed uint64) *chance { return &chance{rng: rand.New(rand.NewPCG(seed, 2))} }

// n draws a number from 0 to n-1.
func (c *chance) n(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.rng.IntN(n)
}

// upTo draws a duration from 0 up to, but not including, d.
func (c *chance) upTo(d time.Duration) time.Duration { return time.Duration(c.n(int(d))) }

// pick draws one of the elements.
func pick[T any](c *chance, of []T) T { return of[c.n(len(of))] }

// tally counts what is on its way, and lets a goroutine wait until nothing is.
type tally struct {
	mu   sync.Mutex
	n    int
	idle chan struct{} // closed when n is 0; nil: no goroutine waits
}

func (t *tally) add() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.n++
}

func (t *tally) done() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.n--; t.n == 0 && t.idle != nil {
		close(t.idle)
		t.idle = nil
	}
}

func (t *tally) run(f func()) {
	t.add()
	go func() {
		defer t.done()
		f()
	}()
}

func (t *tally) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.n
}

// wait returns when nothing is on its way, or with ctx's error.
func (t *tally) wait(ctx context.Context) error {
	t.mu.Lock()
	if t.n == 0 {
		t.mu.Unlock()
		return nil
	}
	if t.idle == nil {
		t.idle = make(chan struct{})
	}
	idle := t.idle
	t.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
