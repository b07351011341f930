package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/feed"
	"github.com/chirograph/chirograph/domain/ledger"
)

// memory is a store that several processes share; each has a view of it.
type memory struct {
	mu        sync.Mutex
	changes   int64
	endpoints map[event.ID]Stored
	progress  map[event.ID]Progress
	batches   map[event.ID]map[int64]Batch
	leases    map[event.ID]heldLease
	count     int64
	writes    int
	// fail, if it is not nil, says what becomes of a write: whether it is made, and its error.
	fail func() (made bool, err error)
}

type heldLease struct {
	Lease
	by *process
}

// process is the store as one process sees it.
type process struct{ *memory }

func newMemory() *memory {
	return &memory{endpoints: map[event.ID]Stored{}, progress: map[event.ID]Progress{}, batches: map[event.ID]map[int64]Batch{}, leases: map[event.ID]heldLease{}}
}

func (m *memory) Changes(context.Context) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.changes, nil
}

func (m *memory) Endpoints(context.Context) (out []Stored, _ error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range m.endpoints {
		out = append(out, s)
	}
	return out, nil
}

func (m *memory) Endpoint(_ context.Context, id event.ID) (Stored, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, ok := m.endpoints[id]
	if !ok {
		return s, ErrNoEndpoint
	}
	return s, nil
}

func (m *memory) Put(_ context.Context, s Stored, was int64) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if now, ok := m.endpoints[s.ID]; !ok && was != 0 {
		return 0, ErrNoEndpoint
	} else if now.Revision != was {
		return 0, ErrChanged
	}
	m.changes++
	s.Revision = was + 1
	m.endpoints[s.ID] = s
	return s.Revision, nil
}

func (m *memory) Delete(_ context.Context, id event.ID) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.changes++
	delete(m.endpoints, id)
	delete(m.progress, id)
	delete(m.batches, id)
	delete(m.leases, id)
	return nil
}

func (p *process) Lease(_ context.Context, ids []event.ID, want int, d time.Duration) (out []Lease, _ error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for _, own := range []bool{true, false} {
		for _, id := range ids {
			l, ok := p.leases[id]
			ours := ok && l.by == p && now.Before(l.Until)
			if len(out) == want || ours != own || ok && l.by != p && now.Before(l.Until) {
				continue
			}
			if !ours {
				p.count++
				l = heldLease{Lease{Endpoint: id, Number: p.count}, p}
			}
			l.Until = now.Add(d)
			p.leases[id] = l
			out = append(out, l.Lease)
		}
	}
	return out, nil
}

func (p *process) Release(_ context.Context, ids []event.ID) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, id := range ids {
		if p.leases[id].by == p {
			delete(p.leases, id)
		}
	}
	return nil
}

func (m *memory) Progress(_ context.Context, id event.ID) (Progress, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.progress[id], nil
}

func (m *memory) Write(_ context.Context, all []Write) (lost []event.ID, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.writes++
	made := true
	if m.fail != nil {
		made, err = m.fail()
	}
	for _, w := range all {
		if l, ok := m.leases[w.Endpoint]; !ok || l.Number != w.Lease {
			lost = append(lost, w.Endpoint)
			continue
		}
		if !made {
			continue
		}
		m.progress[w.Endpoint] = *w.Progress
		for _, b := range w.Batches {
			if m.batches[w.Endpoint] == nil {
				m.batches[w.Endpoint] = map[int64]Batch{}
			}
			m.batches[w.Endpoint][b.First] = b
		}
	}
	if err != nil {
		lost = nil
	}
	return lost, err
}

func (m *memory) sorted(id event.ID, ok func(*Batch) bool) (out []Batch) {
	for _, b := range m.batches[id] {
		if ok(&b) {
			out = append(out, b)
		}
	}
	slices.SortFunc(out, func(a, b Batch) int { return int(a.First - b.First) })
	return out
}

func (m *memory) OpenBatches(_ context.Context, id event.ID, from int64, limit int) ([]Batch, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := m.sorted(id, func(b *Batch) bool { return b.Open > 0 && b.First >= from })
	return out[:min(len(out), limit)], nil
}

func (m *memory) Batches(_ context.Context, id event.ID, before int64, limit int, dead bool) ([]Batch, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := m.sorted(id, func(b *Batch) bool { return (before == 0 || b.First < before) && (!dead || b.Dead > 0) })
	slices.Reverse(out)
	return out[:min(len(out), limit)], nil
}

func (m *memory) Prune(context.Context, time.Time, int) (int, error) { return 0, nil }

