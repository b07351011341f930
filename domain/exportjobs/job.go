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

	// asking is a record that is written before the audit log has the question. Nobody sees it.
	asking State = "asking"
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
	// Of a finished one Why says that its file was found damaged.
	Ended   time.Time `json:"ended,omitzero"`
	EndedBy string    `json:"ended_by,omitempty"`
	Why     string    `json:"why,omitempty"`
	// Waits says why an export that could not be made waits to be tried again.
	Waits string `json:"-"`
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
	// Open reads the file of an export, of size bytes, once all of it was verified. The error is ErrDamaged
	// if it is missing, was altered, or has another length.
	Open(id event.ID, key []byte, size int64) (io.ReadCloser, error)
	// Strays are the exports that have a file from before a time, and no record.
	Strays(before time.Time) ([]event.ID, error)
	// Full reports whether an error says that the disk is full.
	Full(err error) bool
	// Delete removes the file of an export, if there is one.
	Delete(id event.ID) error
	// Spool makes a temporary file, sealed under a key that nothing keeps.
	Spool() (export.Spool, error)
}

// ErrDamaged says that the file of an export is not what was written.
var ErrDamaged = errors.New("the file of the export is damaged")

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

// sealedRecord is a record as it is kept: sealed for the id of its export, so that nobody without the vault
// writes one. It is in no event, so its seal has version 1 in a ledger of any format level.
type sealedRecord struct {
	Tenant string       `json:"tenant"`
	Sealed event.Sealed `json:"sealed"`
}

// sealRecord seals a record under the secret with an id.
func sealRecord(v vault, secret event.ID, r *record) ([]byte, error) {
	plain, err := json.Marshal(r)
	if err != nil {
		return nil, err
	}
	box, err := v.Seal(r.Tenant, secret, ledger.ClassExport, event.SealV1, r.ID, plain)
	if err != nil {
		return nil, err
	}
	return json.Marshal(&sealedRecord{r.Tenant, box})
}

// readRecord opens a record, and returns the id of its secret too.
func readRecord(v vault, id event.ID, raw []byte) (*record, event.ID, error) {
	var s sealedRecord
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, event.ID{}, err
	}
	if s.Tenant == "" || len(s.Sealed.Box) == 0 {
		return nil, event.ID{}, errors.New("it is not sealed")
	}
	plain, err := v.Open(s.Tenant, id, &s.Sealed)
	if err != nil {
		return nil, event.ID{}, err
	}
	r, err := parseRecord(id, plain)
	if err == nil && r.Tenant != s.Tenant {
		err = errors.New("it is another tenant's")
	}
	return r, s.Sealed.SubjectKey, err
}

func parseRecord(id event.ID, plain []byte) (*record, error) {
	r := new(record)
	if err := json.Unmarshal(plain, r); err != nil {
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
