package eventstorelog

import (
	"encoding/json"
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/chirograph/chirograph/adapters/logtest"
	"github.com/chirograph/chirograph/domain/event"
)

// The metadata are JSON whatever the event says, and say what the envelope says.
func TestAttributes(t *testing.T) {
	at := time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	id := func(n byte) event.ID { return event.ID{n, 0, 0, 0, 0, 0, 0x70, 0, 0x80} }
	odd := &event.Event{ID: id(1), Source: "/a\"\\\x01", Time: at, Node: "näme\u2028<&>", Tenant: "\x7f\t", Subject: event.Pseudonym{7},
		Message: id(2), After: id(3), Control: 12, Data: &event.MessageExpired{}}
	submit := &event.Event{ID: id(4), Message: id(4), Data: &event.MessageExpired{}}
	fact := &event.Event{ID: id(5), Message: id(4), Data: &event.MessageExpired{}}
	for _, e := range append(logtest.Events(1, 8), odd, submit, fact) {
		var got map[string]string
		if err := json.Unmarshal(attributes(e), &got); err != nil {
			t.Fatalf("%s: %v", attributes(e), err)
		}
		var envelope map[string]any
		raw, err := event.Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(raw, &envelope); err != nil {
			t.Fatal(err)
		}
		for name, value := range envelope {
			if name == "data" || name == "datacontenttype" {
				continue
			}
			if n, ok := value.(float64); ok {
				value = fmtInt(n)
			}
			if got[name] != value {
				t.Errorf("%s is %q, and in the envelope %v", name, got[name], value)
			}
		}
		subject, _ := envelope["subject"].(string)
		if got["$correlationId"] != subject {
			t.Errorf("$correlationId is %q, and the recipient %q", got["$correlationId"], subject)
		}
	}
	for _, c := range []struct {
		e    *event.Event
		want string
	}{{odd, id(3).String()}, {submit, ""}, {fact, id(4).String()}} {
		var got map[string]string
		if err := json.Unmarshal(attributes(c.e), &got); err != nil || got["$causationId"] != c.want {
			t.Errorf("$causationId is %q, want %q (%v)", got["$causationId"], c.want, err)
		}
	}
}

func fmtInt(n float64) string {
	b, _ := json.Marshal(int64(n))
	return string(b)
}

func BenchmarkPropose(b *testing.B) {
	events := logtest.Events(1, 64)
	for b.Loop() {
		for _, e := range events {
			propose(e, nil)
		}
	}
}

// shown is the example of docs/events.md: an event in Kafka, and its metadata here.
var shown = regexp.MustCompile("(?s)<!-- kcat -->.*?(\\{\"specversion\":[^\n]+\\})\n.*<!-- metadata -->\n\n```json\n([^\n]+)\n```")

// What docs/events.md shows is what is written.
func TestDocumentedMetadata(t *testing.T) {
	doc, err := os.ReadFile("../../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	m := shown.FindSubmatch(doc)
	if m == nil {
		t.Fatal("docs/events.md has no example")
	}
	e, err := event.Decode(m[1])
	if err != nil {
		t.Fatal(err)
	}
	if got := attributes(e); string(got) != string(m[2]) {
		t.Errorf("docs/events.md shows\n%s\nand this is written:\n%s", m[2], got)
	}
}