// memoryFeed is a feed of one partition.
type memoryFeed struct {
	mu    sync.Mutex
	items []feed.Item
	epoch int
	woken chan struct{} // closed at the next item
	read  int
}

func newFeed() *memoryFeed { return &memoryFeed{woken: make(chan struct{})} }

func (f *memoryFeed) add(items ...feed.Item) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, it := range items {
		it.Index = int64(len(f.items))
		it.Event = event.ID{2, byte(it.Index >> 16), byte(it.Index >> 8), byte(it.Index)}
		it.At = time.Now()
		f.items = append(f.items, it)
	}
	close(f.woken)
	f.woken = make(chan struct{})
}

func (f *memoryFeed) at(c feed.Cursor) int64 {
	if len(c.Next) == 0 {
		return 0
	}
	return c.Next[0]
}

func (f *memoryFeed) Read(_ context.Context, tenant string, after feed.Cursor, limit int) (out []feed.Item, next feed.Cursor, more bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if after.Epoch != f.epoch {
		return nil, after, false, feed.ErrGone
	}
	f.read++
	i := f.at(after)
	for ; i < int64(len(f.items)) && len(out) < limit; i++ {
		if f.items[i].Tenant == tenant {
			out = append(out, f.items[i])
		}
	}
	return out, feed.Cursor{Epoch: f.epoch, Next: []int64{i}}, i < int64(len(f.items)), nil
}

func (f *memoryFeed) At(_ context.Context, tenant string, places []feed.Place) ([]feed.Item, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make([]feed.Item, len(places))
	for i, p := range places {
		if p.Nth == 0 && p.Index < int64(len(f.items)) && f.items[p.Index].Tenant == tenant {
			out[i] = f.items[p.Index]
		}
	}
	return out, nil
}

func (f *memoryFeed) Head(context.Context) (feed.Cursor, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return feed.Cursor{Epoch: f.epoch, Next: []int64{int64(len(f.items))}}, nil
}

func (f *memoryFeed) Resume(_ context.Context, old feed.Cursor) (feed.Cursor, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return feed.Cursor{Epoch: f.epoch, Next: []int64{min(f.at(old), int64(len(f.items)))}}, nil
}

func (f *memoryFeed) Wait(ctx context.Context, after feed.Cursor) {
	f.mu.Lock()
	woken, more := f.woken, after.Epoch != f.epoch || f.at(after) < int64(len(f.items))
	f.mu.Unlock()
	if more {
		return
	}
	select {
	case <-woken:
	case <-ctx.Done():
	}
}

func (f *memoryFeed) Records(_ context.Context, _ *Endpoint, items []feed.Item) (records []Record, err error) {
	for i := range items {
		if items[i].Subject == (event.Pseudonym{255, 255}) {
			return nil, errors.New("the vault is shut")
		}
		id := fmt.Sprintf("r%d", items[i].Index)
		records = append(records, Record{id, fmt.Appendf(nil, `{"id":%q,"type":%q}`, id, items[i].Kind), fmt.Sprintf("c%d", items[i].Index%3)})
	}
	return records, nil
}

// callee is the world outside.
type callee struct {
	mu    sync.Mutex
	calls map[string][]string // ids by URL
	times map[string][]time.Time
	// answer, by URL; nil: 200 at once.
	answer map[string]func(ctx context.Context, c *Call) Answer
	under  map[string]int
	most   map[string]int
}

func newCallee() *callee {
	return &callee{calls: map[string][]string{}, times: map[string][]time.Time{}, answer: map[string]func(context.Context, *Call) Answer{}, under: map[string]int{}, most: map[string]int{}}
}

func (c *callee) Call(ctx context.Context, call *Call) Answer {
	url := call.Endpoint.URL
	c.mu.Lock()
	c.calls[url] = append(c.calls[url], call.ID)
	c.times[url] = append(c.times[url], time.Now())
	for _, k := range []string{"", url, call.Endpoint.Tenant} {
		c.under[k]++
		c.most[k] = max(c.most[k], c.under[k])
	}
	f := c.answer[url]
	c.mu.Unlock()
	a := Answer{Status: 200, Text: "200"}
	if f != nil {
		a = f(ctx, call)
	}
	c.mu.Lock()
	for _, k := range []string{"", url, call.Endpoint.Tenant} {
		c.under[k]--
	}
	c.mu.Unlock()
	return a
}

func (c *callee) Check(_ context.Context, e *Endpoint) error {
	if e.URL == "http://10.0.0.1/" {
		return &ledger.Refusal{Code: "address_not_allowed", Field: "/url", Text: "Not there."}
	}
	return nil
}

