// Package bench measures the whole path on this machine.
package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/chirograph/chirograph/cmd/internal/terminal"
)

// Cmd measures the whole path on this machine: load and message centre in this process, the node in
// one of its own, over loopback, everything durable, all policies on.
// It sends to loopback only, and ends by itself.
type Cmd struct {
	Messages    int           `help:"How many messages the throughput run submits, as fast as it may; 0: no such run." default:"40000"`
	Concurrency int           `help:"How many requests the throughput run makes at a time." default:"64"`
	Rate        float64       `help:"How many messages a second the steady run submits, which comes after the throughput run; 0: no such run." default:"300"`
	For         time.Duration `help:"How long the steady run takes. If that is longer than --every, it prints a table." default:"10s"`
	Every       time.Duration `help:"How much of the steady run one row of its table says." default:"1m"`
	Outstanding int           `help:"How many requests of the steady run may be unanswered. What is due beyond that waits; its time counts from when it was due." default:"1000"`
	Purpose     string        `help:"The messages' purpose, and the name of their program." default:"account"`
	Mix         bool          `help:"Submit a mixture instead: 20 % one-time codes to the United States, 80 % marketing to Germany, Ireland, the Netherlands and Spain, whose hours the policies do not limit; 30 % to recipients texted before; half with an idempotency key; one marketing text in ten is too long for one SMS."`
	Seed        uint64        `help:"With --mix and --make: the seed of who is texted, and what." default:"1"`
	Ledger      string        `help:"Go on with the ledger in this folder, which --keep or --make has made. It grows with every run." type:"path" placeholder:"DIR"`
	Keep        string        `help:"Keep the data folder, in this folder." type:"path" placeholder:"DIR"`
	Make        int           `help:"Measure nothing: make a ledger of this many messages in the folder of --keep, through a node in this process whose clock and carrier are simulated. The messages are those of --mix; some recipients opt out." placeholder:"N"`
	Days        int           `help:"With --make: how many days the messages are spread over. The last of them is today." default:"90"`
	Against     string        `help:"Compare with the figures in this file, which a run with --json has printed. Exit code 1: a figure is worse." type:"path" placeholder:"FILE"`
	Tolerance   float64       `help:"With --against: by how many percent a figure may be worse." default:"10" placeholder:"PERCENT"`
	Profile     string        `help:"Write a CPU profile of the node during the throughput run; of the steady run, where there is no other." type:"path" placeholder:"FILE"`
	Bound       time.Duration `help:"End everything after this time at the latest. Default: 5m, and as long as the steady run takes." placeholder:"TIME"`

	Cluster    bool   `help:"Measure nodes over Kafka and PostgreSQL instead, and the most that the brokers alone can do. make bench-cluster starts the servers."`
	Nodes      []int  `help:"With --cluster: how many nodes; one run for each number." default:"1,2,3"`
	Partitions []int  `help:"With --cluster: how many partitions; one run for each number." default:"4,8,16"`
	Kafka      string `help:"With --cluster: brokers, separated by commas." env:"CHIROGRAPH_TEST_KAFKA" placeholder:"ADDR"`
	Postgres   string `help:"With --cluster: URL of a PostgreSQL server on which the runs may make databases." env:"CHIROGRAPH_TEST_POSTGRES" placeholder:"URL"`
	ServerPIDs string `help:"With --cluster: process ids of the brokers and of PostgreSQL's postmaster, for their CPU time." env:"CHIROGRAPH_TEST_KAFKA_PIDS" hidden:""`
	DBPID      int    `name:"postgres-pid" help:"The postmaster's process id." env:"CHIROGRAPH_TEST_POSTGRES_PID" hidden:""`
}

// maxDays bounds --days.
const maxDays = 3650

