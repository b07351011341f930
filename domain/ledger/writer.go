package ledger

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/recipient"
	"github.com/chirograph/chirograph/domain/sms"
)

// Author says which ledger an event is written for, and by which node.
type Author struct {
	Source string // "/" and the ledger's short id
	Node   string
}

// Event makes an event of this author with the data d, which was observed or decided at the time
// at (cut to whole milliseconds). The zero Stream is for a control event without a tenant.
func (a Author) Event(s Stream, id event.ID, at time.Time, d event.Data) *event.Event {
	return &event.Event{ID: id, Source: a.Source, Subject: s.Subject, Time: event.Millis(at), Tenant: s.Tenant, Node: a.Node, Data: d}
}

// Stream is the stream of one tenant and one recipient, or the inbox stream of one carrier
// account: where its events are written, and the key under which their personal data is sealed.
type Stream struct {
	Tenant    string
	Subject   event.Pseudonym
	Partition event.Partition
	Key       event.ID
}

// Seal encrypts the JSON of v for the event with that id. level is the ledger's format level as of the control
// position that the event is made under: it says in which version. So no version is written before its level
// was read from the log. The key is durable before Seal returns. If the vault lacks the stream's key, it makes
// another: what is sealed names the key that it is sealed under.
func Seal(vault Vault, level int, s Stream, class Class, id event.ID, v any) (event.Sealed, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // six octets for each "<" would make the longest inbound text more than an event may have
	if err := e.Encode(v); err != nil {
		return event.Sealed{}, err
	}
	plain := bytes.TrimSuffix(b.Bytes(), []byte("\n"))
	sealed, err := vault.Seal(s.Tenant, s.Key, class, event.SealAt(level), id, plain)
	if !errors.Is(err, ErrKeyMissing) {
		return sealed, err
	}
	// Two keys of one stream do no harm, and a STOP that is not recorded does.
	key, err := vault.SubjectKey(s.Tenant, s.Subject)
	if err != nil {
		return event.Sealed{}, err
	}
	return vault.Seal(s.Tenant, key, class, event.SealAt(level), id, plain)
}

// Opener is the part of Vault that opening needs.
type Opener interface {
	Open(tenant string, id event.ID, s *event.Sealed) ([]byte, error)
}

// Open decrypts what Seal encrypted for an event of a tenant. The error is ErrErased if a key was
// destroyed, and ErrKeyMissing if one is missing; no error quotes the decrypted data.
func Open[T any](vault Opener, tenant string, id event.ID, s *event.Sealed) (T, error) {
	var v T
	plain, err := vault.Open(tenant, id, s)
	if err != nil {
		return v, err
	}
	if json.Unmarshal(plain, &v) != nil { // its error may quote what it read
		return v, fmt.Errorf("the sealed data in the event %s: %w", id, ErrUnreadable)
	}
	return v, nil
}

// KeyOf are the digests of the idempotency key and of the request that a message came with, and until when
// the message is valid, from its submit or from the MessageRecovered in its place. The key is "" for
// another event, and for a message without a key.
func KeyOf(e *event.Event) (key, input string, validUntil time.Time) {
	switch d := e.Data.(type) {
	case *event.MessageSubmitted:
		return d.Key, d.Input, d.ValidUntil
	case *event.MessageRecovered:
		return d.Key, d.Input, d.ValidUntil
	}
	return "", "", time.Time{}
}

// OpenContent decrypts the personal data of a submit.
func OpenContent(vault Opener, e *event.Event) (*event.MessageSubmitted, event.Content, error) {
	d, ok := e.Data.(*event.MessageSubmitted)
	if !ok {
		return nil, event.Content{}, fmt.Errorf("not a submit: %w", ErrUnreadable)
	}
	c, err := Open[event.Content](vault, e.Tenant, e.ID, &d.Sealed)
	return d, c, err
}

// quotesOf bounds the texts among which a quote is looked for: the last ones that were sent to a person.
const quotesOf = 20

// SentTexts are the texts that were sent to a person lately (recipient.Rows.Sent), the newest first, at most 20,
// as far as they can be read. read reads the event at an index of the stream's partition.
func SentTexts(sent []recipient.SentMessage, vault Opener, read func(index int64) (*event.Event, error)) (out []string) {
	for _, m := range slices.Backward(sent[max(0, len(sent)-quotesOf):]) {
		e, err := read(m.Index)
		if err != nil {
			return out
		}
		if _, content, err := OpenContent(vault, e); err == nil {
			out = append(out, content.Body)
		}
	}
	return out
}

