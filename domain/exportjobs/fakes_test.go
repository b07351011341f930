package exportjobs

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/chirograph/chirograph/domain/decision"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/export"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/reading"
	"github.com/chirograph/chirograph/projections"
	"github.com/chirograph/chirograph/projections/viewtest"
)

// fakeLedger is a random ledger with its views, whole.
type fakeLedger struct {
	w       *viewtest.World
	docs    map[event.ID]*reading.Message
	streams []reading.StreamEvent
	// since is what Complete says.
	since time.Time
	// fail, if it is not nil, may end a read with an error.
	fail func() error
	// waited are the positions that were waited for.
	waited []event.Position
	reads  int
}

// newLedger makes a ledger of about n events.
func newLedger(seed uint64, n int) *fakeLedger {
	r := rand.New(rand.NewPCG(seed, 1))
	f := &fakeLedger{w: viewtest.NewWorld(r.IntN)}
	for range n {
		f.w.Grow()
	}
	f.docs, f.streams = fold(f.w, nil)
	return f
}

// fold is what the views know of a world up to some heads (nil: to the end).
func fold(w *viewtest.World, heads []int64) (map[event.ID]*reading.Message, []reading.StreamEvent) {
	docs, streams := map[event.ID]*reading.Message{}, []reading.StreamEvent(nil)
	for p := range w.Steps {
		for i := range w.Steps[p] {
			j := &w.Steps[p][i].Judged
			if heads != nil && j.Index >= heads[p] || j.Event == nil {
				continue
			}
			if id := j.Event.MessageID(); !id.IsZero() {
				if m := projections.Apply(docs[id], event.Partition(p), j); m != nil {
					docs[id] = m
				}
			} else if !j.Event.Subject.IsZero() {
				streams = append(streams, reading.StreamEvent{ID: j.Event.ID, Type: j.Event.Data.Type(), Time: j.Event.Time,
					Position: event.Position{Partition: event.Partition(p), Index: j.Index}, Tenant: j.Event.Tenant, Subject: j.Event.Subject, Why: j.Why})
			}
		}
	}
	return docs, streams
}

func (f *fakeLedger) Partitions() int { return viewtest.Partitions }

func (f *fakeLedger) Read(_ context.Context, p event.Partition, from int64, n int) (out []ledger.Record, head int64, err error) {
	f.reads++
	if f.fail != nil {
		if err := f.fail(); err != nil {
			return nil, 0, err
		}
	}
	steps := f.w.Steps[p]
	for i := from; i < min(from+int64(min(n, 50)), int64(len(steps))); i++ {
		out = append(out, steps[i].Judged.Record)
	}
	return out, int64(len(steps)), nil
}

func (f *fakeLedger) Message(_ context.Context, tenant string, id event.ID) (*reading.Message, error) {
	if m := f.docs[id]; m != nil && m.Tenant == tenant && m.Submitted() {
		return m, nil
	}
	return nil, reading.ErrNotFound
}

func (f *fakeLedger) Search(_ context.Context, tenant string, q reading.Filter) (out []*reading.Message, _ error) {
	for _, m := range f.docs {
		if m.Tenant != tenant || !m.Submitted() || !q.Subject.IsZero() && m.Subject != q.Subject || !q.After.IsZero() && bytes.Compare(m.ID[:], q.After[:]) >= 0 {
			continue
		}
		if q.Reference != "" {
			if ref, err := viewtest.Reference(f.w.Steps[m.Position.Partition][m.Position.Index].Judged.Event); err != nil || ref != q.Reference {
				continue
			}
		}
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b *reading.Message) int { return bytes.Compare(b.ID[:], a.ID[:]) })
	return out[:min(len(out), q.Limit)], nil
}

func (f *fakeLedger) WaitFor(_ context.Context, p event.Position) error {
	f.waited = append(f.waited, p)
	return nil
}

func (f *fakeLedger) StreamEvents(_ context.Context, subject event.Pseudonym, after int64, limit int) (out []reading.StreamEvent, _ error) {
	for _, e := range f.streams {
		if e.Subject == subject && e.Position.Index > after && len(out) < limit {
			out = append(out, e)
		}
	}
	return out, nil
}

func (f *fakeLedger) StreamEvent(_ context.Context, tenant string, id event.ID) (reading.StreamEvent, bool, error) {
	for _, e := range f.streams {
		if e.ID == id && e.Tenant == tenant {
			return e, true, nil
		}
	}
	return reading.StreamEvent{}, false, nil
}

func (f *fakeLedger) Messages(ctx context.Context, tenant string, ids []event.ID) (map[event.ID]*reading.Message, error) {
	out := map[event.ID]*reading.Message{}
	for _, id := range ids {
		if m, err := f.Message(ctx, tenant, id); err == nil {
			out[id] = m
		}
	}
	return out, nil
}

func (f *fakeLedger) Complete(context.Context) (time.Time, error) { return f.since, nil }

func (f *fakeLedger) heads() []int64 {
	out := make([]int64, viewtest.Partitions)
	for p := range out {
		out[p] = int64(len(f.w.Steps[p]))
	}
	return out
}

// fakeVault seals in the clear.
type fakeVault struct{}

func (fakeVault) Pseudonym(tenant, name string) event.Pseudonym {
	return event.NewPseudonym([]byte("key"), tenant, name)
}
func (fakeVault) SubjectKey(string, event.Pseudonym) (event.ID, error) { return event.ID{1}, nil }
func (fakeVault) Seal(_ string, key event.ID, class ledger.Class, version event.SealVersion, _ event.ID, plain []byte) (event.Sealed, error) {
	return event.Sealed{Version: version, SubjectKey: key, ClassKey: string(class), Box: slices.Clone(plain)}, nil
}
func (fakeVault) Open(_ string, _ event.ID, s *event.Sealed) ([]byte, error) {
	if s.ClassKey == string(ledger.ClassExport) {
		return s.Box, nil
	}
	if len(s.Box) > 0 && s.Box[0] == 0xee {
		return nil, ledger.ErrErased
	}
	return []byte(fmt.Sprintf(`{"to":"+14155550123","body":"opened %x","text":"+"}`, s.Box)), nil
}
func (fakeVault) Digest(_, _ string, data []byte) string { return string(data) }

