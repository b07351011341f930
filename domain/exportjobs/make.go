package exportjobs

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/export"
	"github.com/chirograph/chirograph/domain/ledger"
)

// restAfter is how long an export works before it rests for a quarter of that.
const restAfter = 20 * time.Millisecond

// run makes an export. If it fails it waits for its next attempt, which begins from the start: the file is
// the same, whenever it is made.
func (j *Jobs) run(ctx context.Context, e *entry) {
	j.mu.Lock()
	if e.State != Queued {
		j.mu.Unlock()
		return
	}
	running, cancel := context.WithCancel(ctx)
	defer cancel()
	e.State, e.cancel, e.done, e.known, e.waits = Running, cancel, 0, 0, ""
	j.started[e.Tenant] = j.p.Now()
	job, sealed := e.Job, e.Key
	j.mu.Unlock()

	r, err := j.make(running, e, &job, &sealed)

	j.mu.Lock()
	e.cancel = nil
	switch {
	case e.State != Running: // it was cancelled
		if err := j.p.Files.Delete(e.ID); err != nil {
			j.p.Logger.Error("the file of a cancelled export could not be deleted; the next start tries it once more", "export", e.ID, "error", err)
		}
		j.mu.Unlock()
		return
	case ctx.Err() != nil: // the process stops; the next one begins it from the start
		e.State = Queued
		j.mu.Unlock()
		return
	case err == nil:
		before := e.record
		e.Events, e.Size, e.SHA256 = r.Manifest.Events, r.Size, r.SHA256
		e.step(Finished, j.p.Writer.NewID(), j.p.Now())
		e.DeleteAfter = event.Millis(e.Ended.Add(j.p.Keep))
		if err = j.save(e); err != nil {
			e.record = before
		}
	}
	switch {
	case err == nil:
	case j.p.Files.Full(err): // it can be made once there is room
		e.State, e.notBefore = Queued, j.p.Now().Add(fullPause)
		e.waits = "The disk of the server's exports is full. It is tried again every minute."
		j.p.Logger.Error("an export waits: the disk is full", "export", e.ID, "error", err)
		j.mu.Unlock()
		return
	default:
		e.attempts++
		e.waits = "It could not be made yet. It is tried again, at most 5 times."
		pause := firstPause << (e.attempts - 1)
		e.State, e.notBefore = Queued, j.p.Now().Add(pause)
		j.p.Logger.Warn("an export could not be made", "export", e.ID, "attempt", e.attempts, "error", err)
		missing := errors.Is(err, ledger.ErrKeyMissing) // and will be at the next attempt
		if missing || e.attempts >= maxAttempts {
			e.notBefore = time.Time{}
			e.Why = "It could not be made in 5 attempts. The server's log has the cause under the id of the export."
			if missing {
				e.Why = "Some of the personal data cannot be read: its key is missing from the vault. Ask the operator to bring the key back from a copy of the vault, and then ask for the export once more."
			}
			e.step(Failed, j.p.Writer.NewID(), j.p.Now())
			if err := j.save(e); err != nil {
				j.p.Logger.Error("the record of an export cannot be written", "export", e.ID, "error", err)
			}
		}
	}
	j.mu.Unlock()
	if err := j.tell(ctx, e); err != nil {
		j.p.Logger.Warn("the audit log did not take what became of an export; it is told later", "export", e.ID, "error", err)
	}
}

// make writes the file of an export.
func (j *Jobs) make(ctx context.Context, e *entry, job *Job, sealed *event.Sealed) (r export.Result, err error) {
	key, err := j.p.Vault.Open(job.Tenant, job.ID, sealed)
	if err != nil {
		return export.Result{}, err
	}
	f, err := j.p.Files.Create(job.ID, key)
	if err != nil {
		return export.Result{}, err
	}
	s := selection{log: j.p.Log, views: j.p.Views, desk: j.p.Desk, tenant: job.Tenant, scope: job.Scope,
		heads: make([]int64, len(job.Heads)), complete: job.CompleteSince.IsZero()}
	for i, h := range job.Heads {
		s.heads[i] = h.Index
	}
	s.known = func(n int64) {
		j.mu.Lock()
		defer j.mu.Unlock()
		e.known = n
	}
	worked := j.p.Now()
	rested := func() error {
		if took := j.p.Now().Sub(worked); took >= restAfter {
			j.p.Rest(ctx, took/4)
			worked = j.p.Now()
		}
		return ctx.Err()
	}
	s.step = func(n int) error {
		j.mu.Lock()
		e.done += int64(n)
		j.mu.Unlock()
		return rested()
	}
	o, err := j.options(job)
	if err == nil {
		r, err = j.write(ctx, resting{f, rested}, o, j.entries(ctx, &s, job.Shown))
	}
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		f.Abort()
		return export.Result{}, err
	}
	return r, f.Commit()
}