// Validate is called by kong before Run.
func (c *Cmd) Validate() error {
	switch {
	case c.Messages < 0 || c.Concurrency < 1 || c.Outstanding < 1 || !(c.Rate >= 0):
		return errors.New("--messages and --rate must not be negative, and --concurrency and --outstanding must be at least 1")
	case c.For < 0 || c.Every < time.Second || c.Tolerance < 0:
		return errors.New("--for and --tolerance must not be negative, and --every must be at least 1s")
	case c.Ledger != "" && c.Keep != "":
		return errors.New("--ledger goes on in its own folder: leave out --keep")
	case c.Make < 0 || c.Days < 1 || c.Days > maxDays:
		return fmt.Errorf("--make must not be negative, and --days must be from 1 to %d", maxDays)
	case c.Make > 0 && c.Keep == "":
		return errors.New("--make needs a folder: --keep DIR")
	case c.Cluster && (c.Make > 0 || c.Mix || c.Ledger != "" || c.Against != ""):
		return errors.New("--cluster takes neither --mix nor --make nor --ledger nor --against")
	}
	return nil
}

// notALedger refuses a folder that is the data folder of a node: nothing of a benchmark is put beside its files.
func notALedger(dir string) error {
	for _, file := range []string{"ledger.db", "vault.db", "master.key"} {
		if _, err := os.Stat(filepath.Join(dir, file)); dir != "" && err == nil {
			return fmt.Errorf("%s is the data folder of a node: choose a new folder for --keep", dir)
		}
	}
	return nil
}

// bench is one benchmark under way.
type bench struct {
	c       *Cmd
	dir     string   // of this run's files
	data    string   // the node's data folder; "" on a cluster
	urls    []string // of the nodes
	asked   atomic.Int64
	pprof   string
	key     string
	client  *http.Client
	centre  *centre
	traffic *traffic
	procs   []*exec.Cmd
}

// Run measures and prints figures.
func (c *Cmd) Run(g *terminal.Globals) (err error) {
	ctx, stop := terminal.Interruptible()
	defer stop()
	if c.Make > 0 {
		return c.makeLedger(ctx, g)
	}
	if c.Bound == 0 {
		c.Bound = 5*time.Minute + c.For
	}
	ctx, cancel := context.WithTimeout(ctx, c.Bound)
	defer cancel()
	if c.Cluster {
		return c.cluster(ctx, g)
	}
	var old *Figures
	if c.Against != "" { // a wrong name is said now
		if old, err = readFigures(c.Against); err != nil {
			return err
		}
	}
	if err := notALedger(c.Keep); err != nil {
		return err
	}
	b := &bench{c: c, dir: c.Keep}
	if b.dir == "" {
		if b.dir, err = os.MkdirTemp("", "chirograph-bench-"); err != nil {
			return err
		}
		defer os.RemoveAll(b.dir)
	} else if err := os.MkdirAll(b.dir, 0o700); err != nil {
		return err
	}
	b.data = filepath.Join(b.dir, "data")
	if c.Ledger != "" {
		b.data = filepath.Join(c.Ledger, "data")
		for _, made := range []string{b.data, filepath.Join(c.Ledger, rememberedFile)} {
			if _, err := os.Stat(made); err != nil {
				return fmt.Errorf("--ledger takes a folder that --keep or --make has made, and %s is not one, or was not finished: %w", c.Ledger, err)
			}
		}
	}
	if b.traffic, err = newTraffic(c, filepath.Dir(b.data)); err != nil {
		return err
	}
	out := g.Stdout
	if g.JSON { // the figures come as one document
		out = io.Discard
	}
	f, err := b.measure(ctx, out)
	b.stop()
	if err = errors.Join(err, b.traffic.remember(filepath.Dir(b.data))); err != nil {
		return err
	}
	if g.JSON {
		if err := g.PrintValue(f); err != nil {
			return err
		}
		out = g.Stderr
	}
	if old != nil {
		return compare(out, old, f, c.Tolerance)
	}
	return nil
}

