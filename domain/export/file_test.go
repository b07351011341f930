package export

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"iter"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/decision"
	"github.com/chirograph/chirograph/domain/event"
	"github.com/chirograph/chirograph/domain/places"
	"github.com/chirograph/chirograph/domain/recipient"
)

var update = flag.Bool("update", false, "write the golden files")

// memory is a temporary file in memory; open counts those that were not closed.
type memory struct {
	bytes.Buffer
	open *int
}

func (m *memory) Rewind() (io.Reader, error) { return &m.Buffer, nil }
func (m *memory) Close() error               { *m.open--; return nil }

func memories(open *int) func() (Spool, error) {
	return func() (Spool, error) { *open++; return &memory{open: open}, nil }
}

type testRules map[string]decision.Rule

func (r testRules) Rule(id string) (decision.Rule, bool) { x, ok := r[id]; return x, ok }

var (
	start = time.Date(2026, 11, 24, 8, 0, 0, 0, time.UTC)
	alice = event.Pseudonym{0x4b, 0x1e, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20}
	bob   = event.Pseudonym{0x90, 0x11, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 0xe5}
)

// testID is an id of that time whose other bits are always the same for n.
func testID(at time.Time, n int) event.ID {
	id := event.Derive(event.ID{}, fmt.Sprint(n))
	ms := at.UnixMilli()
	for i := range 6 {
		id[i] = byte(ms >> (40 - 8*i))
	}
	id[6] = 0x70
	return id
}

// ledgerOf makes a small ledger.
type ledgerOf struct {
	t       *testing.T
	at      time.Time
	n       int
	index   map[event.Partition]int64
	entries []Entry
}

func (l *ledgerOf) add(p event.Partition, after time.Duration, who event.Pseudonym, message event.ID, d event.Data, why recipient.Why, open any) event.ID {
	l.t.Helper()
	l.at = l.at.Add(after)
	l.n++
	e := &event.Event{ID: testID(l.at, l.n), Source: "/k3v9", Subject: who, Time: l.at, Tenant: "acme", Message: message, Node: "a", Data: d}
	raw, err := event.Encode(e)
	if err != nil {
		l.t.Fatal(err)
	}
	x := Entry{Position: event.Position{Partition: p, Index: l.index[p]}, Event: e, Raw: raw, Why: why}
	if l.index[p] += 3; open == "erased" {
		x.Erased = true
	} else if open != nil {
		if x.Opened, err = json.Marshal(open); err != nil {
			l.t.Fatal(err)
		}
	}
	l.entries = append(l.entries, x)
	return e.ID
}

var evil = "=HYPERLINK(\"http://evil.example\";\"click\");=1+1\r\n@SUM(A1)\t+2 <script>alert(1)</script> \u2028'quoted'"

