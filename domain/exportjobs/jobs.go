package exportjobs

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"iter"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/chirograph/chirograph/domain/decision"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/export"
	"github.com/chirograph/chirograph/domain/ledger"
)

const (
	// maxQueued is how many exports of a tenant may wait or run.
	maxQueued = 20
	// maxRecords is how many exports of a tenant are remembered. The oldest one without a file makes room.
	maxRecords = 500
	// keepRecords is how long an export is remembered after its file was deleted, or it came to nothing.
	// The audit log has it for ever.
	keepRecords = 90 * 24 * time.Hour
	// maxAttempts is how often an export is begun before it has failed, in one run of the process. The
	// first repeat waits for firstPause, and each later one for twice as long.
	maxAttempts = 5
	firstPause  = 5 * time.Second
	// tellPause is the wait before an event of the audit log is appended once more.
	tellPause = 30 * time.Second
	// idle is how long a Jobs does nothing at most.
	idle = time.Hour
	// strayAge is how old a file without a record is before a start deletes it.
	strayAge = time.Hour
	// fullPause is the wait for room on a full disk, which is no failed attempt.
	fullPause = time.Minute
	// tellWithin bounds how long the audit log may take for a download.
	tellWithin = 10 * time.Second
)

// vault is what exports need of ledger.Vault.
type vault interface {
	Pseudonym(tenant, name string) event.Pseudonym
	SubjectKey(tenant string, subject event.Pseudonym) (event.ID, error)
	Seal(tenant string, key event.ID, class ledger.Class, version event.SealVersion, id event.ID, plain []byte) (event.Sealed, error)
	Open(tenant string, id event.ID, s *event.Sealed) ([]byte, error)
	Digest(tenant, purpose string, data []byte) string
}

// writer is what exports need of ledger.Writer.
type writer interface {
	NewID() event.ID
	Write(s ledger.Stream, id event.ID, d event.Data) *event.Event
	Append(ctx context.Context, p event.Partition, e *event.Event) (event.Position, error)
}

// rules describes policy rules by their id.
type rules interface {
	Rule(id string) (decision.Rule, bool)
}

// zones finds time zones by their IANA names.
type zones interface {
	Zone(name string) (*time.Location, error)
}

// Ports are what Jobs stand on. All are required.
type Ports struct {
	Log    log
	Views  views
	Desk   desk
	Vault  vault
	Writer writer
	Files  Files
	Logger *slog.Logger
	// Rules describes the rules of decisions.
	Rules rules
	// Product is the program and its version, and Ledger the ledger's short id, as the files say them.
	Product, Ledger string
	// Zones finds a zone by its name, and TenantZones are those of the tenants that have one, in which their
	// files write local times; the others' is UTC.
	Zones       zones
	TenantZones map[string]string
	// Keep is how long a file is kept after it was finished.
	Keep time.Duration
	Now  func() time.Time
	// Rest waits, or until ctx is done. An export rests between its reads, so that it takes no more than
	// four fifths of one core from what is live.
	Rest func(ctx context.Context, d time.Duration)
}

// Jobs make exports, one at a time, and keep their files. Its methods may be called from any goroutine.
type Jobs struct {
	p    Ports
	wake chan struct{}
	// write is export.Write.
	write func(ctx context.Context, w io.Writer, o export.Options, entries iter.Seq2[export.Entry, error]) (export.Result, error)

	mu      sync.Mutex // records are written under it; nothing else is locked meanwhile
	jobs    map[event.ID]*entry
	asking  map[string]int       // by tenant: questions on their way to the audit log
	started map[string]time.Time // by tenant: when its last export was begun
}

// entry is a job in memory.
type entry struct {
	record
	done, known int64
	attempts    int
	notBefore   time.Time // for the next attempt, or the next append of its event
	cancel      context.CancelFunc
	secret      event.ID // the vault's, under which the record is sealed
	waits       string   // see Job.Waits
}