// resting rests between writes: putting the file together, after the last event was read, takes a while too.
type resting struct {
	to     io.Writer
	rested func() error
}

// Write is part of io.Writer.
func (r resting) Write(p []byte) (int, error) {
	if err := r.rested(); err != nil {
		return 0, err
	}
	return r.to.Write(p)
}

// options are what the file says of itself.
func (j *Jobs) options(job *Job) (export.Options, error) {
	scope, err := json.Marshal(&job.Scope)
	if err != nil {
		return export.Options{}, err
	}
	m := export.Manifest{Product: j.p.Product, Ledger: j.p.Ledger, Tenant: job.Tenant, Export: job.ID, Question: job.sentence(), Scope: scope,
		AskedBy: job.By, Asked: job.Asked, Reason: job.Reason, Clear: job.Shown.Words(), CompleteSince: job.CompleteSince}
	for _, h := range job.Heads {
		m.Heads = append(m.Heads, h.String())
	}
	o := export.Options{Manifest: m, Rules: j.p.Rules, Temp: j.p.Files.Spool}
	if job.Zone != "" {
		if o.Zone, err = j.p.Zones.Zone(job.Zone); err != nil {
			return o, err
		}
	}
	return o, nil
}

// sentence is what was asked for, and what of the personal data may be seen.
func (j *Job) sentence() string {
	text := "Asked for: " + strings.Join(j.Scope.Words(), "; ") + "."
	switch {
	case !j.Clear:
		return text + " Personal data in clear was not asked for."
	case j.Shown == Shown{}:
		return text + " Personal data was asked for in clear, but the key may not see any."
	}
	text += " In clear: " + strings.Join(j.Shown.Words(), ", ") + "."
	if missing := j.Shown.missing(); len(missing) > 0 {
		text += " Asked for in clear too, but the key may not see it: " + strings.Join(missing, ", ") + "."
	}
	return text
}

var errStopped = errors.New("no more entries are wanted")

// entries are the events of a selection, with what is sealed in them as far as it is shown.
func (j *Jobs) entries(ctx context.Context, s *selection, shown Shown) iter.Seq2[export.Entry, error] {
	return func(yield func(export.Entry, error) bool) {
		err := s.each(ctx, func(x judged) error {
			e, err := j.entry(&x, shown)
			if err != nil {
				return err
			}
			if !yield(e, nil) {
				return errStopped
			}
			return nil
		})
		if err != nil && !errors.Is(err, errStopped) {
			yield(export.Entry{}, err)
		}
	}
}

// entry opens what is sealed in an event, if it is shown.
func (j *Jobs) entry(x *judged, shown Shown) (export.Entry, error) {
	e := export.Entry{Position: event.Position{Partition: x.partition, Index: x.Index}, Event: x.Event, Raw: x.Raw, Why: x.why}
	box := sealedIn(x.Event.Data, shown)
	if box == nil {
		return e, nil
	}
	switch plain, err := j.p.Vault.Open(x.Event.Tenant, x.Event.ID, box); {
	case errors.Is(err, ledger.ErrErased):
		e.Erased = true
	case err != nil:
		return e, err
	case !json.Valid(plain):
		return e, fmt.Errorf("the sealed data at %s: %w", e.Position, ledger.ErrUnreadable)
	default:
		e.Opened = plain
	}
	return e, nil
}

// sealedIn is the personal data of an event, if it is shown; nil if not, or if it has none.
func sealedIn(d event.Data, shown Shown) *event.Sealed {
	box, may := event.SealedIn(d), shown.Evidence
	switch d.(type) {
	case *event.MessageSubmitted, *event.ReceiptReceived:
		may = shown.Message
	case *event.InboundReceived, *event.InboundReceivedV2:
		may = shown.Inbound
	}
	if !may || box == nil || len(box.Box) == 0 {
		return nil
	}
	return box
}