// smallLedger is what the golden file holds.
func smallLedger(t *testing.T) []Entry {
	l := &ledgerOf{t: t, at: start, index: map[event.Partition]int64{-1: 3, 4: 1999, 9: 40}}
	const s, ms = time.Second, time.Millisecond
	sealed := event.Sealed{SubjectKey: testID(start, 900), ClassKey: "message/2026-11", Box: []byte{1, 2, 3}}
	none := event.ID{}
	submit := func(program, purpose string) *event.MessageSubmitted {
		return &event.MessageSubmitted{Program: program, Purpose: purpose, Priority: 6, From: "+15005550100", Country: "US", Places: []event.Place{"US-FL America/New_York"},
			Encoding: "gsm7", Segments: 1, ValidUntil: start.Add(24 * time.Hour), By: "key-1", Sealed: sealed}
	}
	decide := func(outcome event.DecisionOutcome, rule string, optOuts ...event.ID) *event.MessageDecided {
		d := &event.MessageDecided{Outcome: outcome, Until: start.Add(time.Hour), Checks: []event.Check{{Check: "countries", Outcome: event.Allow, Rules: []string{"countries.program"}},
			{Check: "opt_out", Outcome: outcome, Rules: []string{rule}, OptOuts: optOuts}}, Clocks: []event.Clock{"America/New_York 2026-11-24T03:00"},
			ZoneData: "2026b", OptOuts: optOuts, Revision: "2026-11-24", Digest: "5f1d0a9be2c34788a1b2c3d4e5f60718"}
		return d
	}
	route := &event.MessageRouted{Rule: "default", Table: 3, Carrier: "smsc-1", From: "+15005550100", Encoding: "gsm7", Parts: 1}
	begin := func() *event.HandoffStarted {
		return &event.HandoffStarted{Attempt: 1, Parts: []event.StartedPart{{Part: 1, Digest: "5f"}}, CallBy: l.at.Add(5 * s), AnswerBy: l.at.Add(15 * s)}
	}
	send := func(p event.Partition, who event.Pseudonym, m event.ID, id string) {
		l.add(p, 20*ms, who, m, decide(event.Allow, "opt_out.none"), "", nil)
		l.add(p, 5*ms, who, m, route, "", nil)
		l.add(p, 5*ms, who, m, begin(), "", nil)
		l.add(p, 90*ms, who, m, &event.HandoffAccepted{Attempt: 1, Part: 1, Carrier: "smsc-1", CarrierID: id}, "", nil)
	}
	l.add(-1, 0, event.Pseudonym{}, none, &event.Paused{Program: "marketing", Reason: "an incident at the carrier", By: "key-3"}, "", nil)
	body := event.Content{To: "+15005550006", Body: "Your parcel comes today between 14:00 and 15:00. Reply STOP to end.", Reference: "0012"}
	m1 := l.add(4, s, alice, none, submit("delivery", "delivery"), "", body)
	send(4, alice, m1, "00a1f9")
	l.add(4, 3*s, alice, m1, &event.ReceiptReceived{Account: "smsc-1", CarrierID: "00A1F9", Attempt: 1, Part: 1, State: event.StateDelivered, Final: true,
		Error: "000", Grade: event.GradeNetwork, Match: event.MatchZeros, Sealed: sealed}, "", event.Inbound{From: "+15005550006"})
	stop := l.add(4, 60*s, alice, none, &event.InboundReceivedV2{Account: "smsc-1", To: "+15005550100", Ask: event.InboundStop, Match: "STOP", Language: "en",
		Lists: "2026-11-28.5f1d0a9b", Programs: []string{"delivery", "cards"}, Reaches: []event.Reach{{Scope: event.ScopeLegalEntity, Name: "Acme Bank"}}, Read: 7, Sealed: sealed},
		"", event.Inbound{From: "+15005550006", Text: "Stop texting me!"})
	reply := submit("delivery", "compliance_reply")
	reply.By, reply.Answers = "clerk", stop
	m2 := l.add(4, s, alice, none, reply, "", event.Content{To: "+15005550006", Body: "Acme: you are opted out."})
	send(4, alice, m2, "00a1fa")
	m3 := l.add(4, 30*s, alice, none, submit("cards", "marketing"), "", event.Content{To: "+15005550006", Body: "Our new card is here"})
	l.add(4, 10*ms, alice, m3, decide(event.Allow, "opt_out.none"), recipient.Overtaken, nil)
	l.add(4, 10*ms, alice, m3, decide(event.Deny, "opt_out.legal_entity", stop), "", nil)
	quiet := l.add(4, time.Hour, alice, none, &event.OptedOut{Reach: event.Reach{Scope: event.ScopeProgram, Name: "cards"}, Source: "phone", Occurred: l.at.Add(-48 * time.Hour),
		By: "key-2", Sealed: &sealed}, "", event.Evidence{Number: "+15005550006", Text: evil})
	l.add(4, time.Minute, alice, none, &event.SuppressionLifted{Lifts: []event.ID{quiet}, Source: "letter", By: "key-2", Sealed: &sealed}, "",
		event.Evidence{Text: "Letter of 20 November, signed"})
	m4 := l.add(9, s, bob, none, submit("delivery", "delivery"), "", "erased")
	l.add(9, 5*ms, bob, m4, decide(event.Defer, "quiet_hours.night"), "", nil)
	l.add(9, time.Hour, bob, m4, decide(event.Allow, "opt_out.none"), "", nil)
	l.add(9, 5*ms, bob, m4, route, "", nil)
	l.add(9, 5*ms, bob, m4, begin(), "", nil)
	l.add(9, 15*s, bob, m4, &event.HandoffInDoubt{Attempt: 1, Parts: []int{1}, Why: "the carrier did not answer in time"}, "", nil)
	m5 := l.add(9, s, bob, none, submit("delivery", "otp"), "", event.Content{To: "+15005550007", Body: evil})
	send(9, bob, m5, "0012")
	l.add(9, s, bob, m5, &event.ReceiptReceived{Account: "smsc-1", CarrierID: "12", Attempt: 1, Part: 1, State: "undeliverable", Final: true, Error: "027",
		Grade: event.GradeInferred, Match: event.MatchReference, Sealed: sealed}, "", event.Inbound{From: "+15005550007"})
	return l.entries
}

