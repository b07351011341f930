// Package export makes the file that an officer hands to a regulator: one zip with the exact
// events that were asked for, a report for people, and tables for programs. docs/export.md
// describes it member by member.
package export

import (
	"encoding/json"
	"io"
	"time"

	"github.com/chirograph/chirograph/domain/decision"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/recipient"
)

// Entry is one event of the file.
type Entry struct {
	Position event.Position
	// Event is what Raw decodes to.
	Event *event.Event
	// Raw is the exact bytes in the log.
	Raw []byte
	// Why says why the event is void; "" is effective.
	Why recipient.Why
	// Opened is what was sealed in the event, as JSON: event.Content, event.Inbound or event.Evidence. In
	// a masked file numbers in it are masked and texts are left out of it. nil: nothing was
	// sealed, it is erased, or nothing of it may be shown.
	Opened json.RawMessage
	// Erased says that what was sealed cannot be opened any more, because its key was destroyed.
	Erased bool
}

// Manifest is the member manifest.json. Its maker fills the fields up to CompleteSince; Write fills the
// rest, and the maker's values there count for nothing.
type Manifest struct {
	// Format is the layout of the file: chirograph-export/1. Write fills it.
	Format string `json:"format"`
	// Product is the program that made the file and its version, such as "chirograph 0.12.0".
	Product string `json:"product,omitempty"`
	// Ledger is the ledger's short id.
	Ledger string `json:"ledger"`
	Tenant string `json:"tenant"`
	// Export is the id of the export, and of its event ExportAsked in the audit log.
	Export event.ID `json:"export"`
	// Question is what was asked for, as a sentence for people.
	Question string `json:"question"`
	// Scope is the same for programs, as it is in the event ExportAsked.
	Scope json.RawMessage `json:"scope"`
	// AskedBy is the id of the API key, Asked when it asked, Reason what it gave as the reason.
	AskedBy string    `json:"asked_by"`
	Asked   time.Time `json:"asked"`
	Reason  string    `json:"reason"`
	// Clear names the personal data that is in the file in clear: message (numbers, texts, references
	// and metadata of messages), words (what persons wrote, with their numbers), evidence (of opt-outs and
	// lifts). What it does not name is masked or left out.
	Clear []string `json:"clear"`
	// Zone is the zone of the local times in the file, by its IANA name. Write fills it.
	Zone string `json:"zone"`
	// Heads are the positions up to which the file is true, one a partition: the position after the last
	// event that was looked at. The file has no event at or after it.
	Heads []string `json:"heads"`
	// CompleteSince is the time since which the indexes that found the events are complete; left out if
	// they always were.
	CompleteSince time.Time `json:"complete_since,omitzero"`

	// Events is how many events the file has, Void how many of them are void, Erased in how many the
	// personal data is erased. Types counts them by type.
	Events int64            `json:"events"`
	Void   int64            `json:"void"`
	Erased int64            `json:"erased"`
	Types  map[string]int64 `json:"types"`
	// First and Last are the times of the earliest and the latest event; left out if there is none.
	First time.Time `json:"first,omitzero"`
	Last  time.Time `json:"last,omitzero"`
	// Extents count, for each of Heads, the positions before it that are in the file and that are not.
	Extents []extent `json:"partitions"`
	// Members are the members after manifest.json, in their order in the zip.
	Members []Member `json:"members"`
}

// extent is what the file has of a partition.
type extent struct {
	Partition string `json:"partition"`
	Head      int64  `json:"head"`
	InFile    int64  `json:"in_file"`
	LeftOut   int64  `json:"left_out"`
}

// Member describes one member of the zip.
type Member struct {
	Name string `json:"name"`
	// Format is how it is written, with its version.
	Format string `json:"format"`
	// Rows is how many lines of events.ndjson and opened.ndjson there are, or rows of a table without its head; nil of
	// another member.
	Rows *int64 `json:"rows,omitempty"`
	// Size is in bytes, not compressed, and SHA256 is of those bytes, in hexadecimal.
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// Options are what a file is made from, beside its events.
type Options struct {
	Manifest Manifest
	// Zone is for the local times; nil: UTC.
	Zone *time.Location
	// Rules describes the rules of decisions; nil: the file has their ids alone.
	Rules interface {
		Rule(id string) (decision.Rule, bool)
	}
	// Temp makes a temporary file. Each is written from its beginning to its end, then read so, once, and
	// then closed. Up to 100 are open at once.
	Temp func() (Spool, error)
}

// Spool is a temporary file. What it holds may be personal data in clear, so a caller seals it.
type Spool interface {
	io.Writer
	// Rewind ends the writing, and returns a reader of what was written, from the beginning.
	Rewind() (io.Reader, error)
	// Close deletes the file.
	Close() error
}

// Result is what Write wrote.
type Result struct {
	// Manifest is the file's, with all fields.
	Manifest Manifest
	// Size is the length of the zip in bytes, and SHA256 its digest in hexadecimal.
	Size   int64
	SHA256 string
}