// New makes Jobs and finds again what was asked for before. Nothing runs before Run.
func New(p Ports) (*Jobs, error) {
	j := &Jobs{p: p, wake: make(chan struct{}, 1), write: export.Write, jobs: map[event.ID]*entry{}, asking: map[string]int{}, started: map[string]time.Time{}}
	records, err := p.Files.Records()
	if err != nil {
		return nil, err
	}
	for id, raw := range records {
		r, secret, err := readRecord(p.Vault, id, raw)
		if err != nil {
			p.Logger.Error("the record of an export does not open: it was altered, or is not ours. It is passed over, and its files are left alone", "export", id, "file", id.String()+".json", "error", err)
			continue
		}
		if r.State == asking { // the process ended before it answered, and nobody knows of the job
			p.Logger.Warn("an export is forgotten: the process ended while it was asked for", "export", id)
			if err := p.Files.Forget(id); err != nil {
				return nil, err
			}
			continue
		}
		if !r.open() && r.State != Finished { // a process may have ended before it deleted the file
			if err := p.Files.Delete(id); err != nil {
				return nil, err
			}
		}
		j.jobs[id] = &entry{record: *r, secret: secret}
	}
	strays, err := p.Files.Strays(p.Now().Add(-strayAge))
	if err != nil {
		return nil, err
	}
	for _, id := range strays {
		if err := p.Files.Delete(id); err != nil {
			return nil, err
		}
		p.Logger.Warn("a file of an export without a record was deleted", "export", id, "file", id.String()+".sealed")
	}
	return j, nil
}

// Run makes what was asked for, and deletes files whose time is over, until ctx is done.
func (j *Jobs) Run(ctx context.Context) {
	for ctx.Err() == nil {
		next := j.step(ctx)
		t := time.NewTimer(max(0, next.Sub(j.p.Now())))
		select {
		case <-ctx.Done():
		case <-t.C:
		case <-j.wake:
		}
		t.Stop()
	}
}

// step does what is due, makes at most one export, and returns when something is due next.
func (j *Jobs) step(ctx context.Context) (next time.Time) {
	now := j.p.Now()
	next = now.Add(idle)
	sooner := func(t time.Time) {
		if t.Before(next) {
			next = t
		}
	}
	var untold []*entry
	var run *entry
	j.mu.Lock()
	for id, e := range j.jobs {
		switch {
		case !e.Event.IsZero():
			if e.notBefore.After(now) {
				sooner(e.notBefore)
			} else {
				untold = append(untold, e)
			}
		case e.State == Finished && !e.DeleteAfter.After(now):
			j.delete(e, "")
			untold = append(untold, e)
		case e.State == Finished:
			sooner(e.DeleteAfter)
		case e.State == Queued && e.notBefore.After(now):
			sooner(e.notBefore)
		case e.State == Queued:
			if run == nil || j.before(e, run) {
				run = e
			}
		case !e.open() && now.Sub(last(e)) > keepRecords:
			if err := j.p.Files.Forget(id); err != nil {
				j.p.Logger.Warn("the record of an old export cannot be removed", "export", id, "error", err)
			}
			delete(j.jobs, id)
		}
	}
	j.mu.Unlock()
	for _, e := range untold {
		if err := j.tell(ctx, e); err != nil {
			j.p.Logger.Warn("the audit log did not take what became of an export; it is told later", "export", e.ID, "error", err)
			sooner(now.Add(tellPause))
		} else {
			sooner(now) // to see what is next for it
		}
	}
	if run != nil {
		j.run(ctx, run)
		return j.p.Now()
	}
	return next
}

// last is when something became of an ended job for the last time.
func last(e *entry) time.Time {
	if e.Deleted.After(e.Ended) {
		return e.Deleted
	}
	return e.Ended
}

// before reports whether a goes before b: each tenant has its turn, and a tenant's exports keep their order.
func (j *Jobs) before(a, b *entry) bool {
	if a.Tenant != b.Tenant {
		if s, t := j.started[a.Tenant], j.started[b.Tenant]; !s.Equal(t) {
			return s.Before(t)
		}
	}
	return older(&a.Job, &b.Job) < 0
}