func smallOptions(t *testing.T) Options {
	zone, err := places.BuiltIn().Zone("America/New_York")
	if err != nil {
		t.Fatal(err)
	}
	open := 0
	t.Cleanup(func() {
		if open != 0 {
			t.Errorf("%d temporary files were not closed", open)
		}
	})
	return Options{Zone: zone, Temp: memories(&open),
		Rules: testRules{"opt_out.legal_entity": {ID: "opt_out.legal_entity", Text: "The recipient opted out of all messages of this company.", Citation: "47 CFR 64.1200(a)(10)"},
			"quiet_hours.night": {ID: "quiet_hours.night", Text: "It is night where the recipient may be.", Citation: "47 CFR 64.1200(c)(1)"}},
		Manifest: Manifest{Product: "chirograph test", Ledger: "k3v9", Tenant: "acme", Export: testID(start, 1000), Question: "Everything between acme and the number +15005550006 since 24 November 2026.",
			Scope: json.RawMessage(`{"recipient":"` + alice.String() + `"}`), AskedBy: "key-2", Asked: start.Add(26 * time.Hour), Reason: "complaint 4711", Clear: []string{"message", "words", "evidence"},
			Heads: []string{"04-2100", "09-88", "control-9"}}}
}

func each(all []Entry) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for _, x := range all {
			if !yield(x, nil) {
				return
			}
		}
	}
}

func write(t *testing.T, o Options, all iter.Seq2[Entry, error]) (Result, map[string][]byte, []string) {
	t.Helper()
	var b bytes.Buffer
	r, err := Write(t.Context(), &b, o, all)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(b.Bytes())
	if r.SHA256 != hex.EncodeToString(sum[:]) || r.Size != int64(b.Len()) {
		t.Errorf("the result says %s, %d bytes; the file is %x, %d", r.SHA256, r.Size, sum, b.Len())
	}
	z, err := zip.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	members, order := map[string][]byte{}, []string{}
	for _, f := range z.File {
		in, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		if members[f.Name], err = io.ReadAll(in); err != nil { // it checks the CRC
			t.Fatal(f.Name, err)
		}
		order = append(order, f.Name)
	}
	return r, members, order
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s is not as it was (go test ./domain/export -update writes it)", name)
	}
}

