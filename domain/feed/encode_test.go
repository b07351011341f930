package feed

import (
	"bytes"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/recipient"
)

func items() []Item {
	at := time.UnixMilli(1_795_000_000_123).UTC()
	item := func(index int64, nth int, i Item) Item {
		i.Place = Place{event.Position{Partition: 7, Index: index}, nth}
		i.Tenant, i.Subject, i.Event, i.At = "clinic", event.Pseudonym{1, 2, 3}, event.ID{9, byte(index)}, at
		return i
	}
	return []Item{
		item(512, 0, Item{Kind: MessageStatus, Message: event.ID{4}, Program: "otp", Status: recipient.Accepted}),
		item(513, 0, Item{Kind: MessageStatus, Message: event.ID{4}, Program: "otp", Status: recipient.InDoubt, Was: recipient.Sending, Detail: Detail{Carrier: "a"}}),
		item(513, 1, Item{Kind: MessageInDoubt, Message: event.ID{4}, Program: "otp", Status: recipient.InDoubt, Was: recipient.Sending, Detail: Detail{Carrier: "a"}}),
		item(600, 0, Item{Kind: MessageInbound, Detail: Detail{Ask: event.InboundStop, To: "+12025550101"}}),
		item(600, 1, Item{Kind: OptOutRecorded, Detail: Detail{OptOut: event.ID{5}, Scope: event.ScopeLegalEntity, Name: "Bank", Source: event.SourceHandset}}),
		item(767, 0, Item{Kind: ReviewResolved, Detail: Detail{Review: event.ID{6}}}),
	}
}

// What was appended, in whatever pieces, is read back.
func TestBlock(t *testing.T) {
	want := items()
	var body []byte
	cuts := []int{0}
	for i := range want {
		var err error
		if body, err = AppendItem(body, &want[i]); err != nil {
			t.Fatal(err)
		}
		cuts = append(cuts, len(body))
	}
	for _, cut := range cuts {
		a, err := decodeItems(7, 2, body[:cut])
		if err != nil {
			t.Fatal(err)
		}
		b, err := decodeItems(7, 2, body[cut:])
		if err != nil {
			t.Fatal(err)
		}
		if got := append(a, b...); !reflect.DeepEqual(got, want) {
			t.Fatalf("cut at %d:\n%+v\nnot\n%+v", cut, got, want)
		}
	}
	for cut := range body {
		if _, err := decodeItems(7, 2, body[:cut]); err == nil && !slices.Contains(cuts, cut) {
			t.Errorf("a block that is cut at %d is read", cut)
		}
	}
	for _, bad := range []Item{{Kind: "message.lost"}, {Kind: MessageStatus, Status: "lost"}, {Kind: MessageStatus, Place: Place{Nth: 300}}} {
		if _, err := AppendItem(nil, &bad); err == nil {
			t.Errorf("%+v is stored", bad)
		}
	}
}

// The stored numbers have every kind and every status, each once, so that nothing that is told cannot be stored.
func TestStoredNumbers(t *testing.T) {
	for _, k := range Kinds() {
		if !slices.Contains(storedKinds, k) {
			t.Errorf("%s has no number", k)
		}
	}
	for _, s := range recipient.Statuses() {
		if !slices.Contains(storedStatuses, s) {
			t.Errorf("%s has no number", s)
		}
	}
	if len(storedKinds) != len(Kinds())+1 || len(storedStatuses) != len(recipient.Statuses())+1 {
		t.Error("a number stands for nothing")
	}
}

// Blocks are a promise: these are the bytes that views have now.
func TestBlockBytes(t *testing.T) {
	want := items()
	body, err := AppendItem(nil, &want[1])
	if err != nil {
		t.Fatal(err)
	}
	golden := "\x01\x01\x00\x10\x07\xf6\xf9\xb2\xe5\xbdh\x06clinic\x01\x02\x03" + string(make([]byte, 13)) + "\x09\x01" + string(make([]byte, 14)) + "\x04" + string(make([]byte, 15)) + "\x03otp\x01\x01a\x00\x00\x00"
	if string(body) != golden {
		t.Errorf("%q\nnot\n%q", body, golden)
	}
}

// Any bytes are a block or an error, and what is read is written as the same items.
func FuzzBlock(f *testing.F) {
	all := items()
	var body []byte
	for i := range all {
		body, _ = AppendItem(body, &all[i])
	}
	f.Add(body)
	f.Add([]byte{1, 0, 0, 1, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := decodeItems(3, 1, b)
		if err != nil {
			return
		}
		var out []byte
		for i := range got {
			if out, err = AppendItem(out, &got[i]); err != nil {
				t.Fatal(err)
			}
		}
		twice, err := decodeItems(3, 1, out)
		if err != nil || !reflect.DeepEqual(got, twice) {
			t.Fatalf("%v: %+v, then %+v", err, got, twice)
		}
	})
}

// Any bytes are a cursor or an error, and a cursor is written as the same bytes.
func FuzzCursor(f *testing.F) {
	f.Add(Cursor{Epoch: 1, Next: []int64{0, 5, 1 << 40}, Audit: 9}.Encode())
	f.Add([]byte{cursorVersion, 0, 0, 255, 255, 255, 15})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := DecodeCursor(b)
		if err != nil {
			return
		}
		twice, err := DecodeCursor(c.Encode())
		if err != nil || !twice.Equal(c) {
			t.Fatalf("%v: %+v, then %+v", err, c, twice)
		}
	})
}

func TestCursor(t *testing.T) {
	c := Cursor{Epoch: 2, Next: []int64{3, 0, 1 << 50}, Audit: 77}
	got, err := DecodeCursor(c.Encode())
	if err != nil || !got.Equal(c) {
		t.Fatal(got, err)
	}
	c.Pass(event.Position{Partition: 1, Index: 4})
	c.Pass(event.Position{Partition: 1, Index: 2})
	c.Pass(event.Position{Partition: event.AuditPartition, Index: 80})
	c.Pass(event.Position{Partition: 9, Index: 80})
	if want := (Cursor{Epoch: 2, Next: []int64{3, 5, 1 << 50}, Audit: 81}); !c.Equal(want) {
		t.Errorf("%+v", c)
	}
	for _, b := range [][]byte{nil, {9}, c.Encode()[:3], bytes.Join([][]byte{c.Encode(), {0}}, nil)} {
		if _, err := DecodeCursor(b); err == nil {
			t.Errorf("%x is a cursor", b)
		}
	}
}
