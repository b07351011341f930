package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/chirograph/chirograph/cmd/internal/assemble"
	"github.com/chirograph/chirograph/cmd/internal/terminal"
	"github.com/chirograph/chirograph/domain/clerk"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/intake"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/node"
)

// The tenant of a ledger that is made, and its carrier account: those of serve --dev.
const (
	madeTenant  = "dev"
	madeCarrier = "simulated"
)

// madeMemory is how many bytes of streams a partition keeps in memory.
const madeMemory = 4 << 20

// simulatedClock runs as fast as the real one, and can be moved forward.
type simulatedClock struct{ from atomic.Pointer[[2]time.Time] } // what it showed when, by the real clock

func newClock(t time.Time) *simulatedClock {
	c := new(simulatedClock)
	c.from.Store(&[2]time.Time{t, time.Now()})
	return c
}

// now has no monotonic reading: a node must not notice that the clock is moved.
func (c *simulatedClock) now() time.Time {
	f := c.from.Load()
	return f[0].Add(time.Since(f[1])).Round(0)
}

// move moves the clock forward to t, and never back.
func (c *simulatedClock) move(t time.Time) {
	if t.After(c.now()) {
		c.from.Store(&[2]time.Time{t, time.Now()})
	}
}

// Made is what --make has made, as --json prints it.
type Made struct {
	Messages   int     `json:"messages"`
	Denied     int64   `json:"denied"` // by the policies, because their recipients had opted out
	OptOuts    int     `json:"opt_outs"`
	Recipients int     `json:"recipients"`
	Steps      int     `json:"steps"` // between them the clock was moved
	Days       int     `json:"days"`
	Seconds    float64 `json:"seconds"`
	PerSecond  float64 `json:"messages_per_second"`
	Disk       int64   `json:"disk"`
}

// maker makes a ledger through a node in this process.
type maker struct {
	c       *Cmd
	node    *node.Node
	log     ledger.Log
	clock   *simulatedClock
	carrier *inProcess
	traffic *traffic
	leaving []message // to recipients who opt out before the next step
	out     io.Writer
	made    Made
	began   time.Time
}

// makeLedger makes a ledger of --make messages in the folder of --keep.
func (c *Cmd) makeLedger(ctx context.Context, g *terminal.Globals) (err error) {
	data := filepath.Join(c.Keep, "data")
	if _, err := os.Stat(data); err == nil {
		return fmt.Errorf("there is a data folder in %s: choose a new folder", c.Keep)
	}
	if err := notALedger(c.Keep); err != nil {
		return err
	}
	if err := os.MkdirAll(c.Keep, 0o700); err != nil {
		return err
	}
	began := time.Now()
	m := &maker{c: c, clock: newClock(began.AddDate(0, 0, -c.Days)), out: g.Stdout, began: began, made: Made{Messages: c.Make, Days: c.Days}}
	if g.JSON {
		m.out = g.Stderr
	}
	m.carrier = newInProcess(m.clock)
	mix := *c
	mix.Mix = true
	if m.traffic, err = newTraffic(&mix, c.Keep); err != nil {
		return err
	}
	if err := m.run(ctx, data); err != nil {
		return err
	}
	if err := m.traffic.remember(c.Keep); err != nil {
		return err
	}
	m.made.Disk, m.made.Recipients = diskOf(data), m.traffic.known()
	if g.JSON {
		return g.PrintValue(m.made)
	}
	_, err = fmt.Fprintf(g.Stdout, "%d messages in %.1f s, %.0f a second: %d days in %d steps, %d recipients, %d opt-outs, %d messages denied; %d MB\n",
		m.made.Messages, m.made.Seconds, m.made.PerSecond, m.made.Days, m.made.Steps, m.made.Recipients, m.made.OptOuts, m.made.Denied, m.made.Disk/mb)
	return err
}

// run runs the node over a new data folder, as serve --dev does, until all is made.
func (m *maker) run(ctx context.Context, data string) error {
	ctx, finish := context.WithCancel(ctx)
	defer finish()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer l.Close()
	d, err := assemble.OpenFolder(assemble.Folder{Dir: data, Create: true})
	if err != nil {
		return err
	}
	d.Development, d.Now = true, m.clock.now
	m.log = d.Log
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	account := assemble.Account{Name: madeCarrier, Account: ledger.Account{Takes: ledger.TakesParts, Alphabet: "gsm7", Tells: ledger.Tells{Receipts: true, Inbound: true}},
		Connect: m.carrier.connect}
	keys, err := assemble.OneKey(assemble.NewKey(), "make", madeTenant)
	if err == nil {
		err = errors.Join(d.Begin("dev", true), d.ForDevelopment())
	}
	var clients []ledger.Client
	if err == nil {
		m.node, clients, err = assemble.NewNode(d, "dev", nil, []assemble.Account{account}, clerk.Config{StreamMemory: madeMemory}, log)
	}
	if err != nil {
		return errors.Join(err, d.Close())
	}
	var made error
	r := &assemble.Running{Data: d, Name: "dev", Node: m.node, Carriers: clients, Listener: l, Keys: keys, Drain: time.Minute, Log: log,
		Exports: assemble.Exports{Node: "dev", Dir: filepath.Join(data, "exports"), Keep: time.Hour}}
	r.Started = func(ctx context.Context) error {
		defer finish() // the node stops in order
		if made = assemble.Apply(ctx, m.node, d, "dev", &assemble.Wanted{Programs: madePrograms(), Routes: []event.Route{{Rule: "everything", Carrier: madeCarrier}}}); made == nil {
			made = m.all(ctx)
		}
		return made
	}
	return errors.Join(r.Run(ctx), made)
}