// measure starts a node and makes the runs. Lines go to out as there is something to say.
func (b *bench) measure(ctx context.Context, out io.Writer) (*Figures, error) {
	if err := b.start(ctx); err != nil {
		return nil, err
	}
	c := b.c
	f := &Figures{CPUs: runtime.NumCPU(), System: runtime.GOOS + "/" + runtime.GOARCH, Go: runtime.Version(), Mix: c.Mix, Recipients: b.traffic.known()}
	fmt.Fprintf(out, "%d CPUs, %s, %s; the node is a process of its own, load and centre are another, on loopback.\n", f.CPUs, f.System, f.Go)
	if err := b.warm(ctx); err != nil {
		return nil, err
	}
	profiled := make(chan error, 1)
	if c.Profile != "" {
		go func() { profiled <- b.profile(ctx) }()
	} else {
		profiled <- nil
	}
	if c.Messages > 0 {
		t, err := b.throughput(ctx, func() (float64, float64) { return 0, 0 })
		if err != nil {
			return nil, err
		}
		f.Throughput = t.figures(c.Messages)
		f.Throughput.print(out, c.Concurrency)
	}
	if c.Rate > 0 && c.For > 0 {
		s, err := b.steady(ctx, out)
		if err != nil {
			return nil, err
		}
		f.Steady = s
	}
	return f, <-profiled
}

// warm runs some messages through.
func (b *bench) warm(ctx context.Context) error {
	if _, err := b.load(ctx, 500, new(latencies)); err != nil {
		return err
	}
	return b.settled(ctx)
}

// benchRun is what a throughput run measured. CPU is in seconds: the nodes', and two others'.
type benchRun struct {
	took          latencies
	accepted, all time.Duration
	cpu           float64
	first, second float64
	good, sampled int
}

// throughput submits the messages as fast as it may, and waits until all are
// delivered or failed. others is the CPU time so far of two other parties.
func (b *bench) throughput(ctx context.Context, others func() (float64, float64)) (t benchRun, err error) {
	before, err := b.cpu(ctx)
	if err != nil {
		return t, err
	}
	f, s := others()
	begin := time.Now()
	var sent []string
	if sent, err = b.load(ctx, b.c.Messages, &t.took); err != nil {
		return t, err
	}
	t.accepted = time.Since(begin)
	if err := b.settled(ctx); err != nil {
		return t, err
	}
	t.all = time.Since(begin)
	after, err := b.cpu(ctx)
	if err != nil {
		return t, err
	}
	t.cpu = after - before
	t.first, t.second = others()
	t.first, t.second = t.first-f, t.second-s
	t.sampled = len(sent)
	t.good, err = b.delivered(ctx, sent)
	return t, err
}

