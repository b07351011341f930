// Package bench measures the whole path on this machine.
package bench

import (
	"bufio"
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
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/chirograph/chirograph/cmd/internal/terminal"
)

// Cmd measures the whole path on this machine: load, node and message centre
// in processes of their own, over loopback, everything durable, all policies on.
// It sends to loopback only, and ends by itself.
type Cmd struct {
	Messages    int           `help:"How many messages the throughput run submits." default:"40000"`
	Concurrency int           `help:"How many requests are made at a time." default:"64"`
	Rate        float64       `help:"How many messages a second the latency run submits, which comes after the throughput run; 0: no such run." default:"300"`
	For         time.Duration `help:"How long the latency run takes." default:"10s"`
	Purpose     string        `help:"The messages' purpose, and the name of their program." default:"account"`
	Keep        string        `help:"Keep the data folder, in this folder." type:"path" placeholder:"DIR"`
	Profile     string        `help:"Write a CPU profile of the node during the throughput run." type:"path" placeholder:"FILE"`
	Bound       time.Duration `help:"End everything after this time at the latest." default:"5m"`

	Cluster    bool   `help:"Measure nodes over Kafka and PostgreSQL instead, and the most that the brokers alone can do. make bench-cluster starts the servers."`
	Nodes      []int  `help:"With --cluster: how many nodes; one run for each number." default:"1,2,3"`
	Partitions []int  `help:"With --cluster: how many partitions; one run for each number." default:"4,8,16"`
	Kafka      string `help:"With --cluster: brokers, separated by commas." env:"CHIROGRAPH_TEST_KAFKA" placeholder:"ADDR"`
	Postgres   string `help:"With --cluster: URL of a PostgreSQL server on which the runs may make databases." env:"CHIROGRAPH_TEST_POSTGRES" placeholder:"URL"`
	ServerPIDs string `help:"With --cluster: process ids of the brokers and of PostgreSQL's postmaster, for their CPU time." env:"CHIROGRAPH_TEST_KAFKA_PIDS" hidden:""`
	DBPID      int    `name:"postgres-pid" help:"The postmaster's process id." env:"CHIROGRAPH_TEST_POSTGRES_PID" hidden:""`
}

type percentiles struct{ P50, P90, P99, Max float64 }

func percentile(d []time.Duration) (p percentiles) {
	if len(d) == 0 {
		return p
	}
	slices.Sort(d)
	at := func(q float64) float64 {
		return float64(d[min(len(d)-1, int(q*float64(len(d))))].Microseconds()) / 1000
	}
	return percentiles{at(.5), at(.9), at(.99), at(1)}
}

func (p percentiles) String() string {
	return fmt.Sprintf("p50 %.1f ms, p90 %.1f ms, p99 %.1f ms, max %.1f ms", p.P50, p.P90, p.P99, p.Max)
}

// bench is one benchmark under way.
type bench struct {
	c      *Cmd
	dir    string
	urls   []string // of the nodes
	asked  atomic.Int64
	pprof  string
	key    string
	client *http.Client
	record string
	procs  []*exec.Cmd
}

// Run measures and prints figures.
func (c *Cmd) Run(g *terminal.Globals) (err error) {
	ctx, stop := terminal.Interruptible()
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, c.Bound)
	defer cancel()
	if c.Cluster {
		return c.cluster(ctx, g)
	}
	b := &bench{c: c, dir: c.Keep}
	if b.dir == "" {
		if b.dir, err = os.MkdirTemp("", "chirograph-bench-"); err != nil {
			return err
		}
		defer os.RemoveAll(b.dir)
	}
	defer b.stop()
	if err := b.start(ctx); err != nil {
		return err
	}
	fmt.Fprintf(g.Stdout, "%d CPUs, %s/%s, %s; load, node and centre are three processes on loopback.\n", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version())
	if err := b.warm(ctx); err != nil {
		return err
	}
	profiled := make(chan error, 1)
	if c.Profile != "" {
		go func() { profiled <- b.profile(ctx) }()
	}
	t, err := b.throughput(ctx, func() (float64, float64) { return 0, 0 })
	if err != nil {
		return err
	}
	n := float64(c.Messages)
	fmt.Fprintf(g.Stdout, "throughput       %.0f messages a second end to end (%d submitted, %d of a sample of %d delivered, %.1f s)\n", n/t.all.Seconds(), c.Messages, t.good, t.sampled, t.all.Seconds())
	fmt.Fprintf(g.Stdout, "accepted         %.0f messages a second (%d requests at once); submit to 202: %s\n", n/t.accepted.Seconds(), c.Concurrency, percentile(t.took))
	fmt.Fprintf(g.Stdout, "node             %.0f us of CPU a message\n", t.cpu/n*1e6)
	if c.Profile != "" {
		if err := <-profiled; err != nil {
			return err
		}
	}
	if c.Rate > 0 {
		if err := b.latency(ctx, g); err != nil {
			return err
		}
	}
	return nil
}