// The file of a small ledger: its members in their order, each as its golden file has it, and the digests in the
// manifest those of the members.
func TestFile(t *testing.T) {
	all := smallLedger(t)
	r, members, order := write(t, smallOptions(t), each(all))
	want := []string{"manifest.json", "README.txt", "report.html", "events.ndjson", "opened.ndjson", "tables/messages.csv", "tables/events.csv", "tables/decisions.csv",
		"tables/handoffs.csv", "tables/receipts.csv", "tables/opt_outs.csv", "tables/inbound.csv", "COLUMNS.txt"}
	if !slices.Equal(order, want) {
		t.Fatalf("the members are %q", order)
	}
	var m Manifest
	if err := json.Unmarshal(members["manifest.json"], &m); err != nil {
		t.Fatal(err)
	}
	if m.Events != int64(len(all)) || m.Void != 1 || m.Erased != 1 || m.Events != r.Manifest.Events || len(m.Members) != len(want)-1 {
		t.Errorf("the manifest counts %d events, %d void, %d erased, %d members", m.Events, m.Void, m.Erased, len(m.Members))
	}
	var raw []byte
	for _, x := range all {
		raw = append(append(raw, x.Raw...), '\n')
	}
	if !bytes.Equal(members["events.ndjson"], raw) {
		t.Error("events.ndjson has not the exact bytes")
	}
	var digests strings.Builder
	for i, x := range m.Members {
		sum := sha256.Sum256(members[x.Name])
		if x.Name != want[i+1] || x.SHA256 != hex.EncodeToString(sum[:]) || x.Size != int64(len(members[x.Name])) {
			t.Errorf("the manifest says %+v of %s, %d bytes, %x", x, want[i+1], len(members[want[i+1]]), sum)
		}
		if rows := bytes.Count(members[x.Name], []byte("\n")); strings.HasSuffix(x.Name, ".ndjson") && (x.Rows == nil || *x.Rows != int64(rows)) {
			t.Errorf("%s has %d lines, not %v", x.Name, rows, x.Rows)
		}
		fmt.Fprintf(&digests, "%s  %s\n", x.SHA256, x.Name)
		if strings.HasSuffix(x.Name, ".csv") {
			checkTable(t, x, members[x.Name])
		}
	}
	golden(t, "digests.txt", []byte(digests.String()))
	golden(t, "report.html", members["report.html"])
	golden(t, "manifest.json", members["manifest.json"])
	golden(t, "README.txt", members["README.txt"])
	golden(t, "messages.csv", members["tables/messages.csv"])
	golden(t, "opt_outs.csv", members["tables/opt_outs.csv"])
}

// checkTable reads a table as RFC 4180 says.
func checkTable(t *testing.T, x Member, raw []byte) {
	t.Helper()
	text, ok := bytes.CutPrefix(raw, []byte(byteOrderMark))
	if !ok {
		t.Errorf("%s begins without its mark", x.Name)
	}
	c := csv.NewReader(bytes.NewReader(text)) // every row must have as many cells as the head
	rows, err := c.ReadAll()
	if err != nil {
		t.Fatal(x.Name, err)
	}
	if x.Rows == nil || int64(len(rows)-1) != *x.Rows {
		t.Errorf("%s has %d rows, not %v", x.Name, len(rows)-1, x.Rows)
	}
	for _, row := range rows {
		for _, cell := range row {
			for _, piece := range regexp.MustCompile("[;\n]").Split(cell, -1) {
				if piece = strings.TrimSpace(piece); piece != "" && strings.ContainsAny(piece[:1], "=+-@") {
					t.Errorf("%s has the cell %q", x.Name, cell)
				}
			}
			if strings.ContainsRune(cell, '\r') {
				t.Errorf("%s has a carriage return in %q", x.Name, cell)
			}
		}
	}
}

// A cell can be read back as docs/export.md says.
func TestCells(t *testing.T) {
	for _, s := range []string{"", "plain words", "=1+1", "+15005550006", "-1", "@x", "'quoted'", "  =1", "a;=b", "a; '=b", "a +b\n-c", "0012", "07-2026", "1e5", "NA", "true", "#N/A",
		"NaN", "12:30", "＝1", "say \"hi\", then go", "•••06", "ACME", "=\n=\n'=", " ", "x ", "$5", "1/2", "null"} {
		b := appendCell(nil, s)
		rows, err := csv.NewReader(strings.NewReader("x," + string(b) + "\n")).Read()
		if err != nil {
			t.Fatal(s, err)
		}
		cell := rows[1]
		if got := regexp.MustCompile(`(^|[;\n])(\s*?)'`).ReplaceAllString(cell, "$1$2"); got != s {
			t.Errorf("%q is written as %q, which reads back as %q", s, cell, got)
		}
		if mistaken(cell) {
			t.Errorf("%q is written as %q, which looks like a number or no value", s, cell)
		}
	}
	if got := string(appendCell(nil, "a\rb\t\x00\x7f\xff")); got != "\"a␍b␉␀␡\ufffd\"" {
		t.Errorf("control characters are written as %q", got)
	}
}

