package recipient

import (
	"bufio"
	"encoding/json"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chirograph/chirograph/domain/event"
)

// level1 folds a log of format level 1 that a seed draws. It gives the stream after the first half and at
// the end, as JSON, and the verdicts of all events. resume, if it is not nil, is called after the first
// half and may put another state in place of the stream's.
func level1(t testing.TB, seed uint64, resume func(x *stream)) (half, end, verdicts string) {
	r := rand.New(rand.NewPCG(seed, 3))
	x := newStream(t)
	messages, parts := []event.ID{{9}}, []event.ID{{8}}
	one := func(ids []event.ID) event.ID { return ids[r.IntN(len(ids))] }
	reach := func() event.Reach {
		return []event.Reach{{Scope: event.ScopeLegalEntity, Name: "Acme"}, {Scope: event.ScopeSender, Name: "+1500"}, {Scope: event.ScopeProgram, Name: "news"},
			{Scope: event.ScopeTenant}, {Scope: event.ScopeLegalEntity, Name: "Loans"}}[r.IntN(5)]
	}
	var all []string
	const events = 70
	for i := range events {
		if i == events/2 {
			if half = x.json(); resume != nil {
				resume(x)
			}
		}
		x.pass(time.Duration([]int{1, 900, 900, 6_000, 17_000, 400_000, 90_000_000}[r.IntN(7)]) * time.Millisecond)
		m, num := one(messages), 1+r.IntN(2)
		var none event.ID
		var e *event.Event
		switch k := r.IntN(26); {
		case k < 4:
			d := &event.MessageSubmitted{Program: "news", From: "+1500", Places: []event.Place{"US-FL Z"}, ValidUntil: x.now.Add(time.Hour), PrefersDuplicate: num == 1}
			if len(x.s.Asks) > 0 && num == 1 {
				d.Purpose, d.Answers = "compliance_reply", x.s.Asks[0].Inbound
			}
			e = x.make(none, d)
			messages = append(messages, e.ID)
		case k < 5:
			e = x.make(m, &event.CancelRequested{})
		case k < 7:
			e = x.make(none, &event.OptedOut{Reach: reach(), Source: "phone", Unclear: r.IntN(3) == 0})
		case k < 9:
			d := inbound("stop", 0)
			*d.Revokes, d.Unclear = reach(), r.IntN(3) == 0
			e = x.make(none, d)
		case k < 11:
			e = x.make(none, inbound("start", max(0, x.index-int64(r.IntN(3)))))
		case k < 12:
			e = x.make(none, inbound([]event.InboundAsk{"help", "yes", "none"}[r.IntN(3)], 0))
		case k < 14:
			e = x.make(none, piece(1+r.IntN(2), num, 2))
			parts = append(parts, e.ID)
		case k < 15:
			e = x.make(none, &event.OptedOut{Reach: reach(), Source: "joined", Answers: one(parts), Lifts: []event.ID{one(parts), one(parts)}})
		case k < 17:
			d := &event.SuppressionLifted{Source: "handset", Lifts: []event.ID{one(parts)}}
			if len(x.s.Asks) > 0 {
				d.Lifts, d.Answers = x.s.Asks[0].Lifts, x.s.Asks[0].Inbound
			} else if len(x.s.OptOuts) > 0 {
				d.Lifts = []event.ID{x.s.OptOuts[r.IntN(len(x.s.OptOuts))].Event}
			}
			e = x.make(none, d)
		case k < 20:
			e = x.make(m, x.allow(m))
			e.Data.(*event.MessageDecided).Outcome = []event.DecisionOutcome{"allow", "allow", "defer", "deny", "hold"}[r.IntN(5)]
		case k < 21:
			e = x.make(m, route(2))
		case k < 22:
			e = x.make(m, x.start(1, 1, 2))
		case k < 23:
			e = x.make(m, accepted(1, num))
		case k < 24:
			e = x.make(m, &event.HandoffInDoubt{Attempt: 1, Parts: []int{1, 2}})
		case k < 25:
			e = x.make(m, receipt(1, num, "delivered"))
		case len(x.log) > 0:
			e = x.log[r.IntN(len(x.log))]
		default:
			continue
		}
		all = append(all, string(x.put(e)))
	}
	return half, x.json(), strings.Join(all, " ")
}

// level1Fold is a line of testdata/level1.jsonl. The lines were written by the fold from before there
// were format levels, so they are never written anew.
type level1Fold struct {
	Seed     uint64          `json:"seed"`
	Half     json.RawMessage `json:"half"`
	End      json.RawMessage `json:"end"`
	Verdicts string          `json:"verdicts"`
}

// What format level 1 wrote is folded as it always was; and a snapshot that was written before there were
// levels is read, and has the same future.
func TestLevel1(t *testing.T) {
	f, err := os.Open("testdata/level1.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, 1<<20)
	n := 0
	for ; lines.Scan(); n++ {
		var want level1Fold
		if err := json.Unmarshal(lines.Bytes(), &want); err != nil {
			t.Fatal(err)
		}
		half, end, verdicts := level1(t, want.Seed, nil)
		if verdicts != want.Verdicts {
			t.Errorf("seed %d: the verdicts are\n%s\nand were\n%s", want.Seed, verdicts, want.Verdicts)
		}
		if got := unreplied(half); got != string(want.Half) {
			t.Errorf("seed %d: half-way it is\n%s\nand was\n%s", want.Seed, got, want.Half)
		}
		if got := unreplied(end); got != string(want.End) {
			t.Errorf("seed %d: it becomes\n%s\nand became\n%s", want.Seed, got, want.End)
		}
		_, end, verdicts = level1(t, want.Seed, func(x *stream) {
			x.s = new(State)
			if err := json.Unmarshal(want.Half, x.s); err != nil {
				t.Fatal(err)
			}
		})
		if got := unreplied(end); got != string(want.End) || verdicts != want.Verdicts {
			t.Errorf("seed %d: from the old snapshot it becomes\n%s\nand became\n%s", want.Seed, got, want.End)
		}
	}
	if err := lines.Err(); err != nil || n != 50 {
		t.Errorf("%d folds were read: %v", n, err)
	}
}

// unreplied is a state without what its messages answer: the fold keeps that since there are levels.
func unreplied(state string) string {
	for _, kind := range []AskKind{AskConfirm, AskHelp} {
		state = strings.ReplaceAll(state, `"reply":"`+string(kind)+`",`, "")
	}
	return state
}
