package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/chirograph/chirograph/adapters/kafkalog"
	"github.com/chirograph/chirograph/adapters/leases"
	"github.com/chirograph/chirograph/api/door"
	"github.com/chirograph/chirograph/cmd/internal/assemble"
	"github.com/chirograph/chirograph/cmd/internal/terminal"
)

// eventsOfMessage is how many events one message has that is delivered.
const eventsOfMessage = 6

// cluster measures nodes over Kafka and PostgreSQL, for every number of nodes and
// partitions that was asked for.
func (c *Cmd) cluster(ctx context.Context, g *terminal.Globals) error {
	if c.Kafka == "" || c.Postgres == "" {
		return terminal.UsageError("--cluster needs --kafka and --postgres (or CHIROGRAPH_TEST_KAFKA and CHIROGRAPH_TEST_POSTGRES); `make bench-cluster` starts both")
	}
	brokers := strings.Split(c.Kafka, ",")
	fmt.Fprintf(g.Stdout, "%d CPUs, %s/%s, %s; load with the centre, nodes, %s and PostgreSQL are processes of this machine.\n", runtime.NumCPU(), runtime.GOOS, runtime.GOARCH, runtime.Version(), terminal.Count(len(brokers), "broker"))
	fmt.Fprintf(g.Stdout, "CPU is in microseconds a message. The ceiling is plain franz-go producing the same bytes with the same acks, in messages of %d events.\n\n", eventsOfMessage)
	fmt.Fprintf(g.Stdout, "%5s %10s %10s %10s %8s %8s %8s %10s   %s\n", "nodes", "partitions", "messages/s", "accepted/s", "nodes", "brokers", "postgres", "ceiling/s", "submit to 202")
	for _, partitions := range c.Partitions {
		for _, nodes := range c.Nodes {
			if err := c.clusterRun(ctx, g, brokers, nodes, partitions); err != nil {
				return fmt.Errorf("%d nodes, %d partitions: %w", nodes, partitions, err)
			}
		}
	}
	return nil
}

func (c *Cmd) clusterRun(ctx context.Context, g *terminal.Globals, brokers []string, nodes, partitions int) (err error) {
	b := &bench{c: c, client: benchClient(max(c.Concurrency, c.Outstanding)), traffic: &traffic{program: c.Purpose}}
	if b.dir, err = os.MkdirTemp(c.Keep, "chirograph-bench-"); err != nil {
		return err
	}
	if c.Keep == "" {
		defer os.RemoveAll(b.dir)
	}
	database, drop, err := leases.Scratch(ctx, c.Postgres)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, drop()) }()
	topics := kafkalog.Config{Brokers: brokers, Prefix: "bench-" + door.HashKey(assemble.NewKey())[:12], Replication: min(3, len(brokers)), MinISR: max(1, min(3, len(brokers))-1), Partitions: partitions}
	defer func() { err = errors.Join(err, kafkalog.Drop(context.WithoutCancel(ctx), topics)) }()
	defer b.stop() // before the database and the topics go
	if err := b.startCluster(ctx, topics, database, nodes); err != nil {
		return err
	}
	if err := b.warm(ctx); err != nil {
		return err
	}
	var pids []int
	for _, f := range strings.FieldsFunc(c.ServerPIDs, func(r rune) bool { return r == ',' || r == ' ' }) {
		if pid, err := strconv.Atoi(f); err == nil {
			pids = append(pids, pid)
		}
	}
	profiled := make(chan error, 1)
	if c.Profile != "" { // of the first node, and of the last run
		go func() { profiled <- b.profile(ctx) }()
	} else {
		profiled <- nil
	}
	t, err := b.throughput(ctx, func() (float64, float64) { return cpuOf(pids...), cpuOf(family(c.DBPID)...) })
	if err != nil {
		return err
	}
	if err := <-profiled; err != nil {
		return err
	}
	n, took := float64(c.Messages), t.took.timings()
	ceiling, err := kafkalog.Ceiling(ctx, topics, c.Messages*eventsOfMessage)
	if err != nil {
		return err
	}
	us := func(seconds float64) string {
		if seconds <= 0 {
			return "-"
		}
		return fmt.Sprintf("%.0f", seconds/n*1e6)
	}
	fmt.Fprintf(g.Stdout, "%5d %10d %10.0f %10.0f %8s %8s %8s %10.0f   %s\n", nodes, partitions, n/t.all.Seconds(), n/t.accepted.Seconds(),
		us(t.cpu), us(t.first), us(t.second), ceiling/eventsOfMessage, &took)
	if t.good < t.sampled {
		fmt.Fprintf(g.Stdout, "      of a sample of %d messages %d were delivered\n", t.sampled, t.good)
	}
	if c.Rate > 0 {
		_, err = b.steady(ctx, g.Stdout)
		return err
	}
	return nil
}

