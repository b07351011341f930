// Package exportjobs makes the files of exports: it takes an officer's question, records it in the audit log,
// finds the events that it covers as of the log's heads at that moment, and has package export write them. A
// job survives a kill: it is begun from the start, and makes the same bytes. docs/export.md describes it.
package exportjobs

import (
	"encoding/json"
	"errors"
	"io"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/export"
	"github.com/chirograph/chirograph/domain/ledger"
)

// State says how far the making of an export is.
type State string

const (
	Queued    State = "queued" // it waits for the exports before it
	Running   State = "running"
	Finished  State = "finished" // its file can be downloaded
	Failed    State = "failed"
	Cancelled State = "cancelled"
	Deleted   State = "deleted" // its file was deleted
)

// Job is the making of one export, and what became of its file. It has no personal data.
type Job struct {
	// ID is the id of the ExportAsked.
	ID     event.ID `json:"id"`
	Tenant string   `json:"tenant"`
	// By is the id of the API key that asked for it.
	By     string    `json:"by"`
	Reason string    `json:"reason"`
	Asked  time.Time `json:"asked"`
	Scope  Scope     `json:"scope"`
	// Clear says that personal data was asked for in clear, and Shown what of it the key may see.
	Clear bool  `json:"clear,omitempty"`
	Shown Shown `json:"shown,omitzero"`
	// Heads are the positions up to which the file is true, one a partition: it has no event at or after
	// them.
	Heads []event.Position `json:"heads"`
	// CompleteSince is since when the views had opt-outs and inbound messages at the time of asking; zero:
	// they had all.
	CompleteSince time.Time `json:"complete_since,omitzero"`

	// Zone is the zone of the file's local times; "": UTC.
	Zone string `json:"zone,omitempty"`

	State State `json:"state"`
	// Done is how many of Known events were looked at. Both are 0 before it runs, and are not kept over a
	// restart.
	Done  int64 `json:"-"`
	Known int64 `json:"-"`
	// Ended is when it was finished, failed or was cancelled; EndedBy is who cancelled it, and Why says why
	// it failed.
	Ended   time.Time `json:"ended,omitzero"`
	EndedBy string    `json:"ended_by,omitempty"`
	Why     string    `json:"why,omitempty"`
	// Events is how many events are in the file, Size its length in bytes, SHA256 its digest in
	// hexadecimal, DeleteAfter when it will be deleted.
	Events      int64     `json:"events,omitempty"`
	Size        int64     `json:"size,omitempty"`
	SHA256      string    `json:"sha256,omitempty"`
	DeleteAfter time.Time `json:"delete_after,omitzero"`
	// Deleted is when the file was deleted; DeletedBy is "" if its time was over.
	Deleted   time.Time `json:"deleted,omitzero"`
	DeletedBy string    `json:"deleted_by,omitempty"`
}

// open reports whether it is yet to be made.
func (j *Job) open() bool { return j.State == Queued || j.State == Running }

// Files keeps the records of jobs and the files of exports, sealed; adapters/exports does.
type Files interface {
	// Records reads the records of all jobs.
	Records() (map[event.ID][]byte, error)
	// Record replaces the record of a job; it is then durable.
	Record(id event.ID, record []byte) error
	// Forget removes the record of a job and its file.
	Forget(id event.ID) error
	// Create begins the file of an export, sealed under a key of 32 bytes.
	Create(id event.ID, key []byte) (File, error)
	// Open reads the file of an export.
	Open(id event.ID, key []byte) (io.ReadCloser, error)
	// Delete removes the file of an export, if there is one.
	Delete(id event.ID) error
	// Spool makes a temporary file, sealed under a key that nothing keeps.
	Spool() (export.Spool, error)
}

// File is the file of an export that is being written. One of Commit and Abort ends it.
type File interface {
	io.Writer
	// Commit makes the whole file durable in place of an older one.
	Commit() error
	// Abort removes what was written.
	Abort()
}

// record is what is kept of a job beside its file.
type record struct {
	Version int `json:"version"`
	Job
	// Key opens to the key of the file.
	Key event.Sealed `json:"key"`
	// Event is the id of the event that says what State says, as long as it is not known to be in the audit
	// log; zero: it is there.
	Event event.ID `json:"event,omitzero"`
	// At is the time of that event.
	At time.Time `json:"at,omitzero"`
}

const recordVersion = 1

func readRecord(id event.ID, raw []byte) (*record, error) {
	r := new(record)
	if err := json.Unmarshal(raw, r); err != nil {
		return nil, err
	}
	if r.Version != recordVersion || r.ID != id || r.Tenant == "" || len(r.Heads) == 0 {
		return nil, errors.New("it is not the record of an export that this version writes")
	}
	return r, nil
}

// step brings a record to a state, of which the event with the id is to tell.
func (r *record) step(s State, id event.ID, at time.Time) {
	r.State, r.Event, r.At = s, id, event.Millis(at)
	switch s {
	case Deleted:
		r.Deleted = r.At
	case Finished, Failed, Cancelled:
		r.Ended = r.At
	}
}

// event is what tells of the record's state.
func (r *record) event(w writer) *event.Event {
	var d event.Data = &event.ExportDeleted{Export: r.ID, By: r.DeletedBy}
	switch r.State {
	case Finished:
		d = &event.ExportEnded{Export: r.ID, As: event.ExportFinished, Events: r.Events, Size: r.Size, SHA256: r.SHA256, DeleteAfter: r.DeleteAfter}
	case Failed:
		d = &event.ExportEnded{Export: r.ID, As: event.ExportFailed, Why: r.Why}
	case Cancelled:
		d = &event.ExportEnded{Export: r.ID, As: event.ExportCancelled, By: r.EndedBy}
	}
	e := w.Write(ledger.Audit(r.Tenant), r.Event, d)
	e.Time = r.At // the same event, whenever it is appended
	return e
}

// seen is the job as its readers see it: what is not in the audit log yet did not happen.
func (r *record) seen() Job {
	j := r.Job
	if !r.Event.IsZero() && r.State == Finished {
		j.State, j.Ended, j.Events, j.Size, j.SHA256, j.DeleteAfter = Running, time.Time{}, 0, 0, "", time.Time{}
	}
	j.Heads = append([]event.Position(nil), j.Heads...)
	return j
}