// ReadEvent reads the event at a position, and waits for it until ctx is done. For a record that
// is no event of this ledger it returns ErrDamaged.
func ReadEvent(ctx context.Context, log Log, at event.Position) (*event.Event, error) {
	records, _, err := log.Read(ctx, at.Partition, at.Index, 1)
	switch {
	case err != nil:
		return nil, err
	case len(records) == 0:
		return nil, fmt.Errorf("no event at %s", at)
	case records[0].Bad != nil:
		return nil, Damaged(at, records[0].Bad)
	}
	return records[0].Event, nil
}

// Folds is the part of Views that loads streams.
type Folds interface {
	Streams(ctx context.Context, p event.Partition, subjects []event.Pseudonym) (folds map[event.Pseudonym]*recipient.State, asOf int64, err error)
}

// AppendWithin is the default of how long Append waits until an event is durable. After that the
// result is unknown (HTTP 504).
const AppendWithin = 5 * time.Second

// Writer turns a number into a stream, encrypts personal data, and appends the event. Nothing
// else in the domain does these steps together. Its methods may be called from any goroutine.
type Writer struct {
	Author
	log    Log
	vault  Vault
	folds  Folds
	now    func() time.Time
	within time.Duration
	keys   keyCache
}

// NewWriter returns a writer that writes to log as author. within is how long Append waits; 0
// means AppendWithin.
func NewWriter(author Author, log Log, vault Vault, folds Folds, now func() time.Time, within time.Duration) *Writer {
	if within == 0 {
		within = AppendWithin
	}
	return &Writer{Author: author, log: log, vault: vault, folds: folds, now: now, within: within, keys: newKeyCache(100_000)}
}

// NewID makes an id for a fact that was observed now. Make it once, and keep it for retries.
func (w *Writer) NewID() event.ID { return event.NewID(w.now()) }

// Write makes an event that was observed now. It appends nothing: see Append and Queue.
func (w *Writer) Write(s Stream, id event.ID, d event.Data) *event.Event {
	return w.Event(s, id, w.now(), d)
}

// Seal is the function Seal, with this writer's vault. If it made another key, the stream has that from now on.
func (w *Writer) Seal(level int, s Stream, class Class, id event.ID, v any) (event.Sealed, error) {
	sealed, err := Seal(w.vault, level, s, class, id, v)
	if err == nil && sealed.SubjectKey != s.Key {
		w.keys.put(s.Subject, sealed.SubjectKey)
	}
	return sealed, err
}

// Stream is the stream of a tenant and a number. Its Key is not set.
func (w *Writer) Stream(tenant string, to sms.Number) Stream {
	return w.StreamOf(tenant, w.vault.Pseudonym(tenant, string(to)))
}

// Keyed sets the key of a recipient's stream: the key that it remembers, or the one in the
// stream's fold, or a new one. It may look into the views.
func (w *Writer) Keyed(ctx context.Context, s Stream) (Stream, error) {
	if !s.Key.IsZero() {
		return s, nil
	}
	var ok bool
	if s.Key, ok = w.keys.get(s.Subject); ok {
		return s, nil
	}
	folds, _, err := w.folds.Streams(ctx, s.Partition, []event.Pseudonym{s.Subject})
	if err != nil {
		return s, err
	}
	if f := folds[s.Subject]; f != nil {
		s.Key = f.Key
	}
	return w.newKey(s)
}

// Inbox is the inbox stream of a carrier account. Its key is made anew in every run of the
// process.
func (w *Writer) Inbox(account string) (Stream, error) {
	s := Stream{Subject: w.vault.Pseudonym("", "account:"+account), Partition: event.InboxPartition}
	s.Key, _ = w.keys.get(s.Subject)
	return w.newKey(s)
}

// Audit is the stream of a tenant's events in the audit log: such events have no recipient, and nothing
// in them is sealed. Tenant "" is the operator.
func Audit(tenant string) Stream { return Stream{Tenant: tenant, Partition: event.AuditPartition} }