// startCluster makes a ledger and brings up a centre and nodes that are bound to it.
func (b *bench) startCluster(ctx context.Context, topics kafkalog.Config, database string, nodes int) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if b.centre, err = newCentre(); err != nil {
		return err
	}
	b.key = assemble.NewKey()
	if err := os.WriteFile(filepath.Join(b.dir, "postgres.url"), []byte(database), 0o600); err != nil {
		return err
	}
	var configs []string
	for i := range nodes {
		listen, err := freeAddr()
		if err != nil {
			return err
		}
		b.urls = append(b.urls, "http://"+listen)
		path := filepath.Join(b.dir, fmt.Sprintf("node-%d.yaml", i+1))
		configs = append(configs, path)
		text := fmt.Sprintf(`engine: kafka
node: node-%d
listen: %s
log: {level: warn}
master_key_file: master.key
kafka: {brokers: [%s], prefix: %q, partitions: %d, replication: %d, min_insync: %d}
postgres: {url_file: postgres.url}
tenants: [bench]
api_keys:
  - {id: bench, sha256: %q, tenant: bench, scopes: [%s]}
carriers:
  - {account: sim, addr: %q, system_id: bench, window: 250}
routes:
  - {rule: all, carrier: sim}
programs:
  - {tenant: bench, name: %s, legal_entity: Example Bank Ltd, purposes: [%s], countries: ["*"], senders: ["+12025550101"], default: true}
`, i+1, listen, strings.Join(topics.Brokers, ", "), topics.Prefix, topics.Partitions, topics.Replication, topics.MinISR,
			door.HashKey(b.key), strings.Join(door.Scopes(), ", "), b.centre.addr, b.c.Purpose, b.c.Purpose)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return err
		}
	}
	for _, args := range [][]string{{"log", "init", "--config", configs[0]}, {"config", "apply", configs[0]}} {
		cmd := exec.CommandContext(ctx, self, args...)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", strings.Join(args[:2], " "), err, out)
		}
	}
	for i, path := range configs {
		args := []string{"serve", "--config", path}
		if i == 0 && b.c.Profile != "" {
			if b.pprof, err = freeAddr(); err != nil {
				return err
			}
			args = append(args, "--dev-pprof", b.pprof)
		}
		if err := b.spawn(self, args...); err != nil {
			return err
		}
	}
	for i := 0; i < 2*nodes; { // each in turn, twice
		if status, _ := b.call(ctx, http.MethodGet, "/readyz", nil, nil); status == http.StatusOK {
			i++
			continue
		}
		i = 0
		select {
		case <-ctx.Done():
			return errors.New("the nodes did not start in time")
		case <-time.After(50 * time.Millisecond):
		}
	}
	return nil
}

// cpuOf is the CPU time so far, in seconds, of processes and of children that have
// ended; 0 where the system does not say (it is read from /proc).
func cpuOf(pids ...int) (sum float64) {
	const ticks = 100 // USER_HZ, proc(5)
	for _, pid := range pids {
		f := procStat(pid)
		if len(f) < 15 {
			continue
		}
		for _, i := range []int{11, 12, 13, 14} { // utime, stime, cutime, cstime
			if n, err := strconv.ParseFloat(f[i], 64); err == nil {
				sum += n / ticks
			}
		}
	}
	return sum
}

// procStat are the fields of /proc/PID/stat that follow the command's name.
func procStat(pid int) []string {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	i := strings.LastIndexByte(string(raw), ')')
	return strings.Fields(string(raw[i+1:]))
}

// family is a process and its children.
func family(pid int) []int {
	if pid == 0 {
		return nil
	}
	out := []int{pid}
	entries, _ := os.ReadDir("/proc") // other systems have none
	for _, e := range entries {
		child, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if f := procStat(child); len(f) > 1 && f[1] == strconv.Itoa(pid) {
			out = append(out, child)
		}
	}
	slices.Sort(out)
	return out
}
