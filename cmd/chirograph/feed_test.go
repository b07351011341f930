package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// campaignTool keeps a table of its own of who opted out, and of where each message stands, from the feed alone. Its
// tables and its cursor are one state, which it commits or loses as a whole.
type campaignTool struct {
	t    *testing.T
	call func(method, path, body string) httpAnswer

	mu     sync.Mutex
	cursor string
	// optOuts has the number of each opt-out, by event, scope and name.
	optOuts  map[string]string
	statuses map[string]string
	told     map[string]bool // ids of records
	// crashes counts how often a page was thrown away before it was committed; unreached, how often there was no answer.
	crashes, unreached int
}

func newCampaignTool(t *testing.T, call func(method, path, body string) httpAnswer) *campaignTool {
	return &campaignTool{t: t, call: call, optOuts: map[string]string{}, statuses: map[string]string{}, told: map[string]bool{}}
}

// toldPage is a page of the feed.
type toldPage struct {
	Changes []struct {
		ID, Type string
		Data     struct {
			ID, Status, Was, Number, Scope, Name string
			OptOut                               string `json:"opt_out"`
		}
	}
	Next string
	More bool
}

// step reads one page, and commits it or crashes. It reports whether it stands at the end of the feed.
func (c *campaignTool) step() (atEnd bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	q := url.Values{"limit": {fmt.Sprint(1 + rand.IntN(60))}, "wait": {"1s"}}
	if c.cursor != "" {
		q.Set("after", c.cursor)
	}
	a := c.call(http.MethodGet, "/v1/changes?"+q.Encode(), "")
	if a.err != nil || a.status == http.StatusServiceUnavailable {
		c.unreached++
		<-time.After(20 * time.Millisecond) // as a tool would
		return false
	}
	var p toldPage
	if a.status != http.StatusOK || json.Unmarshal(a.body, &p) != nil || p.Next == "" {
		c.t.Errorf("the feed answers %d %.300s", a.status, a.body)
		return false
	}
	if rand.IntN(8) == 0 {
		c.crashes++
		return false
	}
	for _, r := range p.Changes {
		if c.told[r.ID] {
			c.t.Errorf("%s %s is told twice", r.Type, r.ID)
		}
		c.told[r.ID] = true
		d := r.Data
		key := d.OptOut + " " + d.Scope + " " + d.Name
		switch r.Type {
		case "message.status":
			if c.statuses[d.ID] != d.Was {
				c.t.Errorf("message %s was %q, says %s, and the one before said %q", d.ID, d.Was, r.ID, c.statuses[d.ID])
			}
			c.statuses[d.ID] = d.Status
		case "opt_out.recorded":
			c.optOuts[key] = d.Number
		case "opt_out.lifted":
			if _, stands := c.optOuts[key]; !stands {
				c.t.Errorf("%s lifts an opt-out that was never recorded", r.ID)
			}
			delete(c.optOuts, key)
		}
	}
	c.cursor = p.Next
	return len(p.Changes) == 0 && !p.More
}

// day is a day of opt-outs, lifts and messages of a few persons, in a few seconds.
type day struct {
	t       *testing.T
	call    func(method, path, body string) httpAnswer
	mu      sync.Mutex
	message []string
}

func person(n int) string { return fmt.Sprintf("+1415555%04d", 100+n) }

const persons = 24

// act does one thing that a sender or an officer does. What is refused or unreachable is no fault here.
func (d *day) act() {
	to := person(rand.IntN(persons))
	scope := []string{`"scope":"program","program":"account"`, `"scope":"legal_entity","program":"account"`, `"scope":"tenant"`, `"scope":"sender","sender":"+12025550101"`}[rand.IntN(4)]
	switch rand.IntN(5) {
	case 0, 1:
		d.call(http.MethodPost, "/v1/opt-outs", fmt.Sprintf(`{"number":%q,%s,"source":"phone","evidence":"Called."}`, to, scope))
	case 2:
		d.call(http.MethodPost, "/v1/opt-outs/lift", fmt.Sprintf(`{"number":%q,%s,"source":"web","evidence":"Asked for it in the portal."}`, to, scope))
	default:
		a := d.call(http.MethodPost, "/v1/messages", fmt.Sprintf(`{"to":%q,"body":"Your statement is ready."}`, to))
		var v view
		if a.status == http.StatusAccepted && json.Unmarshal(a.body, &v) == nil {
			d.mu.Lock()
			d.message = append(d.message, v.ID)
			d.mu.Unlock()
		}
	}
}

// standing asks who opted out, as the ledger says.
func (d *day) standing() map[string]string {
	d.t.Helper()
	numbers := make([]string, persons)
	for i := range numbers {
		numbers[i] = person(i)
	}
	body, err := json.Marshal(map[string]any{"numbers": numbers})
	if err != nil {
		d.t.Fatal(err)
	}
	var v struct {
		Results []struct {
			Number, State string
			Scopes        []struct{ Event, Scope, Name string }
		}
	}
	out := map[string]string{}
	within(d.t, "the opt-outs are known", func() bool {
		a := d.call(http.MethodPost, "/v1/opt-outs/check", string(body))
		if a.err != nil || a.status != http.StatusOK || json.Unmarshal(a.body, &v) != nil {
			return false
		}
		clear(out)
		for _, r := range v.Results {
			if r.State == "unknown" {
				return false
			}
			for _, s := range r.Scopes {
				out[s.Event+" "+s.Scope+" "+s.Name] = r.Number
			}
		}
		return true
	})
	return out
}