// Unplaced is the stream of the inbound messages of one account and written address that are certain for
// no recipient and tenant. It belongs to the operator: it has no tenant. At format level 1 it is the
// account's inbox.
func (w *Writer) Unplaced(ctx context.Context, level int, account, from string) (Stream, error) {
	if level < 2 {
		return w.Inbox(account)
	}
	return w.Keyed(ctx, w.StreamOf("", w.vault.Pseudonym("", "inbound:"+account+"\x00"+from)))
}

// StreamOf is the stream with that tenant and subject. Its Key is not set.
func (w *Writer) StreamOf(tenant string, subject event.Pseudonym) Stream {
	return Stream{Tenant: tenant, Subject: subject, Partition: event.Partition(subject.Partition(w.log.Partitions()))}
}

// SaidDigest is a keyed digest of what an inbound message says, and to which number: of its words without regard to case and
// to the spaces around them, and of the number's digits. A second delivery of one message has the same digest, although
// carriers write other fields of it anew. Where no text was read, it is a digest of the octets.
func (w *Writer) SaidDigest(tenant string, d *Delivery) string {
	if len(d.Texts) == 0 {
		return w.vault.Digest(tenant, "octets", d.Raw)
	}
	said := []byte(strings.ToLower(strings.Trim(d.Text(), " \t\r\n\x00")))
	if c := d.Concat; c != nil {
		said = fmt.Appendf(said, "\x00part %d of %d, %d", c.Part, c.Parts, c.Reference)
	}
	said = append(said, 0)
	for i := range len(d.To) {
		if c := d.To[i]; c >= '0' && c <= '9' {
			said = append(said, c)
		}
	}
	return w.vault.Digest(tenant, "said", said)
}

// newKey makes a key for a stream that has none, and remembers the stream's key.
func (w *Writer) newKey(s Stream) (_ Stream, err error) {
	if s.Key.IsZero() {
		if s.Key, err = w.vault.SubjectKey(s.Tenant, s.Subject); err != nil {
			return s, err
		}
	}
	w.keys.put(s.Subject, s.Key)
	return s, nil
}

// Append appends an event and returns its position when it is durable. The error is ErrRefused if
// it was not appended, and ErrUnknown if that is not known, also when the writer's bound passes
// or ctx ends first.
func (w *Writer) Append(ctx context.Context, p event.Partition, e *event.Event) (event.Position, error) {
	done := make(chan Appended, 1)
	w.log.Append(p, []*event.Event{e}, func(a Appended) { done <- a })
	t := time.NewTimer(w.within)
	defer t.Stop()
	select {
	case a := <-done:
		return event.Position{Partition: p, Index: a.First}, a.Err
	case <-t.C:
		return event.Position{}, ErrUnknown
	case <-ctx.Done():
		return event.Position{}, Unknown(ctx.Err())
	}
}

// Queue appends an event and returns at once. done is called when the event is durable, or with
// the append's error.
func (w *Writer) Queue(p event.Partition, e *event.Event, done func(error)) {
	w.log.Append(p, []*event.Event{e}, func(a Appended) { done(a.Err) })
}

// QueueAll appends events to one partition, in order, and returns at once. done is called when all of
// them are durable, or with the append's error.
func (w *Writer) QueueAll(p event.Partition, events []*event.Event, done func(Appended)) {
	w.log.Append(p, events, done)
}

// keyCache remembers the keys of streams, so that a submit to a recipient that was texted lately
// needs no look-up in the views. When it is full it forgets its older half.
type keyCache struct {
	mu           sync.Mutex
	half         int
	newer, older map[event.Pseudonym]event.ID
}

func newKeyCache(most int) keyCache {
	return keyCache{half: most / 2, newer: map[event.Pseudonym]event.ID{}}
}

func (k *keyCache) get(s event.Pseudonym) (event.ID, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	id, ok := k.newer[s]
	if !ok {
		id, ok = k.older[s]
	}
	return id, ok
}

func (k *keyCache) put(s event.Pseudonym, id event.ID) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if _, ok := k.newer[s]; ok {
		k.newer[s] = id
		return
	}
	if len(k.newer) >= k.half {
		k.newer, k.older = map[event.Pseudonym]event.ID{}, k.newer
	}
	k.newer[s] = id
}
