package event

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

const docs = "../../docs/events.md"

// docs/events.md is written from the comments in types.go, the examples, and the words
// here.
func TestDocs(t *testing.T) {
	want := events(t)
	if *update {
		if err := os.WriteFile(docs, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(docs)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("docs/events.md is not what the code says; write it anew with: go test ./domain/event -update")
	}
}

var kinds = map[Kind]string{
	Fact:    "a fact: effective unless it is a repeat",
	Request: "a request: a fact whose effect follows from where it landed",
	Outcome: "an outcome: effective only under the rule above",
	Control: "a fact on the control stream",
	Audit:   "a fact on the audit log",
}

// attributes say what each attribute of the envelope holds.
var attributes = map[string]string{
	"specversion": "1.0",
	"id":          "a UUID (version 7), made once by the node that observed the fact; a copy has the same id. A submit's id is the message's id, and has its partition in the 12 bits after the version",
	"source":      `the ledger: "/" and its short id`,
	"type":        "the type and its version",
	"subject":     "the stream: the pseudonym of tenant and recipient; none on the control stream and the audit log",
	"time":        "the writer's clock, UTC, in whole milliseconds",
	"tenant":      "the tenant that the event belongs to; none for an operator's",
	"message":     "the message that the event is about; none for a submit",
	"after":       "outcomes only: of the stream's effective events that can change a decision, the last one when this was decided",
	"control":     "outcomes only: the control position (from 1) under which it was decided",
	"node":        "the node that wrote it",
	"data":        "what an event of this type carries",
}

// comment is what types.go says of a type.
type comment struct {
	doc  string
	list []field
	// fields are the comments by the fields' JSON names.
	fields map[string]string
}

type field struct{ name, typ, doc string }

func comments(t testing.TB) map[string]comment {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "types.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]comment{}
	for _, d := range file.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.TYPE {
			continue
		}
		spec := g.Specs[0].(*ast.TypeSpec)
		c := comment{doc: one(g.Doc.Text()), fields: map[string]string{}}
		if s, ok := spec.Type.(*ast.StructType); ok {
			for _, f := range s.Fields.List {
				name, _, _ := strings.Cut(reflect.StructTag(strings.Trim(f.Tag.Value, "`")).Get("json"), ",")
				c.list = append(c.list, field{name, typeName(f.Type), one(f.Doc.Text())})
				c.fields[name] = one(f.Doc.Text())
			}
		}
		out[spec.Name.Name] = c
	}
	return out
}

func one(s string) string { return strings.Join(strings.Fields(s), " ") }

// typeName says how a Go type is written in JSON.
func typeName(x ast.Expr) string {
	switch x := x.(type) {
	case *ast.Ident:
		switch x.Name {
		case "int", "int64", "uint16", "SealVersion":
			return "number"
		case "bool":
			return "true, or left out"
		case "string":
			return "text"
		case "ID":
			return "id"
		case "DecisionOutcome", "Fault", "Source", "InboundAsk", "MessageState", "Grade", "Match", "HoldReason", "UnplacedReason", "ReviewOutcome", "ExportState":
			return "text" // its words stand in its description
		case "Place", "Clock", "Scope":
			return "text (" + x.Name + ")"
		}
		return x.Name
	case *ast.ArrayType:
		if id, ok := x.Elt.(*ast.Ident); ok && id.Name == "byte" {
			return "base64"
		}
		return "list of " + typeName(x.Elt)
	case *ast.MapType:
		return "texts by name"
	case *ast.StarExpr:
		return typeName(x.X)
	case *ast.SelectorExpr:
		return "time"
	}
	return "?"
}

// turns are the types that can change a decision, and when.
var turns = []struct {
	typ  Type
	when string
}{
	{"OptedOut.v1", ""},
	{"SuppressionLifted.v1", ""},
	{"InboundReceived.v1", "if it has `revokes`, or `holds` and `concat`"},
	{"InboundReceived.v2", "if it is a stop, or has `holds`"},
	{"InboundHeld.v1", ""},
	{"InboundJoined.v1", ""},
	{"ReviewResolved.v1", ""},
	{"MessageRecovered.v1", ""},
	{"CancelRequested.v1", "if its message was unsent (it is then cancelled), sending or in doubt"},
}

