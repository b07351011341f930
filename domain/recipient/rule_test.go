package recipient

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

var optOutOfAll = &event.OptedOut{Reach: event.Reach{Scope: event.ScopeTenant}}

// void is an outcome or a fact that changes nothing. m was submitted before.
type void func(x *stream, m event.ID) Why

func voids(t *testing.T, want Why, all map[string]void) {
	for name, run := range all {
		t.Run(name, func(t *testing.T) {
			x := newStream(t)
			m := x.submit(nil)
			if why := run(x, m); why != want {
				t.Errorf("it is void as %q, not %q", why, want)
			}
		})
	}
}

// TestRepeat: a copy of an event counts once.
func TestRepeat(t *testing.T) {
	voids(t, Repeat, map[string]void{
		"a copy of a fact":   func(x *stream, m event.ID) Why { return x.put(x.log[0]) },
		"a copy of a cancel": func(x *stream, m event.ID) Why { x.must(m, &event.CancelRequested{}); return x.put(x.log[1]) },
		"a copy of the last outcome": func(x *stream, m event.ID) Why {
			x.must(m, x.allow(m))
			return x.put(x.log[1])
		},
		"a copy of a submit, long after": func(x *stream, m event.ID) Why {
			x.pass(2 * RepeatWindow)
			x.must(event.ID{}, optOutOfAll)
			return x.put(x.log[0])
		},
	})
}

// TestOvertaken: something came between that can change a decision.
func TestOvertaken(t *testing.T) {
	voids(t, Overtaken, map[string]void{
		"a copy of an outcome from before": func(x *stream, m event.ID) Why {
			x.must(m, x.allow(m))
			x.must(m, route(1))
			return x.put(x.log[1])
		},
		"decided before an opt-out": func(x *stream, m event.ID) Why {
			d := x.make(m, x.allow(m))
			x.must(event.ID{}, optOutOfAll)
			return x.put(d)
		},
		"started before a lift": func(x *stream, m event.ID) Why {
			x.must(m, x.allow(m))
			x.must(m, route(1))
			d := x.make(m, x.start(1, 1))
			x.must(event.ID{}, &event.SuppressionLifted{})
			return x.put(d)
		},
		"decided under other control": func(x *stream, m event.ID) Why {
			d := x.make(m, x.allow(m))
			x.must(event.ID{}, &event.ControlApplied{Position: 3})
			return x.put(d)
		},
		"older control": func(x *stream, m event.ID) Why {
			x.must(event.ID{}, &event.ControlApplied{Position: 3})
			return x.add(event.ID{}, &event.ControlApplied{Position: 2})
		},
		"the same control": func(x *stream, m event.ID) Why {
			x.must(event.ID{}, &event.ControlApplied{Position: 3})
			return x.add(event.ID{}, &event.ControlApplied{Position: 3})
		},
		"after a cancel that came too late": func(x *stream, m event.ID) Why {
			x.send(m, 1)
			x.must(m, refused(1, 1, true))
			x.must(m, x.allow(m))
			x.must(m, route(1))
			d := x.make(m, x.start(2, 1))
			x.must(m, &event.CancelRequested{})
			return x.put(d)
		},
	})
}