// follow lets a campaign tool follow a day in which disrupt breaks things, one after the other, and compares at the end what it has
// with what the ledger says.
func follow(t *testing.T, call func(method, path, body string) httpAnswer, disrupt []func()) {
	t.Helper()
	d, tool := &day{t: t, call: call}, newCampaignTool(t, call)
	var writers, reader sync.WaitGroup
	ended, over := make(chan struct{}), make(chan struct{})
	for range 3 {
		writers.Go(func() {
			for {
				select {
				case <-ended:
					return
				default:
					d.act()
				}
			}
		})
	}
	reader.Go(func() {
		for {
			select {
			case <-over:
				return
			default:
				tool.step()
			}
		}
	})
	told := func() int { tool.mu.Lock(); defer tool.mu.Unlock(); return len(tool.told) }
	for _, f := range disrupt {
		was := told()
		within(t, "more is told", func() bool { return told() > was+100 })
		f()
	}
	was := told()
	within(t, "more is told at the end", func() bool { return told() > was+50 })
	close(ended)
	writers.Wait()
	// Every message comes to rest, and is then told.
	for _, id := range d.message {
		within(t, "message "+id+" settles", func() bool {
			var v view
			a := call(http.MethodGet, "/v1/messages/"+id, "")
			return a.err == nil && a.status == http.StatusOK && json.Unmarshal(a.body, &v) == nil && slices.Contains([]string{"delivered", "denied", "in_doubt", "failed"}, v.Status)
		})
	}
	close(over)
	reader.Wait()
	for ends := 0; ends < 3; {
		if tool.step() {
			ends++
		}
	}
	want := d.standing()
	if !maps.Equal(tool.optOuts, want) {
		t.Errorf("the tool's table has %d opt-outs, and the ledger %d:\n%v\n%v", len(tool.optOuts), len(want), tool.optOuts, want)
	}
	for _, id := range d.message {
		var v view
		call(http.MethodGet, "/v1/messages/"+id, "").into(t, &v)
		if tool.statuses[id] != v.Status {
			t.Errorf("message %s is %s, and the tool was told %q", id, v.Status, tool.statuses[id])
		}
	}
	t.Logf("%d records told, %d messages, %d opt-outs stand; the tool crashed %d times, and had no answer %d times", len(tool.told), len(d.message), len(want), tool.crashes, tool.unreached)
}

// TestFeedFollowed has a campaign tool keep its table in step with a node that is killed, stopped, and whose views are made anew, and tells all of it
// to an endpoint whose receiver fails at random, and once is away.
func TestFeedFollowed(t *testing.T) {
	t.Parallel()
	n := newTestNode(t, "--dev-smsc", newCentre(t, "--receipt-delay", "20ms").addr, "--dev-quiet", "--dev-tps", "2000")
	key := n.key()
	client := &http.Client{Timeout: 20 * time.Second}
	call := func(method, path, body string) httpAnswer { return ask(t, client, n.addr, key, method, path, body) }
	rebuild := func() {
		if code := n.p.stop(); code != 0 {
			t.Errorf("exit code %d", code)
		}
		if out, code := command(t, n.dir, "projections", "rebuild", "--data", "data"); code != 0 {
			t.Errorf("rebuild: exit %d\n%s", code, out)
		}
		n.start()
	}
	hook := newHookReceiver(t)
	from := hook.begin(call)
	follow(t, call, []func(){
		func() { n.p.kill(); n.start() },
		rebuild,
		func() {
			hook.set(func() { hook.away = true })
			n.p.kill()
			n.start()
			hook.set(func() { hook.away = false })
		},
		func() { n.p.stop(); n.start() },
		rebuild,
	})
	hook.complete(from, call)
	n.p.stop()
	n.verify()
}

// TestFeedFollowedOnKafka does so with two nodes, of which each takes the other's partitions, and views that are made anew beside the live
// ones.
func TestFeedFollowedOnKafka(t *testing.T) {
	if testing.Short() {
		t.Skip("left out with -short (the race detector's lane): the one on one machine is run there")
	}
	t.Parallel()
	c := newSmallCluster(t)
	two := &clusterNode{c: c, name: "node-2", addr: free(t)}
	c.nodes = append(c.nodes, two)
	c.write("node-2.yaml", c.config(two.name, two.addr))
	c.begin(2)
	call := func(method, path, body string) httpAnswer { return c.call(c.nodes[rand.IntN(2)], method, path, body) }
	restart := func(n *clusterNode, how func(*proc)) func() {
		return func() { n.down(how); n.start(); n.ready() }
	}
	rebuild := func() {
		if out := c.command(0, "projections", "rebuild", "--config", "node-1.yaml"); !strings.Contains(out, "the nodes use the new views") {
			t.Errorf("rebuild says: %s", out)
		}
	}
	hook := newHookReceiver(t)
	from := hook.begin(call)
	follow(t, call, []func(){
		restart(c.nodes[0], (*proc).kill),
		rebuild,
		restart(two, func(p *proc) { p.stop() }),
		restart(two, (*proc).kill),
		rebuild,
	})
	hook.complete(from, call)
	c.command(0, "audit", "verify", "--views", "--config", "node-1.yaml")
	c.stop()
}