func events(t *testing.T) []byte {
	t.Helper()
	said := comments(t)
	var b bytes.Buffer
	write := func(format string, a ...any) { fmt.Fprintf(&b, strings.ReplaceAll(format, "´", "`"), a...) }
	table := func(fields []field) {
		write("| field | type | holds |\n| --- | --- | --- |\n")
		for _, f := range fields {
			write("| ´%s´ | %s | %s |\n", f.name, f.typ, strings.ReplaceAll(f.doc, "|", "\\|"))
		}
	}
	write(`# The events

<!-- Made from domain/event by: go test ./domain/event -update -->

The events that a ledger holds. Each event is one CloudEvents 1.0 JSON object, stored as exactly these bytes: fields in the order
below, empty ones left out. Its [position](glossary.md#position) (partition, and index without gaps) is not inside. Words in a special sense are in the
[glossary](glossary.md).

- [The envelope](#the-envelope)
- [Effective and void](#effective-and-void): the rule that every reader of the raw log must apply
- [The audit log](#the-audit-log)
- [The schemas](#the-schemas)
- [In Kafka](#in-kafka): what a record looks like
- [In EventStoreDB](#in-eventstoredb): what a stored event looks like
- [The types](#the-types), each with an example

## The envelope

| field | holds |
| --- | --- |
`)
	for f := range reflect.TypeFor[envelope]().Fields() {
		name := f.Tag.Get("json")
		if attributes[name] == "" {
			t.Errorf("it is not said what the attribute %s holds", name)
		}
		write("| ´%s´ | %s |\n", name, attributes[name])
	}
	write(`
## Effective and void

An event in the log is effective, or it is void and changes nothing.

- A [fact](glossary.md#fact) is void only as a *repeat*: an event with its id was taken within the last 24 hours of the log's own time (from format level 3 on: and is among the last 512 facts of its stream).
- A ´ControlApplied´ is void as *overtaken* if its position is not higher than the partition's.
- An [outcome](glossary.md#outcome) is void for one of four reasons:
  - *repeat*: it is a copy of the stream's last event that can change a decision;
  - *overtaken*: its ´after´ is not that last event, or its ´control´ is not the partition's;
  - *settled*: its message's state does not allow it;
  - *late*: its own time lies past what was allowed.

An example, with the positions of one stream:

| position | event | is |
| --- | --- | --- |
| ´07-1200´ | ´MessageSubmitted´ | effective |
| ´07-1210´ | ´OptedOut´ | effective; it is now the last event that can change a decision |
| ´07-1211´ | ´MessageDecided´ allow, decided before the opt-out was read: its ´after´ is empty | void, *overtaken* |
| ´07-1214´ | ´MessageDecided´ deny, its ´after´ names ´07-1210´'s event | effective |

**A reader of the raw log must apply the rule to tell an effective outcome from a void one.** Nothing in a record says which
it is: two nodes may both have decided, and both events stay. In short, partition by partition, in order of positions:

1. *The partition's control* is the highest ´position´ of a ´ControlApplied´ so far, 0 before the first.
2. *A stream's last* is the id of its last effective event that can change a decision; none before the first. These can:
`)
	for _, turn := range turns {
		if !turn.typ.known() {
			t.Errorf("there is no %s that changes a decision", turn.typ)
		}
		write("   - ´%s´%s\n", turn.typ, strings.TrimRight(" "+turn.when, " "))
	}
	var outcomes []string
	for _, e := range examples() {
		if e.Data.Type().Kind() == Outcome {
			outcomes = append(outcomes, "`"+e.Data.Type().Name()+"`")
		}
	}
	write("   - each outcome: %s\n", strings.Join(outcomes, ", "))
	write(`3. An outcome is void if its ´control´ is not the partition's, or its ´after´ is not the stream's last (a field that is left
   out is 0, or none). A void event is never the last; an outcome that was decided after a void event is void too.
4. An outcome is void if its message's state does not allow it. These are allowed, for example:
   - a decision, while the message is unsent and no allow stands;
   - a route, while an allow stands;
   - a start, after its route under the same allow, as the next attempt, for exactly the parts that may be sent;
   - in doubt, for a start that has unanswered parts.

   Every allow ends with a fact that can change a decision, and with a new control position.
5. An outcome is void if its ´time´ is late: a decision or a route at or after ´valid_until´ or the allow's ´until´; a start at or after
   its own ´call_by´, or with a ´call_by´ after the allow's ´until´, or with an ´answer_by´ not after its ´call_by´.

This is the short form; the rule itself is ´domain/recipient´. If you can, let Chirograph apply it: ´chirograph audit verify´ applies the rule to
the whole ledger, and every view, answer and command of Chirograph says *effective*, or *void* and why.

## The audit log

A ledger has three logs beside the recipients' partitions: *control*, the *inbox* and *audit*. The audit log says who looked at the ledger: which API
key was shown personal data in clear, which keys were used, and which exports were asked for, made, downloaded and deleted. Its positions are ´audit-0´, ´audit-1´ and
so on. Its events stand in no other log, and no other events stand in it.

- Each event is a fact of one tenant, or of the operator if it has no ´tenant´. It has no ´subject´, no ´message´, and no phone number or text of a message. A
  recipient in it is a pseudonym.
- No decision depends on it. A node does not read it when it starts, so it may become long. If it cannot be written for a while, messages are sent all the same.
- It may be written at every [format level](operations.md#the-format-level): a version that does not know it never reads it.
- An event whose append was not answered may stand there twice, with one ´id´. Count it once.

## The schemas

Each type has a JSON Schema (2020-12) in [schemas](schemas). Every event that this version writes fits its schema, envelope and
data. An empty value is left out, never written: there is no ´""´, no ´0´, no ´false´, no ´[]´ and no ´null´. ´required´ lists the fields that are
always there. A schema tells an event from a record that is no event; it does not tell an effective event from a void one. A later version
may allow more (a new fault, a new state). If a field is removed or changes its meaning, the type gets a new version.

`)
	b.Write(kafka(t))
	b.Write(eventStoreDB(t))
	write("\n## The types\n")
	for _, e := range examples() {
		typ := e.Data.Type()
		c := said[reflect.TypeOf(e.Data).Elem().Name()]
		write("\n### ´%s´\n\n%s\n\nKind: %s. Schema: [%s](schemas/%s.json).\n\n", typ, c.doc, kinds[typ.Kind()], typ, typ)
		if len(c.list) > 0 {
			table(c.list)
		} else {
			write("It carries nothing.\n")
		}
		raw, err := Encode(e)
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString("\n```json\n" + string(raw) + "\n```\n")
	}
	write("\n## What they are made of\n")
	for _, name := range []string{"Sealed", "Reach", "Check", "StartedPart", "Concat", "HeldStream", "Route", "DataRead", "KeyCalls", "LostEvents", "KnownHandoff"} {
		write("\n### %s\n\n%s\n\n", name, said[name].doc)
		table(said[name].list)
	}
	write("\n## Inside the sealed boxes\n")
	for _, name := range []string{"Content", "Evidence", "Inbound"} {
		write("\n### %s\n\n%s\n\n", name, said[name].doc)
		table(said[name].list)
	}
	return b.Bytes()
}