// The same entries and options give the same bytes.
func TestSameBytes(t *testing.T) {
	a, _, _ := write(t, smallOptions(t), each(smallLedger(t)))
	b, _, _ := write(t, smallOptions(t), each(smallLedger(t)))
	if a.SHA256 != b.SHA256 {
		t.Error("the second file is another")
	}
}

// A page runs nothing and loads nothing, whatever is in it.
func TestPageIsInert(t *testing.T) {
	_, members, _ := write(t, smallOptions(t), each(smallLedger(t)))
	page := string(members["report.html"])
	if strings.Contains(page, "<script") || !strings.Contains(page, "&lt;script&gt;") || regexp.MustCompile(`(?i)(src|href)\s*=\s*"(?:[^#])|@import|url\(`).MatchString(page) {
		t.Error("the page has a script, or a link that loads something")
	}
	for _, want := range []string{" nothing was handed off in this file&#39;s scope but the product&#39;s own answer. What came after that is told there.", "stood (until it was lifted at ", "When the person said it is not recorded", "such as the one confirmation of a STOP", "47 CFR 64.1200(a)(10)", "Void: something else about this person was recorded before it",
		"Stop texting me!", "After it had ended at ", "It ends:", "erased: its key was destroyed"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not say %q", want)
		}
	}
}

// Without clear data nothing of it is anywhere, and rows still match by the pseudonym.
func TestMasked(t *testing.T) {
	all := smallLedger(t)
	for i := range all {
		if all[i].Opened == nil {
			continue
		}
		var c map[string]any
		if err := json.Unmarshal(all[i].Opened, &c); err != nil {
			t.Fatal(err)
		}
		kept := map[string]any{}
		for _, k := range []string{"to", "from", "number"} {
			if n, _ := c[k].(string); n != "" {
				kept[k] = n[:5] + "•••" + n[len(n)-2:]
			}
		}
		all[i].Opened, _ = json.Marshal(kept)
	}
	o := smallOptions(t)
	o.Manifest.Clear, o.Manifest.Question = nil, "One recipient."
	_, members, _ := write(t, o, each(all))
	for name, b := range members {
		if bytes.Contains(b, []byte("15005550006")) || bytes.Contains(b, []byte("parcel")) {
			t.Errorf("%s has personal data", name)
		}
	}
	if !bytes.Contains(members["tables/messages.csv"], []byte(alice.String()+`,"'+1500•••06"`)) {
		t.Error("the masked number does not stand beside the pseudonym")
	}
}