// fakeAudit is the audit log.
type fakeAudit struct {
	mu     sync.Mutex
	clock  *fakeClock
	count  byte
	events []*event.Event
	err    error // of the next appends
	// before is called at the begin of an append.
	before func()
}

func (a *fakeAudit) NewID() event.ID {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.count++
	id := event.NewID(a.clock.Now()) // without chance: the same in every run
	clear(id[9:])
	id[6], id[7], id[8], id[15] = 0x70, 0, 0x80, a.count
	return id
}

func (a *fakeAudit) Write(s ledger.Stream, id event.ID, d event.Data) *event.Event {
	return ledger.Author{Source: "/test", Node: "n1"}.Event(s, id, a.clock.Now(), d)
}

func (a *fakeAudit) Append(_ context.Context, p event.Partition, e *event.Event) (event.Position, error) {
	if a.before != nil {
		a.before()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.err != nil {
		return event.Position{}, a.err
	}
	if _, err := event.Encode(e); err != nil {
		return event.Position{}, err
	}
	a.events = append(a.events, e)
	return event.Position{Partition: p, Index: int64(len(a.events) - 1)}, nil
}

// said are the types of what is in the audit log, in order.
func (a *fakeAudit) said() (out []string) {
	for _, e := range a.events {
		text := e.Data.Type().Name()
		if d, ok := e.Data.(*event.ExportEnded); ok {
			text += " " + string(d.As)
		}
		out = append(out, text)
	}
	return out
}

// fakeClock is a clock that moves when it is told to.
type fakeClock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// fakeFiles are files in memory, which outlive a Jobs.
type fakeFiles struct {
	records map[event.ID][]byte
	files   map[event.ID][]byte
	keys    map[event.ID]string
	err     error // of Record
	// fail, if it is not nil, is asked before each Record.
	fail func() error
	// damaged is what Open says of every file.
	damaged error
}

func newFiles() *fakeFiles {
	return &fakeFiles{map[event.ID][]byte{}, map[event.ID][]byte{}, map[event.ID]string{}, nil, nil, nil}
}

func (f *fakeFiles) Records() (map[event.ID][]byte, error) { return f.records, nil }
func (f *fakeFiles) Record(id event.ID, r []byte) error {
	if f.fail != nil {
		if err := f.fail(); err != nil {
			return err
		}
	}
	if f.err == nil {
		f.records[id] = slices.Clone(r)
	}
	return f.err
}
func (f *fakeFiles) Forget(id event.ID) error {
	delete(f.records, id)
	return f.Delete(id)
}
func (f *fakeFiles) Create(id event.ID, key []byte) (File, error) {
	f.keys[id] = string(key)
	return &memoryFile{files: f, id: id}, nil
}
func (f *fakeFiles) Open(id event.ID, key []byte, _ int64) (io.ReadCloser, error) {
	if f.damaged != nil {
		return nil, f.damaged
	}
	raw, ok := f.files[id]
	if !ok {
		return nil, fs.ErrNotExist
	}
	if f.keys[id] != string(key) {
		return nil, fmt.Errorf("another key")
	}
	return io.NopCloser(bytes.NewReader(raw)), nil
}
func (f *fakeFiles) Delete(id event.ID) error {
	delete(f.files, id)
	return nil
}
func (f *fakeFiles) Strays(time.Time) (out []event.ID, _ error) {
	for id := range f.files {
		if _, ok := f.records[id]; !ok {
			out = append(out, id)
		}
	}
	return out, nil
}

var errFull = errors.New("no space left")

func (f *fakeFiles) Full(err error) bool          { return errors.Is(err, errFull) }
func (f *fakeFiles) Spool() (export.Spool, error) { return &memorySpool{}, nil }

type memoryFile struct {
	bytes.Buffer
	files *fakeFiles
	id    event.ID
}

func (m *memoryFile) Commit() error {
	m.files.files[m.id] = m.Bytes()
	return nil
}
func (m *memoryFile) Abort() {}

type memorySpool struct{ bytes.Buffer }

func (m *memorySpool) Rewind() (io.Reader, error) { return &m.Buffer, nil }
func (m *memorySpool) Close() error               { return nil }

// utcZones has one zone.
type utcZones struct{}

func (utcZones) Zone(name string) (*time.Location, error) {
	if name != "Etc/Test" {
		return nil, fmt.Errorf("no zone %s", name)
	}
	return time.UTC, nil
}

type noRules struct{}

func (noRules) Rule(string) (decision.Rule, bool) { return decision.Rule{}, false }

// plainFile writes the entries a line each, in place of the zip.
func plainFile(ctx context.Context, w io.Writer, o export.Options, entries iter.Seq2[export.Entry, error]) (export.Result, error) {
	r := export.Result{Manifest: o.Manifest, SHA256: "5f1d"}
	m, err := json.Marshal(o.Manifest)
	if err != nil {
		return r, err
	}
	fmt.Fprintf(w, "%s\n", m)
	for e, err := range entries {
		if err != nil {
			return r, err
		}
		n, err := fmt.Fprintf(w, "%s %s %s %v %s\n", e.Position, e.Why, e.Opened, e.Erased, e.Raw)
		if err != nil {
			return r, err
		}
		r.Size += int64(n)
		r.Manifest.Events++
	}
	return r, nil
}
