package chirograph_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chirograph/chirograph/adapters/kafkalog"
	"github.com/chirograph/chirograph/adapters/servertest"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/ledger"
	"github.com/chirograph/chirograph/domain/sms"
)

// shown is the example of a record in docs/events.md: a command line, and what it prints.
var shown = regexp.MustCompile("(?s)<!-- kcat -->\n\n```sh\n(.+?)\n```\n\nprints\n\n```text\n(.+?\n)```\n\n<!-- end -->")

// TestKcat: kcat, which knows nothing of Chirograph, reads every type of event from a
// real broker as docs/events.md says: key, headers, timestamp, and the exact bytes.
func TestKcat(t *testing.T) {
	kcat, err := exec.LookPath("kcat")
	if err != nil {
		if os.Getenv(servertest.RequireEnv) == "1" {
			t.Fatal("kcat is required; it is a package of most systems")
		}
		t.Skip("left out for want of kcat: what a record looks like to it")
	}
	brokers := servertest.Kafka(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	// As many partitions as the ledger of the documented example has.
	cfg := kafkalog.Config{Brokers: brokers, Prefix: servertest.Topic(t), Replication: 1, MinISR: 1, Partitions: 16, NumberForms: sms.CanonicalForms}
	if _, err := kafkalog.Init(ctx, cfg); err != nil {
		t.Fatal(err)
	}
	log, err := kafkalog.Open(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	kcatOut := func(args ...string) []byte {
		t.Helper()
		var errs bytes.Buffer
		cmd := exec.CommandContext(ctx, kcat, append([]string{"-C", "-q", "-e", "-b", strings.Join(brokers, ",")}, args...)...)
		cmd.Stderr = &errs
		out, err := cmd.Output()
		if err != nil {
			t.Fatalf("kcat: %v\n%s", err, errs.String())
		}
		return out
	}

	doc := shown.FindStringSubmatch(read(t, "docs/events.md"))
	if doc == nil {
		t.Fatal("docs/events.md shows no record")
	}
	command, printed := doc[1], doc[2]
	lines := strings.Split(printed, "\n")
	example := decode(t, []byte(lines[len(lines)-2]))
	source := example.Source // the ledger of the documents; this one has another

	// Every example, each where it belongs.
	written := map[event.Partition][]*event.Event{}
	add := func(p event.Partition, e *event.Event) {
		e.Source = log.Source()
		written[p] = append(written[p], e)
	}
	for _, typ := range slices.Sorted(slices.Values(event.Types())) {
		e := decode(t, []byte(read(t, filepath.Join("domain/event/testdata/golden", string(typ)+".json"))))
		switch {
		case typ.Kind() == event.Control:
			add(event.ControlPartition, e)
		case typ.Kind() == event.Audit:
			add(event.AuditPartition, e)
		case e.Subject.IsZero():
			add(3, e)
		default:
			add(event.Partition(e.Subject.Partition(cfg.Partitions)), e)
		}
		if typ == "ReceiptReceived.v1" {
			add(event.InboxPartition, decode(t, encode(t, e)))
		}
	}
	where := event.Partition(example.Subject.Partition(cfg.Partitions))
	add(where, example)
	first := map[event.Partition]int64{}
	for p, events := range written {
		done := make(chan ledger.Appended, 1)
		log.Append(p, slices.Clone(events), func(a ledger.Appended) { done <- a })
		a := <-done
		if a.Err != nil {
			t.Fatal(a.Err)
		}
		first[p] = a.First
	}

	for p, events := range written {
		topic, part := cfg.Prefix+".ledger", int(p)
		switch p {
		case event.ControlPartition:
			topic, part = cfg.Prefix+".control", 0
		case event.InboxPartition:
			topic, part = cfg.Prefix+".inbox", 0
		case event.AuditPartition:
			topic, part = cfg.Prefix+".audit", 0
		}
		n := 0
		for s := bufio.NewScanner(bytes.NewReader(kcatOut("-t", topic, "-p", fmt.Sprint(part), "-o", fmt.Sprint(first[p]), "-J"))); s.Scan(); n++ {
			var got struct {
				Offset  int64    `json:"offset"`
				Type    string   `json:"tstype"`
				Time    int64    `json:"ts"`
				Headers []string `json:"headers"`
				Key     *string  `json:"key"`
				Payload string   `json:"payload"`
			}
			if err := json.Unmarshal(s.Bytes(), &got); err != nil {
				t.Fatal(err)
			}
			if n >= len(events) {
				t.Fatalf("%s holds more than was appended", topic)
			}
			e := events[n]
			at := event.Position{Partition: p, Index: first[p] + int64(n)}
			if got.Offset != at.Index {
				t.Errorf("%s is at offset %d", at, got.Offset)
			}
			if got.Payload != string(encode(t, e)) {
				t.Errorf("%s, a %s, has the value\n%s", at, e.Data.Type(), got.Payload)
			}
			if got.Type != "create" || got.Time != e.Time.UnixMilli() {
				t.Errorf("%s, a %s, has the timestamp %s %d", at, e.Data.Type(), got.Type, got.Time)
			}
			if key := e.Subject.String(); key == "" && got.Key != nil || key != "" && (got.Key == nil || *got.Key != key) {
				t.Errorf("%s, a %s, has the key %v", at, e.Data.Type(), got.Key)
			}
			headers := map[string]string{}
			for h := range slices.Chunk(got.Headers, 2) {
				headers[h[0]] = h[1]
			}
			if want := copies(t, e); !maps.Equal(headers, want) || len(got.Headers) != 2*len(want) {
				t.Errorf("%s, a %s, has the headers\n%v, not\n%v", at, e.Data.Type(), headers, want)
			}
		}
		if n != len(events) {
			t.Errorf("kcat found %d events in %s, not %d", n, topic, len(events))
		}
	}

	// The documented command itself, word for word.
	at := first[where] + int64(len(written[where])) - 1
	for _, swap := range [][2]string{
		{"kcat ", kcat + " "},
		{"localhost:9092", strings.Join(brokers, ",")},
		{"chirograph.ledger", cfg.Prefix + ".ledger"},
		{"-o 1234", fmt.Sprint("-o ", at)},
	} {
		if !strings.Contains(command, swap[0]) {
			t.Fatalf("the documented command has no %q", swap[0])
		}
		command = strings.Replace(command, swap[0], swap[1], 1)
	}
	out, err := exec.CommandContext(ctx, "sh", "-c", command).Output()
	if err != nil {
		t.Fatalf("%s: %v", command, err)
	}
	got := strings.ReplaceAll(string(out), log.Source(), source)
	got = strings.Replace(got, fmt.Sprintf("-%d\n", at), "-1234\n", 1)
	if got != printed {
		t.Errorf("the documented command prints\n%s, and docs/events.md says\n%s", got, printed)
	}
}

// copies are the headers that a record of an event has.
func copies(t *testing.T, e *event.Event) map[string]string {
	t.Helper()
	var attributes map[string]any
	d := json.NewDecoder(bytes.NewReader(encode(t, e)))
	d.UseNumber()
	if err := d.Decode(&attributes); err != nil {
		t.Fatal(err)
	}
	headers := map[string]string{"content-type": "application/cloudevents+json; charset=UTF-8"}
	for name, v := range attributes {
		if name != "data" {
			headers["ce_"+name] = fmt.Sprint(v)
		}
	}
	return headers
}

func decode(t *testing.T, raw []byte) *event.Event {
	t.Helper()
	e, err := event.Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func encode(t *testing.T, e *event.Event) []byte {
	t.Helper()
	raw, err := event.Encode(e)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}