// What breaks on the way is an error, and leaves no temporary file.
func TestBreaks(t *testing.T) {
	all := smallLedger(t)
	broken := errors.New("broken")
	try := func(name string, w io.Writer, change func(*Options), entries iter.Seq2[Entry, error]) {
		t.Helper()
		o := smallOptions(t)
		if change != nil {
			change(&o)
		}
		if r, err := Write(t.Context(), w, o, entries); err == nil || r.SHA256 != "" {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
	swapped := slices.Clone(all)
	swapped[3], swapped[4] = swapped[4], swapped[3]
	try("another order", io.Discard, nil, each(swapped))
	try("an event twice", io.Discard, nil, each([]Entry{all[1], all[1]}))
	try("no event", io.Discard, nil, each([]Entry{{Position: all[0].Position}}))
	bad := all[1]
	bad.Opened = json.RawMessage(`{"to":`)
	try("sealed data that is not JSON", io.Discard, nil, each([]Entry{bad}))
	try("entries that fail", io.Discard, nil, func(yield func(Entry, error) bool) { yield(Entry{}, broken) })
	try("a writer that fails", failing{}, nil, each(all))
	try("no temporary file", io.Discard, func(o *Options) {
		n, temp := 0, o.Temp
		o.Temp = func() (Spool, error) {
			if n++; n == 6 {
				return nil, broken
			}
			return temp()
		}
	}, each(all))
	try("a full disk", io.Discard, func(o *Options) {
		temp := o.Temp
		o.Temp = func() (Spool, error) { s, err := temp(); return full{s}, err }
	}, each(all))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Write(ctx, io.Discard, smallOptions(t), each(all)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

type full struct{ Spool }

func (full) Write([]byte) (int, error) { return 0, errors.New("no space on the device") }

// A hand-off after a STOP that is no answer of the product is named as one.
func TestAfterStop(t *testing.T) {
	all := smallLedger(t)
	for _, x := range all {
		if d, ok := x.Event.Data.(*event.MessageSubmitted); ok && d.Purpose == "compliance_reply" {
			d.Purpose = "marketing"
		}
	}
	_, members, _ := write(t, smallOptions(t), each(all))
	if !bytes.Contains(members["report.html"], []byte(" 1 hand-off to the same person began in this file&#39;s scope.")) {
		t.Error("the hand-off after the STOP is not told")
	}
}

// A hand-off after one opt-out has ended is told at the one that still stands, and the other says so.
func TestAfterLift(t *testing.T) {
	all := smallLedger(t)
	last := slices.IndexFunc(all, func(x Entry) bool { return x.Position.Partition == 9 })
	started := all[slices.IndexFunc(all, func(x Entry) bool { _, ok := x.Event.Data.(*event.HandoffStarted); return ok })]
	started.Position.Index = all[last-1].Position.Index + 1
	_, members, _ := write(t, smallOptions(t), each(slices.Insert(all, last, started)))
	for _, want := range []string{"is told at the opt-out or hold at 04-2017.", "After this STOP, beside what is told at the opt-out or hold at 04-2044, 1 hand-off"} {
		if !bytes.Contains(members["report.html"], []byte(want)) {
			t.Errorf("the report does not say %q", want)
		}
	}
}

// docs/export.md names every member and column, and every field of the manifest.
func TestDocument(t *testing.T) {
	doc, err := os.ReadFile("../../docs/export.md")
	if err != nil {
		t.Fatal(err)
	}
	_, members, _ := write(t, smallOptions(t), each(smallLedger(t)))
	_, middle, _ := strings.Cut(string(doc), "\n## `manifest.json`")
	middle, _, _ = strings.Cut("## `manifest.json`"+middle, "\n## What stays")
	for _, x := range [][2]string{{`\| --- \| --- \|\n`, ""}, {`(?m)^\| (.*?) \| (.*) \|$`, "  $1: $2"}, {`\[(.*?)\]\(.*?\)`, "$1"}, {"\\*\\*|(?m)^#+ |^```.*$", ""}, {"`", ""}, {`\\\|`, "|"}} {
		middle = regexp.MustCompile(x[0]).ReplaceAllString(middle, x[1])
	}
	if *update {
		if err := os.WriteFile("COLUMNS.txt", []byte(middle+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if middle+"\n" != columnsText {
		t.Error("COLUMNS.txt is not what docs/export.md says (go test ./domain/export -update writes it)")
	}
	common, _, _ := bytes.Cut(doc, []byte("### `messages.csv`"))
	for name, b := range members {
		file := filepath.Base(name)
		words := []string{file}
		where := common
		if strings.HasSuffix(name, ".csv") {
			head, _, _ := strings.Cut(strings.TrimPrefix(string(b), byteOrderMark), "\r\n")
			words = strings.Split(head, ",")
			_, section, ok := bytes.Cut(doc, []byte("### `"+file+"`"))
			if !ok {
				t.Errorf("docs/export.md has no section of %s", file)
			}
			section, _, _ = bytes.Cut(section, []byte("\n##"))
			where = append(slices.Clip(common), section...)
		}
		if file == "manifest.json" {
			var m map[string]any
			if err := json.Unmarshal(b, &m); err != nil {
				t.Fatal(err)
			}
			for k := range m {
				words = append(words, k)
			}
		}
		for _, w := range words {
			if !bytes.Contains(where, []byte("`"+w+"`")) {
				t.Errorf("docs/export.md does not say what %s is in %s", w, file)
			}
		}
	}
}