// kafkaPartitions and kafkaOffset are where the example of a record stands.
const (
	kafkaPartitions = 16
	kafkaOffset     = 1234
)

// kafkaExample is an event as a record of a ledger of 16 partitions: its message's id
// and its stream lie in the same one.
func kafkaExample() *Event {
	var e Event
	for _, x := range examples() {
		if _, ok := x.Data.(*HandoffAccepted); ok {
			e = *x
		}
	}
	e.Message.setPartition(e.Subject.Partition(kafkaPartitions))
	return &e
}

// kafkaHeaders are the headers of an event's record, in order.
func kafkaHeaders(e *Event) (out [][2]string) {
	add := func(k, v string) {
		if v != "" {
			out = append(out, [2]string{k, v})
		}
	}
	add("ce_id", e.ID.String())
	add("ce_source", e.Source)
	add("ce_specversion", "1.0")
	add("ce_type", string(e.Data.Type()))
	add("ce_time", e.Time.Format("2006-01-02T15:04:05.000Z"))
	add("ce_subject", e.Subject.String())
	add("ce_tenant", e.Tenant)
	add("ce_message", e.Message.String())
	add("ce_after", e.After.String())
	if e.Control != 0 {
		add("ce_control", fmt.Sprint(e.Control))
	}
	add("ce_node", e.Node)
	add("content-type", "application/cloudevents+json; charset=UTF-8")
	return out
}