// TestSettled: the state of the message does not allow it.
func TestSettled(t *testing.T) {
	voids(t, Settled, map[string]void{
		"about no message":        func(x *stream, m event.ID) Why { return x.add(event.ID{5}, x.allow(m)) },
		"decided twice":           func(x *stream, m event.ID) Why { x.must(m, x.allow(m)); return x.add(m, x.allow(m)) },
		"decided when cancelled":  func(x *stream, m event.ID) Why { x.must(m, &event.CancelRequested{}); return x.add(m, x.allow(m)) },
		"decided while sending":   func(x *stream, m event.ID) Why { x.send(m, 1); return x.add(m, x.allow(m)) },
		"routed without an allow": func(x *stream, m event.ID) Why { return x.add(m, route(1)) },
		"routed after an allow that an opt-out took back": func(x *stream, m event.ID) Why {
			x.must(m, x.allow(m))
			x.must(event.ID{}, optOutOfAll)
			return x.add(m, route(1))
		},
		"routed after an allow that control took back": func(x *stream, m event.ID) Why {
			x.must(m, x.allow(m))
			x.must(event.ID{}, &event.ControlApplied{Position: 3})
			return x.add(m, route(1))
		},
		"routed for another sender": func(x *stream, m event.ID) Why {
			x.must(m, x.allow(m))
			d := route(1)
			d.From = "+1999"
			return x.add(m, d)
		},
		"started without a route": func(x *stream, m event.ID) Why { x.must(m, x.allow(m)); return x.add(m, x.start(1, 1)) },
		"started twice":           func(x *stream, m event.ID) Why { x.send(m, 1); return x.add(m, x.start(2, 1)) },
		"the wrong attempt": func(x *stream, m event.ID) Why {
			x.must(m, x.allow(m))
			x.must(m, route(1))
			return x.add(m, x.start(2, 1))
		},
		"too few parts": func(x *stream, m event.ID) Why {
			x.must(m, x.allow(m))
			x.must(m, route(2))
			return x.add(m, x.start(1, 1))
		},
		"a part without a digest": func(x *stream, m event.ID) Why {
			x.must(m, x.allow(m))
			x.must(m, route(1))
			d := x.start(1, 1)
			d.Parts[0].Digest = ""
			return x.add(m, d)
		},
		"a duplicate of nothing": func(x *stream, m event.ID) Why {
			x.must(m, x.allow(m))
			x.must(m, route(1))
			d := x.start(1, 1)
			d.Duplicate = true
			return x.add(m, d)
		},
	})
}

// TestSettledWhenSent: the state of a message that was handed off does not allow it.
func TestSettledWhenSent(t *testing.T) {
	voids(t, Settled, map[string]void{
		"in doubt after the answer": func(x *stream, m event.ID) Why {
			x.send(m, 1)
			x.must(m, accepted(1, 1))
			return x.doubt(m, 1, 1)
		},
		"in doubt too early": func(x *stream, m event.ID) Why {
			x.send(m, 1)
			return x.add(m, &event.HandoffInDoubt{Attempt: 1, Parts: []int{1}})
		},
		"in doubt, but for one part": func(x *stream, m event.ID) Why {
			x.send(m, 2)
			x.must(m, accepted(1, 1))
			return x.doubt(m, 1, 1, 2)
		},
		"expired too early": func(x *stream, m event.ID) Why { return x.add(m, &event.MessageExpired{}) },
		"expired when sent": func(x *stream, m event.ID) Why {
			x.send(m, 1)
			x.pass(25 * time.Hour)
			return x.add(m, &event.MessageExpired{})
		},
		"overdue too early": func(x *stream, m event.ID) Why {
			x.send(m, 1)
			x.must(m, accepted(1, 1))
			return x.add(m, &event.ReceiptOverdue{})
		},
		"overdue when never sent": func(x *stream, m event.ID) Why { x.pass(receiptWait); return x.add(m, &event.ReceiptOverdue{}) },
		"decided before send_at": func(x *stream, _ event.ID) Why {
			m := x.submit(func(d *event.MessageSubmitted) { d.SendAt = x.now.Add(time.Minute) })
			return x.add(m, x.allow(m))
		},
		"an attempt after one in doubt": func(x *stream, m event.ID) Why {
			x.send(m, 1)
			x.doubt(m, 1, 1)
			return x.add(m, x.allow(m))
		},
		"a part sent again that was taken meanwhile": func(x *stream, _ event.ID) Why {
			m := x.submit(prefers)
			x.send(m, 2)
			x.doubt(m, 1, 1, 2)
			x.must(m, x.allow(m))
			x.must(m, route(2))
			d := x.start(2, 1, 2)
			d.Duplicate = true
			e := x.make(m, d)
			x.must(m, accepted(1, 1)) // late
			return x.put(e)
		},
		"another number of parts than was taken": func(x *stream, m event.ID) Why {
			x.send(m, 2)
			x.must(m, accepted(1, 1))
			x.must(m, refused(1, 2, true))
			x.must(m, x.allow(m))
			return x.add(m, route(3))
		},
		"a duplicate that does not say so": func(x *stream, _ event.ID) Why {
			m := x.submit(prefers)
			x.send(m, 1)
			x.doubt(m, 1, 1)
			return x.again(m, 2, 1, false, 1)
		},
	})
}