// madePrograms are those that a mixture needs.
func madePrograms() map[string][]*event.ProgramChanged {
	var out []*event.ProgramChanged
	for _, p := range []struct{ purpose, sender string }{{"marketing", "+12025550101"}, {"otp", "+12025550102"}} {
		out = append(out, &event.ProgramChanged{Name: p.purpose, LegalEntity: "Example Bank Ltd", Brand: "Example Bank", Purposes: []string{p.purpose},
			Countries: []string{"*"}, Senders: []string{p.sender}, PrefersDuplicate: p.purpose == "otp", Default: p.purpose == "otp"})
	}
	return map[string][]*event.ProgramChanged{madeTenant: out}
}

// steps is in how many steps so many messages of so many days are made: of a thousand messages or more, at least
// one a day and at most one an hour.
func steps(messages, days int) int { return min(max(messages/1000, days), days*24) }

// progressEvery is how often a line says how far it is.
const progressEvery = 5 * time.Second

// all makes all messages. In a step the clock stands still but for the time that it takes, so that no message waits
// for long; when all have reached their end, the clock is moved to the next step.
func (m *maker) all(ctx context.Context) error {
	n := steps(m.c.Make, m.c.Days)
	start, length := m.clock.now(), time.Duration(m.c.Days)*24*time.Hour
	printed := time.Now()
	for i := range n {
		m.clock.move(start.Add(length / time.Duration(n) * time.Duration(i)))
		if err := m.optOuts(ctx); err != nil {
			return err
		}
		if err := m.step(ctx, m.c.Make*(i+1)/n-m.c.Make*i/n); err != nil {
			return err
		}
		if time.Since(printed) > progressEvery {
			printed = time.Now()
			done := m.c.Make * (i + 1) / n
			fmt.Fprintf(m.out, "%9d messages, %.0f a second, day %d of %d\n", done, float64(done)/time.Since(m.began).Seconds(), (i+1)*m.c.Days/n, m.c.Days)
		}
	}
	m.made.Steps, m.made.Seconds = n, time.Since(m.began).Seconds()
	m.made.PerSecond = float64(m.made.Messages) / m.made.Seconds
	return nil
}

// leaveEvery is of how many marketing messages one makes its recipient opt out.
const leaveEvery = 100

// makers is how many submits are under way at a time.
const makers = 256

var madeBy = ledger.Caller{Tenant: madeTenant, Key: "make"}

// step submits n messages, and waits until all have reached their end.
func (m *maker) step(ctx context.Context, n int) error {
	denied := m.denied()
	m.carrier.begin()
	work := make(chan message, makers)
	ids := make([]event.ID, 0, n)
	var mu sync.Mutex
	var failed error
	var workers sync.WaitGroup
	for range makers {
		workers.Go(func() {
			for x := range work {
				out, err := m.node.Intake().Submit(ctx, madeBy, &intake.SubmitRequest{To: x.to, Program: x.program, Body: x.body, IdempotencyKey: x.key})
				mu.Lock()
				if err != nil {
					failed = err
				} else {
					ids = append(ids, out.ID)
				}
				mu.Unlock()
			}
		})
	}
	for range n {
		x := m.traffic.next(nil)
		if !inCodes(x.recipient) && m.traffic.rng.IntN(leaveEvery) == 0 {
			m.leaving = append(m.leaving, x)
		}
		work <- x
	}
	close(work)
	workers.Wait()
	if failed != nil {
		return failed
	}
	return m.rest(ctx, ids, denied)
}

// denied is how many messages the policies have denied.
func (m *maker) denied() (n int64) {
	for k, v := range m.node.Stats().Decided {
		if k.Outcome == event.Deny {
			n += v
		}
	}
	return n
}

// patience is how long nothing may happen before a step is given up.
const patience = time.Minute

// rest waits until each of the messages has its receipts or was denied, and nothing is under way. There were so many
// denied before.
func (m *maker) rest(ctx context.Context, ids []event.ID, denied int64) error {
	last, since := -1, time.Now()
	for {
		open := m.carrier.open(ids)
		now := m.denied() - denied
		if int64(open) <= now && m.carrier.isIdle() && m.node.Stats().Backlog == 0 && m.isFolded(ctx) {
			m.made.Denied += now
			return nil
		}
		if open != last {
			last, since = open, time.Now()
		}
		if time.Since(since) > patience {
			return fmt.Errorf("%d of %d messages do not reach their end, and %d were denied: %+v", open, len(ids), now, m.node.Stats())
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// isFolded reports whether the node has folded all that is in the log. What a node has not folded when the clock is
// moved is in doubt for it.
func (m *maker) isFolded(ctx context.Context) bool {
	for p, next := range m.node.Applied() {
		if _, head, err := m.log.Read(ctx, p, 0, 0); err != nil || next < head {
			return false
		}
	}
	return true
}

// optOuts makes recipients opt out: every other one by phone, the others with a STOP.
func (m *maker) optOuts(ctx context.Context) error {
	for _, x := range m.leaving {
		if m.made.OptOuts++; m.made.OptOuts%2 == 0 {
			_, err := m.node.Intake().OptOut(ctx, madeBy, &intake.OptOutRequest{Number: x.to, Scope: event.ScopeProgram, Program: x.program, Source: "phone", Evidence: "Called and asked us to stop."})
			if err != nil {
				return err
			}
		} else if err := m.carrier.text(ctx, x.to, madePrograms()[madeTenant][0].Senders[0], "STOP"); err != nil {
			return err
		}
	}
	m.leaving = m.leaving[:0]
	return nil
}