func older(a, b *Job) int {
	return cmp.Or(a.Asked.Compare(b.Asked), slices.Compare(a.ID[:], b.ID[:]))
}

// save writes the record of an entry. It is called under the lock.
func (j *Jobs) save(e *entry) error {
	e.Version = recordVersion
	raw, err := sealRecord(j.p.Vault, e.secret, &e.record)
	if err != nil {
		return err
	}
	return j.p.Files.Record(e.ID, raw)
}

// tell appends the event that says what state an entry is in, and remembers that it is there.
func (j *Jobs) tell(ctx context.Context, e *entry) error {
	j.mu.Lock()
	if e.Event.IsZero() {
		j.mu.Unlock()
		return nil
	}
	told := e.record.event(j.p.Writer)
	e.notBefore = j.p.Now().Add(tellPause)
	j.mu.Unlock()
	if _, err := j.p.Writer.Append(ctx, event.AuditPartition, told); err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	if e.Event != told.ID {
		return nil
	}
	e.Event, e.notBefore = event.ID{}, time.Time{}
	if err := j.save(e); err != nil { // it is told once more at the next start, under the same id
		j.p.Logger.Warn("the record of an export cannot be written", "export", e.ID, "error", err)
	}
	return nil
}

// delete removes the file of an entry, under the lock. by is "" where its time is over.
func (j *Jobs) delete(e *entry, by string) {
	e.DeletedBy = by
	e.step(Deleted, j.p.Writer.NewID(), j.p.Now())
	e.Key = event.Sealed{} // without it nothing can open a copy of the file
	if err := errors.Join(j.save(e), j.p.Files.Delete(e.ID)); err != nil {
		j.p.Logger.Error("the file of an export could not be deleted; the next start tries it once more", "export", e.ID, "error", err)
	}
}

// errNoExport is the answer for an export that there is not, or that is another tenant's.
var errNoExport = &ledger.Refusal{Code: "export_not_found", Status: ledger.NotFound,
	Text: "There is no export with this id in your tenant, or another node has it: on a cluster, ask the node that took it."}

// find is a tenant's job, under the lock.
func (j *Jobs) find(tenant string, id event.ID) (*entry, error) {
	e := j.jobs[id]
	if e == nil || e.Tenant != tenant {
		return nil, errNoExport
	}
	return e, nil
}

func (e *entry) seen() Job {
	job := e.record.seen()
	job.Done, job.Known = e.done, e.known
	if job.State == Queued {
		job.Waits = e.waits
	}
	return job
}

// Job is a tenant's job. The error is a *ledger.Refusal if there is none on this node.
func (j *Jobs) Job(tenant string, id event.ID) (Job, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	e, err := j.find(tenant, id)
	if err != nil {
		return Job{}, err
	}
	return e.seen(), nil
}

// List are a tenant's jobs on this node, the newest first.
func (j *Jobs) List(tenant string) []Job {
	j.mu.Lock()
	defer j.mu.Unlock()
	var out []Job
	for _, e := range j.jobs {
		if e.Tenant == tenant {
			out = append(out, e.seen())
		}
	}
	slices.SortFunc(out, func(a, b Job) int { return older(&b, &a) })
	return out
}

// Delete cancels an export that is not made yet, or deletes the file of one that is. It does nothing to
// one that has no file any more. The answer comes when the audit log has it; after an error of the log it is
// told later.
func (j *Jobs) Delete(ctx context.Context, c ledger.Caller, id event.ID) (Job, error) {
	j.mu.Lock()
	e, err := j.find(c.Tenant, id)
	if err == nil && !e.Event.IsZero() {
		j.mu.Unlock()
		if err := j.tell(ctx, e); err != nil { // one thing after the other
			return Job{}, err
		}
		j.mu.Lock()
		e, err = j.find(c.Tenant, id)
	}
	if err != nil {
		j.mu.Unlock()
		return Job{}, err
	}
	switch {
	case e.open():
		before := e.record
		e.EndedBy = c.Key
		e.step(Cancelled, j.p.Writer.NewID(), j.p.Now())
		e.Key = event.Sealed{}
		if err := j.save(e); err != nil {
			e.record = before
			j.mu.Unlock()
			return Job{}, err
		}
		if e.cancel != nil {
			e.cancel()
		}
	case e.State == Finished:
		j.delete(e, c.Key)
	}
	j.mu.Unlock()
	if err := j.tell(ctx, e); err != nil {
		return Job{}, err
	}
	return j.Job(c.Tenant, id)
}