// TestLate: its time is past.
func TestLate(t *testing.T) {
	voids(t, Late, map[string]void{
		"decided past its validity": func(x *stream, m event.ID) Why {
			x.pass(24 * time.Hour)
			return x.add(m, &event.MessageDecided{Outcome: "deny"})
		},
		"an allow that had run out": func(x *stream, m event.ID) Why {
			d := x.allow(m)
			d.Until = x.now
			return x.add(m, d)
		},
		"an allow past the validity": func(x *stream, m event.ID) Why {
			d := x.allow(m)
			d.Until = x.now.Add(25 * time.Hour)
			return x.add(m, d)
		},
		"routed when the allow had run out": func(x *stream, m event.ID) Why {
			x.must(m, x.allow(m))
			x.pass(time.Hour)
			return x.add(m, route(1))
		},
		"started past call_by": func(x *stream, m event.ID) Why {
			x.must(m, x.allow(m))
			x.must(m, route(1))
			d := x.start(1, 1)
			x.pass(5 * time.Second)
			return x.add(m, d)
		},
		"call_by past the allow": func(x *stream, m event.ID) Why {
			x.must(m, x.allow(m))
			x.must(m, route(1))
			d := x.start(1, 1)
			d.CallBy = x.now.Add(time.Hour + time.Millisecond)
			d.AnswerBy = d.CallBy.Add(time.Second)
			return x.add(m, d)
		},
		"answer_by not past call_by": func(x *stream, m event.ID) Why {
			x.must(m, x.allow(m))
			x.must(m, route(1))
			d := x.start(1, 1)
			d.AnswerBy = d.CallBy
			return x.add(m, d)
		},
	})
}

// A void event changes nothing but the time.
func TestVoidChangesNothing(t *testing.T) {
	x := newStream(t)
	m := x.submit(nil)
	x.must(m, x.allow(m))
	before := x.json()
	for _, d := range []event.Data{x.allow(m), x.start(1, 1), &event.MessageExpired{}, &event.ReceiptOverdue{}, &event.HandoffInDoubt{Attempt: 1, Parts: []int{1}}} {
		if x.add(m, d) == "" {
			t.Fatalf("%s is effective", d.Type())
		}
		if x.json() != before {
			t.Fatalf("a void %s changed the stream:\n%s\n%s", d.Type(), before, x.json())
		}
	}
}

// A rule that is changed is changed for its owner alone.
func TestRuleIsAValue(t *testing.T) {
	x := newStream(t)
	m := x.submit(nil)
	mine := Standard()
	mine.State = func(*Message, bool, *event.Event) bool { return true }
	early := x.make(m, &event.MessageExpired{})
	if why := x.put(early); why != Settled {
		t.Errorf("by the standard rule it is %q", why)
	}
	if why := mine.Evolve(x.s, &x.p, x.index, x.make(m, &event.MessageExpired{})); why != "" {
		t.Errorf("without the clause it is %q", why)
	}
	x.status(m, ExpiredUnsent)
}

// The package has no variables: the same events give the same state, whatever ran before.
func TestNoVariables(t *testing.T) {
	files, err := filepath.Glob("*.go")
	below, _ := filepath.Glob("internal/*/*.go")
	if err != nil || len(files) == 0 || len(below) == 0 {
		t.Fatal(files, below, err)
	}
	files = append(files, below...)
	for _, name := range files {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range file.Decls {
			if g, ok := d.(*ast.GenDecl); ok && g.Tok == token.VAR {
				t.Errorf("%s declares a variable", name)
			}
		}
	}
}