// set says how an endpoint answers; nil: 200 at once.
func (c *callee) set(url string, f func(ctx context.Context, c *Call) Answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answer[url] = f
}

func (c *callee) when(url string) []time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.times[url])
}

func (c *callee) atOnce(url string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.most[url]
}

func (c *callee) got(url string) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.calls[url])
}

// audit is the audit log.
type audit struct {
	mu     sync.Mutex
	count  byte
	events []*event.WebhookChanged
	err    error
}

func (a *audit) NewID() event.ID {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.count++
	id := event.NewID(time.Now())
	id[15] = a.count
	return id
}

func (a *audit) Write(s ledger.Stream, id event.ID, d event.Data) *event.Event {
	return ledger.Author{Source: "/test", Node: "n1"}.Event(s, id, time.Now(), d)
}

func (a *audit) Append(_ context.Context, p event.Partition, e *event.Event) (event.Position, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if p != event.AuditPartition {
		return event.Position{}, errors.New("not the audit log")
	}
	if _, err := event.Encode(e); err != nil {
		return event.Position{}, err
	}
	if a.err == nil {
		a.events = append(a.events, e.Data.(*event.WebhookChanged))
	}
	return event.Position{}, a.err
}

func (a *audit) said() (out []string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, d := range a.events {
		out = append(out, string(d.As)+" "+d.By)
	}
	return out
}

type openVault struct{}

func (openVault) Pseudonym(tenant, name string) event.Pseudonym {
	return event.NewPseudonym([]byte("key"), tenant, name)
}
func (openVault) SubjectKey(string, event.Pseudonym) (event.ID, error) { return event.ID{1}, nil }
func (openVault) Seal(_ string, key event.ID, class ledger.Class, version event.SealVersion, _ event.ID, plain []byte) (event.Sealed, error) {
	return event.Sealed{Version: version, SubjectKey: key, ClassKey: string(class), Box: slices.Clone(plain)}, nil
}

// house is a store, a feed and the world outside.
type house struct {
	t      *testing.T
	store  *memory
	feed   *memoryFeed
	callee *callee
	audit  *audit
	logger *slog.Logger
}

func newHouse(t *testing.T) *house {
	return &house{t, newMemory(), newFeed(), newCallee(), &audit{}, slog.New(slog.NewTextHandler(io.Discard, nil))}
}

func (h *house) sender() *Sender {
	return NewSender(SenderPorts{Store: &process{h.store}, Source: h.feed, Caller: h.callee, Writer: h.audit, Logger: h.logger, Now: time.Now, Drain: 5 * time.Second})
}

func (h *house) endpoints() *Endpoints {
	n := 0
	return NewEndpoints(EndpointPorts{Store: &process{h.store}, Source: h.feed, Caller: h.callee, Vault: openVault{}, Writer: h.audit, Now: time.Now,
		NewSecret: func(kind string) (string, string, error) {
			n++
			if kind == "ed25519" {
				return fmt.Sprintf("whsk_%d", n), fmt.Sprintf("whpk_%d", n), nil
			}
			return fmt.Sprintf("whsec_%d", n), "", nil
		}})
}

// put stores an endpoint as it is.
func (h *house) put(e Endpoint) {
	h.t.Helper()
	if e.State == "" {
		e.State = Enabled
	}
	body, err := json.Marshal(&e)
	if err == nil {
		_, err = (&process{h.store}).Put(context.Background(), Stored{ID: e.ID, Tenant: e.Tenant, Body: body}, 0)
	}
	if err != nil {
		h.t.Fatal(err)
	}
}

// whole fails unless an endpoint's numbers have no gap and all are delivered.
func (h *house) whole(id event.ID, want int) {
	h.t.Helper()
	h.store.mu.Lock()
	defer h.store.mu.Unlock()
	next := int64(1)
	events := map[event.ID]bool{}
	for _, b := range h.store.sorted(id, func(*Batch) bool { return true }) {
		all, err := decodeDeliveries(b.Body)
		if err != nil {
			h.t.Fatal(err)
		}
		for _, d := range all {
			if d.Seq != next || d.State != Delivered || events[d.Event] {
				h.t.Fatalf("the number %d: %+v", next, d)
			}
			events[d.Event] = true
			next++
		}
	}
	if next != int64(want)+1 || h.store.progress[id].Last != int64(want) {
		h.t.Fatalf("%d deliveries and last %d, want %d", next-1, h.store.progress[id].Last, want)
	}
}