// warm runs some messages through.
func (b *bench) warm(ctx context.Context) error {
	if _, _, err := b.load(ctx, 500, 0); err != nil {
		return err
	}
	return b.settled(ctx)
}

// benchRun is what a throughput run measured. CPU is in seconds: the nodes', and two others'.
type benchRun struct {
	took          []time.Duration
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
	if t.took, sent, err = b.load(ctx, b.c.Messages, 0); err != nil {
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

// start brings up a centre that records its PDUs and a node bound to it.
func (b *bench) start(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	b.record = filepath.Join(b.dir, "centre.jsonl")
	addr, err := freeAddr()
	if err != nil {
		return err
	}
	listen, err := freeAddr()
	if err != nil {
		return err
	}
	b.urls = []string{"http://" + listen}
	if err := b.spawnCentre(ctx, self, addr); err != nil {
		return err
	}
	data := filepath.Join(b.dir, "data")
	args := []string{"serve", "--dev", "--dev-quiet", "--dev-smsc", addr, "--data", data, "--listen", listen}
	if b.c.Profile != "" {
		if b.pprof, err = freeAddr(); err != nil {
			return err
		}
		args = append(args, "--dev-pprof", b.pprof)
	}
	if err := b.spawn(ctx, self, args...); err != nil {
		return err
	}
	b.client = benchClient(b.c.Concurrency)
	for {
		raw, err := os.ReadFile(filepath.Join(data, "dev-key"))
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

func (b *bench) spawnCentre(ctx context.Context, self, addr string) error {
	return b.spawn(ctx, self, "simulate", "smsc", "--listen", addr, "--control", "-", "--quiet", "--record", b.record)
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

func (b *bench) spawn(_ context.Context, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	f, err := os.Create(filepath.Join(b.dir, fmt.Sprintf("process-%d.log", len(b.procs)+1)))
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = f, f
	b.procs = append(b.procs, cmd)
	return errors.Join(cmd.Start(), f.Close())
}

// stop ends the processes that start started, the node first.
func (b *bench) stop() {
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
	url := b.urls[int(b.asked.Add(1))%len(b.urls)]
	r, err := http.NewRequestWithContext(ctx, method, url+path, bytes.NewReader(body))
	if err != nil {
		return 0, err
	}
	r.Header.Set("Authorization", "Bearer "+b.key)
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
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

// Number is a different US number each time: the purpose of the run is that
// every recipient is a new stream.
func Number(n int) string {
	areas := []int{212, 312, 415, 602, 713, 404, 617, 206, 303, 305}
	exchange := 220 + n/10_000%700
	if exchange%100 == 11 || exchange == 555 {
		exchange++
	}
	return fmt.Sprintf("+1%d%03d%04d", areas[n/7_000_000%len(areas)], exchange, n%10_000)
}

var benchNext atomic.Int64

// load submits n messages, as fast as it may (rate 0) or at a rate, and returns how
// long each 202 took and a sample of the ids.
func (b *bench) load(ctx context.Context, n int, rate float64) (took []time.Duration, sample []string, err error) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	work := make(chan int, b.c.Concurrency)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var failed error
	for range b.c.Concurrency {
		wg.Go(func() {
			for i := range work {
				begin := time.Now()
				id, e := b.submit(ctx, Number(i))
				d := time.Since(begin)
				mu.Lock()
				switch {
				case e != nil && failed == nil:
					failed = e
					cancel()
				case e == nil:
					took = append(took, d)
					if rand.IntN(max(n/400, 1)) == 0 {
						sample = append(sample, id)
					}
				}
				mu.Unlock()
			}
		})
	}
	begin := time.Now()
feed:
	for i := range n {
		if rate > 0 {
			select {
			case <-time.After(time.Until(begin.Add(time.Duration(float64(i) / rate * float64(time.Second))))):
			case <-ctx.Done():
				break feed
			}
		}
		select {
		case work <- int(benchNext.Add(1)):
		case <-ctx.Done():
			break feed
		}
	}
	close(work)
	wg.Wait()
	if failed == nil && ctx.Err() != nil {
		failed = ctx.Err()
	}
	return took, sample, failed
}

func (b *bench) submit(ctx context.Context, to string) (string, error) {
	body := fmt.Sprintf(`{"to":%q,"program":%q,"body":"Your statement for November is ready. Sign in to read it: example.com/s"}`, to, b.c.Purpose)
	for {
		var out struct{ ID, Type, Detail string }
		status, err := b.call(ctx, http.MethodPost, "/v1/messages", []byte(body), &out)
		if err != nil {
			return "", err
		}
		switch status {
		case http.StatusAccepted:
			return out.ID, nil
		case http.StatusServiceUnavailable: // refused before any append: as asked, later
			select {
			case <-time.After(100 * time.Millisecond):
			case <-ctx.Done():
				return "", ctx.Err()
			}
		default:
			return "", fmt.Errorf("a submit was answered %d: %s %s", status, out.Type, out.Detail)
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

// cpu is the nodes' CPU time so far, in seconds.
func (b *bench) cpu(ctx context.Context) (sum float64, err error) {
	for _, url := range b.urls {
		s, err := b.cpuOf(ctx, url)
		if err != nil {
			return 0, err
		}
		sum += s
	}
	return sum, nil
}

func (b *bench) cpuOf(ctx context.Context, url string) (float64, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	resp, err := b.client.Do(r)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	s := bufio.NewScanner(resp.Body)
	for s.Scan() {
		if v, ok := strings.CutPrefix(s.Text(), "process_cpu_seconds_total "); ok {
			return strconv.ParseFloat(v, 64)
		}
	}
	return 0, errors.New("the node's metrics have no CPU time")
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

// latency submits at a steady rate and compares with when the centre, by its own
// record, received each message.
func (b *bench) latency(ctx context.Context, g *terminal.Globals) error {
	n := int(b.c.Rate * b.c.For.Seconds())
	begins := make(map[string]time.Time, n)
	var mu sync.Mutex
	var toAnswer []time.Duration
	var wg sync.WaitGroup
	slots := make(chan struct{}, 256)
	start := time.Now()
	for i := range n {
		select {
		case <-time.After(time.Until(start.Add(time.Duration(float64(i) / b.c.Rate * float64(time.Second))))):
		case <-ctx.Done():
			return ctx.Err()
		}
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			to := Number(int(benchNext.Add(1)))
			begin := time.Now()
			if _, err := b.submit(ctx, to); err != nil {
				return
			}
			mu.Lock()
			begins[to[1:]] = begin
			toAnswer = append(toAnswer, time.Since(begin))
			mu.Unlock()
		})
	}
	wg.Wait()
	if err := b.settled(ctx); err != nil {
		return err
	}
	<-time.After(100 * time.Millisecond) // the centre writes its record within 50 ms
	f, err := os.Open(b.record)
	if err != nil {
		return err
	}
	defer f.Close()
	var toSubmit []time.Duration
	s := bufio.NewScanner(f)
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		if !bytes.Contains(s.Bytes(), []byte(`"submit_sm"`)) {
			continue
		}
		var line struct {
			Time        time.Time
			Destination string
		}
		if json.Unmarshal(s.Bytes(), &line) != nil {
			continue
		}
		if begin, ok := begins[strings.TrimPrefix(line.Destination, "+")]; ok {
			toSubmit = append(toSubmit, line.Time.Sub(begin))
		}
	}
	fmt.Fprintf(g.Stdout, "at %.0f a second   submit to 202:       %s\n", b.c.Rate, percentile(toAnswer))
	fmt.Fprintf(g.Stdout, "                 submit to submit_sm: %s (%d of %d)\n", percentile(toSubmit), len(toSubmit), len(toAnswer))
	return nil
}