// start brings up a centre and a node that is bound to it.
func (b *bench) start(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	listen, err := freeAddr()
	if err != nil {
		return err
	}
	b.urls = []string{"http://" + listen}
	if b.centre, err = newCentre(); err != nil {
		return err
	}
	args := []string{"serve", "--dev", "--dev-quiet", "--dev-smsc", b.centre.addr, "--data", b.data, "--listen", listen}
	if b.c.Profile != "" {
		if b.pprof, err = freeAddr(); err != nil {
			return err
		}
		args = append(args, "--dev-pprof", b.pprof)
	}
	if err := b.spawn(self, args...); err != nil {
		return err
	}
	b.client = benchClient(max(b.c.Concurrency, b.c.Outstanding))
	for {
		raw, err := os.ReadFile(filepath.Join(b.data, "dev-key"))
		if err == nil {
			b.key = strings.TrimSpace(string(raw))
			// The program is there once everything is.
			if ok, _ := b.call(ctx, http.MethodGet, "/v1/programs/reply", nil, nil); ok == http.StatusOK {
				if ok, _ := b.call(ctx, http.MethodGet, "/readyz", nil, nil); ok == http.StatusOK {
					return nil
				}
			}
		}
		select {
		case <-ctx.Done():
			return errors.New("the node did not start in time")
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func benchClient(concurrency int) *http.Client {
	return &http.Client{Timeout: 90 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: concurrency + 8}}
}

func freeAddr() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

func (b *bench) spawn(name string, args ...string) error {
	cmd := exec.Command(name, args...)
	f, err := os.Create(filepath.Join(b.dir, fmt.Sprintf("process-%d.log", len(b.procs)+1)))
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = f, f
	b.procs = append(b.procs, cmd)
	return errors.Join(cmd.Start(), f.Close())
}

// stop ends the nodes, and then the centre.
func (b *bench) stop() {
	if b.centre != nil {
		defer b.centre.end()
	}
	for _, p := range slices.Backward(b.procs) {
		if p.Process == nil {
			continue
		}
		p.Process.Signal(syscall.SIGTERM)
		kill := time.AfterFunc(30*time.Second, func() { p.Process.Kill() })
		_ = p.Wait() // it was told to end
		kill.Stop()
	}
}

// call makes one API call; out (may be nil) gets the answer.
func (b *bench) call(ctx context.Context, method, path string, body []byte, out any) (int, error) {
	return b.once(ctx, "", method, path, body, out)
}

// once is call with an idempotency key; "" for none.
func (b *bench) once(ctx context.Context, key, method, path string, body []byte, out any) (int, error) {
	url := b.urls[int(b.asked.Add(1))%len(b.urls)]
	r, err := http.NewRequestWithContext(ctx, method, url+path, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	r.Header.Set("Authorization", "Bearer "+b.key)
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	if key != "" {
		r.Header.Set("Idempotency-Key", key)
	}
	resp, err := b.client.Do(r)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err == nil && out != nil {
		err = json.Unmarshal(raw, out)
	}
	return resp.StatusCode, err
}

// load submits n messages as fast as it may. took gets how long each 202 took; it returns a sample of the ids.
func (b *bench) load(ctx context.Context, n int, took *latencies) (sample []string, err error) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	work := make(chan message, b.c.Concurrency)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var failed error
	for range b.c.Concurrency {
		wg.Go(func() {
			for m := range work {
				begin := time.Now()
				id, e := b.insist(ctx, &m)
				d := time.Since(begin)
				mu.Lock()
				switch {
				case e != nil && failed == nil:
					failed = e
					cancel()
				case e == nil:
					took.add(d)
					if rand.IntN(max(n/400, 1)) == 0 {
						sample = append(sample, id)
					}
				}
				mu.Unlock()
			}
		})
	}
feed:
	for range n {
		select {
		case work <- b.traffic.next(nil):
		case <-ctx.Done():
			break feed
		}
	}
	close(work)
	wg.Wait()
	if failed == nil && ctx.Err() != nil {
		failed = ctx.Err()
	}
	return sample, failed
}

// submit submits a message once, and returns the answer's status with the message's id, or with what was wrong.
func (b *bench) submit(ctx context.Context, m *message) (status int, id, problem string, err error) {
	var out struct{ ID, Type, Detail string }
	status, err = b.once(ctx, m.key, http.MethodPost, "/v1/messages", m.request(), &out)
	return status, out.ID, out.Type + " " + out.Detail, err
}

// insist submits a message until it is accepted.
func (b *bench) insist(ctx context.Context, m *message) (string, error) {
	for {
		status, id, problem, err := b.submit(ctx, m)
		if err != nil {
			return "", err
		}
		switch status {
		case http.StatusAccepted:
			return id, nil
		case http.StatusServiceUnavailable: // refused before any append: as asked, later
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
				return "", ctx.Err()
			}
		default:
			return "", fmt.Errorf("a submit was answered %d: %s", status, problem)
		}
	}
}

// settled waits until no message is in a state on the way to delivered.
func (b *bench) settled(ctx context.Context) error {
	for {
		open := false
		for _, status := range []string{"accepted", "allowed", "sending", "sent"} {
			var page struct{ Messages []json.RawMessage }
			code, err := b.call(ctx, http.MethodPost, "/v1/messages/search", []byte(`{"status":"`+status+`","limit":1}`), &page)
			if err != nil {
				return err
			}
			if code != http.StatusOK {
				return fmt.Errorf("a search was answered %d", code)
			}
			if len(page.Messages) > 0 {
				open = true
				break
			}
		}
		if !open {
			return nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return errors.New("not every message reached its end in time")
		}
	}
}

func (b *bench) delivered(ctx context.Context, ids []string) (n int, err error) {
	for _, id := range ids {
		var m struct{ Status string }
		if _, err := b.call(ctx, http.MethodGet, "/v1/messages/"+id, nil, &m); err != nil {
			return n, err
		}
		if m.Status == "delivered" {
			n++
		}
	}
	return n, nil
}

func (b *bench) profile(ctx context.Context) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+b.pprof+"/debug/pprof/profile?seconds=8", nil)
	if err != nil {
		return err
	}
	resp, err := b.client.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	f, err := os.Create(b.c.Profile)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, resp.Body)
	return errors.Join(err, f.Close())
}