// Download opens the file of an export, once all of it was verified and the audit log has that the caller got
// it. A damaged file is a *ledger.Refusal, and its job says so from then on.
func (j *Jobs) Download(ctx context.Context, c ledger.Caller, id event.ID) (Job, io.ReadCloser, error) {
	job, err := j.Job(c.Tenant, id)
	if err != nil {
		return Job{}, nil, err
	}
	switch {
	case job.open():
		return Job{}, nil, &ledger.Refusal{Code: "export_not_ready", Status: ledger.Conflict, Text: "The export is not made yet. GET /v1/jobs/{id} shows how far it is."}
	case job.State != Finished:
		return Job{}, nil, &ledger.Refusal{Code: "export_without_file", Status: ledger.Conflict, Text: "The export has no file: it is " + string(job.State) + ". Ask for it once more."}
	}
	j.mu.Lock()
	e, err := j.find(c.Tenant, id)
	if err != nil {
		j.mu.Unlock()
		return Job{}, nil, err
	}
	sealed := e.Key
	j.mu.Unlock()
	key, err := j.p.Vault.Open(job.Tenant, id, &sealed)
	if err != nil {
		return Job{}, nil, err
	}
	f, err := j.p.Files.Open(id, key, job.Size)
	if errors.Is(err, ErrDamaged) {
		err = damaged(j, id, err)
	}
	if err != nil {
		return Job{}, nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, tellWithin)
	defer cancel()
	told := j.p.Writer.Write(ledger.Audit(job.Tenant), j.p.Writer.NewID(), &event.ExportDownloaded{Export: id, By: c.Key, SHA256: job.SHA256})
	if _, err := j.p.Writer.Append(ctx, event.AuditPartition, told); err != nil {
		return Job{}, nil, errors.Join(err, f.Close())
	}
	return job, &watched{f, func(err error) {
		j.p.Logger.Error("the file of an export broke off while it was sent", "export", id, "error", err)
	}}, nil
}

// damaged notes that the file of an export is damaged, and returns the answer.
func damaged(j *Jobs, id event.ID, why error) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	e := j.jobs[id]
	if e == nil || e.State != Finished { // it was deleted meanwhile
		return errNoExport
	}
	j.p.Logger.Error("the file of an export is damaged; it was not given out", "export", id, "error", why)
	e.Why = "Its file is damaged. Ask for the export once more."
	if err := j.save(e); err != nil {
		j.p.Logger.Error("the record of an export cannot be written", "export", id, "error", err)
	}
	return &ledger.Refusal{Code: "export_damaged", Status: ledger.Conflict, Text: "The file of this export is damaged: it is not what the server wrote, so it is not given out. Ask for the export once more, and tell the operator."}
}

// watched is a file that tells if it cannot be read to its end.
type watched struct {
	io.ReadCloser
	tell func(error)
}

// Read is part of io.Reader.
func (w *watched) Read(p []byte) (int, error) {
	n, err := w.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		w.tell(err)
	}
	return n, err
}

// newKey makes the key of an export's file, and seals it.
func newKey(v vault, tenant string, id event.ID) (event.Sealed, error) {
	subject, err := v.SubjectKey(tenant, event.Pseudonym{})
	if err != nil {
		return event.Sealed{}, err
	}
	key := make([]byte, 32)
	rand.Read(key)
	return v.Seal(tenant, subject, ledger.ClassExport, event.SealV1, id, key)
}