// kafka says how an event looks as a record. kcat_test.go, at the root, compares the
// example with what kcat prints.
func kafka(t *testing.T) []byte {
	t.Helper()
	e := kafkaExample()
	raw, err := Encode(e)
	if err != nil {
		t.Fatal(err)
	}
	p := Position{Partition(e.Subject.Partition(kafkaPartitions)), kafkaOffset}
	var names, headers []string
	for _, h := range kafkaHeaders(&Event{ID: e.ID, Source: "/", Subject: e.Subject, Time: e.Time, Tenant: "t", Message: e.ID, After: e.ID, Control: 1, Node: "n", Data: e.Data}) {
		names = append(names, "`"+h[0]+"`")
	}
	for _, h := range kafkaHeaders(e) {
		headers = append(headers, h[0]+"="+h[1])
	}
	for name := range attributes {
		if name != "data" && !slices.Contains(names, "`ce_"+name+"`") {
			t.Errorf("a record has no copy of %s", name)
		}
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, strings.ReplaceAll(`## In Kafka

With Kafka as the log, a ledger is four topics, under the prefix that is configured (´chirograph´ by default):

| topic | holds | partitions |
| --- | --- | --- |
| ´chirograph.ledger´ | the recipients' streams | as many as the ledger was created with |
| ´chirograph.control´ | the control stream | 1 |
| ´chirograph.inbox´ | what came from a carrier and belongs to no stream yet | 1 |
| ´chirograph.audit´ | [the audit log](#the-audit-log) | 1 |

A record is a CloudEvent in the structured content mode of the CloudEvents Kafka protocol binding 1.0 (§3.3), with the
binary mode's headers as copies (§3.3.3):

| of the record | is |
| --- | --- |
| key | the subject, 32 hexadecimal digits; null for an event without one |
| value | the event's exact bytes. Only they count: they are what is hashed, folded and proved |
| headers | copies for programs that filter and trace, one for each attribute that the event has: %s |
| timestamp | the event's ´time´ |
| partition, offset | the position: ´%s´ is offset %d of partition %d of ´chirograph.ledger´, ´control-3´ offset 3 of ´chirograph.control´. Offsets have no gaps |

A stream's partition is the first 64 bits of the subject, as a big-endian
number, modulo the number of partitions. The Kafka client does not choose it. Each partition also has its own copy of each ´ControlApplied´.

`, "´", "`"), strings.Join(names, ", "), p, p.Index, int(p.Partition))
	fmt.Fprintf(&b, `<!-- kcat -->

%[1]ssh
kcat -C -q -b localhost:9092 -t chirograph.ledger -p %[2]d -o %[3]d -c 1 -f '%%p-%%o\n%%k\n%%h\n%%s\n'
%[1]s

prints

%[1]stext
%[2]d-%[3]d
%[4]s
%[5]s
%[6]s
%[1]s

<!-- end -->

`, "```", int(p.Partition), p.Index, e.Subject, strings.Join(headers, ","), raw)
	b.WriteString("With `-J` it prints one JSON object for each record; `payload` is the value.\n\n" +
		"**Warning: the topic holds void outcomes too.** A `MessageDecided` that says allow, or a `HandoffStarted`, may be void.\n" +
		"Apply [the rule](#effective-and-void), or ask Chirograph. Write nothing into these topics: a record\n" +
		"that is no event of the ledger stops its partition until an operator has accepted exactly that record (`RecordAccepted.v1`).\n")
	return b.Bytes()
}

// eventStoreDB says how an event looks there. A test of adapters/eventstorelog compares the
// example with what it writes.
func eventStoreDB(t *testing.T) []byte {
	t.Helper()
	e := kafkaExample()
	metadata := fmt.Sprintf(`{"$correlationId":%q,"$causationId":%q`, e.Subject, e.Message)
	for _, h := range kafkaHeaders(e) {
		if name, ok := strings.CutPrefix(h[0], "ce_"); ok {
			metadata += fmt.Sprintf(",%q:%q", name, h[1])
		}
	}
	p := Position{Partition(e.Subject.Partition(kafkaPartitions)), kafkaOffset}
	var b bytes.Buffer
	fmt.Fprintf(&b, strings.ReplaceAll(`
## In EventStoreDB

With EventStoreDB as the log, each partition is a stream of EventStoreDB, under the name that is configured (´chirograph´ by default):
´chirograph-00´, ´chirograph-01´ and so on for the recipients' streams, ´chirograph-control´, ´chirograph-inbox´ and ´chirograph-audit´. The stream ´chirograph.lease´ does not belong to
the ledger: its newest event says which node serves which partition.

| of the event | is |
| --- | --- |
| stream, revision | the position: ´%s´ is revision %d of ´chirograph-%s´. Revisions have no gaps |
| id | made anew by each write; Chirograph does not read it. The event's own id is in the data |
| type | the type: ´%s´ |
| data | the event's exact bytes, as JSON. Only they count: they are what is hashed, folded and proved |
| metadata | copies for programs that filter and trace: each attribute that the event has, under its name; and before them ´$correlationId´, the subject, and ´$causationId´, the event in ´after´, or else the ´message´ |

If the system projection ´$by_correlation_id´ is enabled, the stream ´$bc-%s´ shows the events of that tenant and recipient.
The metadata of the event above:

<!-- metadata -->

%sjson
%s
%s

The streams hold void outcomes too, as Kafka's topics do. Write nothing into them, and give them no ´$maxCount´, ´$maxAge´ or
´$tb´: EventStoreDB would delete events, and a node does not start on such a ledger.
`, "´", "`"), p, p.Index, p.Partition, e.Data.Type(), e.Subject, "```", metadata+"}", "```")
	return b.Bytes()
}
