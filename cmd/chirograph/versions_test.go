package main

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chirograph/chirograph/adapters/servertest"
	"github.com/chirograph/chirograph/api/door"
	"github.com/chirograph/chirograph/cmd/internal/bench"
)

// levelOne is the last commit whose program knows format level 1 alone.
const levelOne = "3f3e2f5398146a2ac1d5b4a83bdb2ecdff442362"

// oldProgram builds the program of a commit of this repository.
func oldProgram(t *testing.T, commit string) string {
	t.Helper()
	root := filepath.Join("..", "..")
	if err := exec.Command("git", "-C", root, "cat-file", "-e", commit+"^{commit}").Run(); err != nil {
		t.Skip("left out: this checkout has no history, so the version before format level 2 cannot be built")
	}
	dir := t.TempDir()
	archive := exec.Command("git", "-C", root, "archive", commit)
	unpack := exec.Command("tar", "-x", "-C", dir)
	var err error
	if unpack.Stdin, err = archive.StdoutPipe(); err != nil {
		t.Fatal(err)
	}
	if err := unpack.Start(); err != nil {
		t.Fatal(err)
	}
	if err := archive.Run(); err != nil {
		t.Fatal(err)
	}
	if err := unpack.Wait(); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "old-chirograph")
	build := exec.Command("go", "build", "-o", program, "./cmd/chirograph")
	build.Dir = dir
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("go build of the old version: %v\n%s", err, out)
	}
	return program
}

// TestTwoVersions upgrades a cluster node by node: a node of the version before format level 2 and one of
// this version serve one ledger side by side. Then an operator raises the level; the old node refuses by
// name what it cannot read, and this one goes on.
func TestTwoVersions(t *testing.T) {
	t.Parallel()
	brokers, database, prefix := servertest.Kafka(t), servertest.Postgres(t), servertest.Topic(t)
	old := oldProgram(t, levelOne)
	c := clusterOver(t, database, kafkaSection(prefix, brokers, "6s"), 2)
	c.servers, c.prefix = &servers{t: t, brokers: brokers, postgres: database}, prefix
	control := free(t)
	c.centre = newCentre(t, "--receipt-delay", "20ms", "--control", control)
	for _, n := range c.nodes {
		c.write(n.name+".yaml", c.config(n.name, n.addr))
	}
	older, newer := c.nodes[0], c.nodes[1]
	older.program = old
	known := strings.NewReplacer(strings.Join(door.Scopes(), ", "), "messages:write, messages:read, opt-outs:write, opt-outs:read, control:write, operate",
		"webhooks: {allow: [127.0.0.0/8]}\n", "")
	c.write(older.name+".yaml", known.Replace(c.config(older.name, older.addr)))
	for _, args := range [][]string{{"log", "init", "--config", "node-1.yaml"}, {"config", "apply", "node-1.yaml"}} {
		cmd := exec.Command(old, args...)
		cmd.Dir = c.dir
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("the old version's %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	older.start()
	older.ready()
	// The new version has a log more. It is made beside the old node, and does not disturb it.
	c.command(0, "log", "init", "--config", "node-2.yaml")
	newer.start()
	newer.ready()
	c.serves(6, older, newer)
	// The two versions have different policies, so the new node holds what it decides until the new ones are
	// applied (docs/operations.md, Upgrading). A STOP counts through either, whichever node takes it.
	stop := func(n int) {
		to := bench.Number(n)
		if out := c.command(0, "simulate", "inbound", "--control", control, "--from", to, "--to", "+12025550101", "STOP"); out == "" {
			t.Error("simulate inbound says nothing")
		}
		within(t, "the STOP is in force", func() bool {
			a := c.call(newer, http.MethodPost, "/v1/opt-outs/check", `{"numbers":["`+to+`"]}`)
			return a.err == nil && strings.Contains(string(a.body), `"opted_out":true`)
		})
		for _, n := range c.up() {
			c.unsent(to, n)
		}
	}
	for n := range 6 {
		stop(8_000_000 + n)
	}
	if out := c.command(0, "audit", "verify", "--config", "node-2.yaml"); !strings.Contains(out, "erified") {
		t.Errorf("audit verify says: %s", out)
	}

	if out := c.command(0, "log", "raise", "--config", "node-2.yaml"); !strings.Contains(out, "was raised from 1 to 3") {
		t.Errorf("log raise says: %s", out)
	}
	within(t, "the old node refuses", func() bool {
		a := c.call(older, http.MethodGet, "/readyz", "")
		return a.err == nil && a.status == http.StatusServiceUnavailable && strings.Contains(string(a.body), "LevelRaised.v1")
	})
	if a := c.call(older, http.MethodPost, "/v1/messages", `{"to":"+14155550123","body":"Your statement is ready."}`); a.status != http.StatusServiceUnavailable {
		t.Errorf("the old node answers a submit with %d %s", a.status, a.body)
	}
	older.down(func(p *proc) { p.stop() })
	c.command(0, "config", "apply", "node-2.yaml")
	c.serves(6, newer)
	newer.ready()
	for range 5 {
		c.works(newer)
	}
	for n := range 6 {
		stop(8_000_100 + n)
	}
	// The node that was upgraded now joins again, with this version.
	older.program = ""
	c.write(older.name+".yaml", c.config(older.name, older.addr))
	older.start()
	older.ready()
	c.serves(6, older, newer)
	c.works(older)
	c.stop()
	if out := c.command(0, "audit", "verify", "--views", "--config", "node-2.yaml"); !strings.Contains(out, "erified") {
		t.Errorf("audit verify says: %s", out)
	}
}

// up are the nodes that run.
func (c *testCluster) up() (out []*clusterNode) {
	for _, n := range c.nodes {
		if n.up() {
			out = append(out, n)
		}
	}
	return out
}

// unsent submits a message to a number that opted out, and waits until it is denied; or held, while the
// policies in force are not those of the node that decides. It is never sent.
func (c *testCluster) unsent(to string, n *clusterNode) {
	c.t.Helper()
	id := ""
	within(c.t, "a message after a STOP is not sent through "+n.name, func() bool {
		var v view
		if id == "" {
			if a := c.call(n, http.MethodPost, "/v1/messages", `{"to":"`+to+`","body":"Your statement is ready."}`); a.err == nil && a.status == http.StatusAccepted {
				a.into(c.t, &v)
				id = v.ID
			}
			return false
		}
		if a := c.call(n, http.MethodGet, "/v1/messages/"+id, ""); a.err == nil && a.status == http.StatusOK {
			a.into(c.t, &v)
		}
		if v.Status == "sent" || v.Status == "delivered" {
			c.t.Fatalf("a message after a STOP was sent through %s", n.name)
		}
		return v.Status == "denied" || v.Status == "held"
	})
}
