package kafkalog

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/chirograph/chirograph/adapters/logtest"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// What another client reads in a record is what docs/events.md says of it.
func TestRecords(t *testing.T) {
	onBoth(t, func(t *testing.T, server string) {
		cfg := config(t, server)
		cfg.Copy = true
		initLedger(t, cfg)
		l := open(t, cfg)
		events := logtest.Events(3, 8)
		future := logtest.Events(4, 1)[0]
		future.Time = event.Millis(time.Now().Add(48 * time.Hour))
		events = append(events, future)
		began := time.Now()
		if a := logtest.Wait(l, 2, events); a.Err != nil {
			t.Fatal(a.Err)
		}
		client, err := kgo.NewClient(kgo.SeedBrokers(cfg.Brokers...), kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{
			cfg.Prefix + ".ledger": {2: kgo.NewOffset().At(0)}}))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		var records []*kgo.Record
		for len(records) < len(events) && t.Context().Err() == nil {
			records = append(records, client.PollFetches(t.Context()).Records()...)
		}
		for i, r := range records {
			e := events[i]
			if r.Offset != int64(i) || !bytes.Equal(r.Value, encoded(t, e)) {
				t.Errorf("%d: offset %d, value %s", i, r.Offset, r.Value)
			}
			if string(r.Key) != e.Subject.String() {
				t.Errorf("%d: key %q, want %q", i, r.Key, e.Subject)
			}
			if e != future && !r.Timestamp.Equal(e.Time) && e.Time.Before(began) {
				t.Errorf("%d: timestamp %s, want %s", i, r.Timestamp, e.Time)
			}
			if e == future && (r.Timestamp.After(time.Now()) || r.Timestamp.Before(began.Add(-time.Second))) {
				t.Errorf("an event of the future has timestamp %s", r.Timestamp)
			}
			got := map[string]string{}
			for _, h := range r.Headers {
				if _, twice := got[h.Key]; twice || len(h.Value) == 0 {
					t.Errorf("%d: header %s is there twice, or empty", i, h.Key)
				}
				got[h.Key] = string(h.Value)
			}
			want := map[string]string{
				"ce_id": e.ID.String(), "ce_source": e.Source, "ce_specversion": "1.0", "ce_type": string(e.Data.Type()),
				"ce_time": e.Time.Format("2006-01-02T15:04:05.000Z"), "ce_subject": e.Subject.String(), "ce_tenant": e.Tenant,
				"ce_message": e.Message.String(), "ce_after": e.After.String(), "ce_node": e.Node,
				"content-type": "application/cloudevents+json; charset=UTF-8",
			}
			if e.Control != 0 {
				want["ce_control"] = "7"
			}
			for name, value := range want {
				if got[name] != value {
					t.Errorf("%d: %s is %q, want %q", i, name, got[name], value)
				}
				delete(got, name)
			}
			if len(got) != 0 {
				t.Errorf("%d: and there is %v", i, got)
			}
		}
	})
}

// No batch is larger than what the topics must take.
func TestBatchSize(t *testing.T) {
	long := strings.Repeat("é", 100)
	smallest := &event.Event{ID: event.NewID(time.Now()), Source: "/x", Time: event.Millis(time.Now()), Data: &event.MessageExpired{}}
	wide := &event.Event{ID: event.NewID(time.Now()), Source: "/" + long, Time: event.Millis(time.Now()), Tenant: long, Node: long,
		Message: event.NewID(time.Now()), After: event.NewID(time.Now()), Control: math.MaxInt64, Subject: event.Pseudonym{1}, Data: &event.MessageExpired{}}
	largest := logtest.Events(1, 1)[0]
	largest.Tenant = strings.Repeat("t", event.MaxSize-3000)
	for name, e := range map[string]*event.Event{"smallest": smallest, "wide": wide, "largest": largest} {
		raw := encoded(t, e)
		n := max(1, maxBatch/len(raw))
		events, raws := make([]*event.Event, n), make([][]byte, n)
		for i := range events {
			events[i], raws[i] = e, raw
		}
		var b kmsg.RecordBatch
		if err := b.ReadFrom(makeBatch(events, raws, time.Now())); err != nil {
			t.Fatal(err)
		}
		records, err := decompressor.Decompress(b.Records, kgo.CompressionCodecType(b.Attributes&7))
		if err != nil {
			t.Fatal(err)
		}
		if size := len(records) + batchHeader; size > minMessageBytes {
			t.Errorf("%d events of %d bytes, %s, make a batch of %d, more than %d", n, len(raw), name, size, minMessageBytes)
		}
	}
}

func TestAdvance(t *testing.T) {
	for _, c := range []struct {
		from int32
		n    int
		want int32
	}{{0, 0, 0}, {0, 5, 5}, {math.MaxInt32, 1, 0}, {math.MaxInt32 - 1, 1, math.MaxInt32}, {math.MaxInt32 - 2, 5, 2}} {
		if got := advance(c.from, c.n); got != c.want {
			t.Errorf("%d and %d more is %d, want %d", c.from, c.n, got, c.want)
		}
	}
}
