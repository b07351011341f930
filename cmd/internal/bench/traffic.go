package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
)

// Number is a different US number each time: the purpose of the run is that
// every recipient is a new stream.
func Number(n int) string {
	areas := []int{212, 312, 415, 602, 713, 404, 617, 206, 303, 305}
	exchange := 220 + n/10_000%700
	if exchange%100 == 11 || exchange == 555 {
		exchange++
	}
	return fmt.Sprintf("+1%d%03d%04d", areas[n/7_000_000%len(areas)], exchange, n%10_000)
}

// countries are those of a mixture: recipient n is in country n modulo 5. Outside the United States the numbers
// are of ranges that no operator has: the number metadata does not know them, and the number rules take them by
// their length.
var countries = []func(n int) string{
	Number,
	func(n int) string { return fmt.Sprintf("+49154%08d", n) },
	func(n int) string { return fmt.Sprintf("+35320%07d", n) },
	func(n int) string { return fmt.Sprintf("+3160%07d", n) },
	func(n int) string { return fmt.Sprintf("+3475%07d", n) },
}

// inCodes reports whether a recipient of a mixture is sent one-time codes. Those are the recipients in the United States:
// marketing there waits for the morning, and a run would measure another thing by day than by night.
func inCodes(recipient int) bool { return recipient%len(countries) == 0 }

// Shares of a mixture, in percent.
const (
	knownShare = 30 // messages to recipients texted before
	keyedShare = 50 // messages with an idempotency key
	longShare  = 10 // messages that are too long for one SMS
)

// message is a message to be submitted.
type message struct {
	recipient         int // its number, counted from 0
	to, program, body string
	key               string // its idempotency key; "" for none
}

// request is the body of the submit.
func (m *message) request() []byte {
	b := append(make([]byte, 0, 400), `{"to":`...)
	b = strconv.AppendQuote(b, m.to) // all of it is plain ASCII
	b = strconv.AppendQuote(append(b, `,"program":`...), m.program)
	b = strconv.AppendQuote(append(b, `,"body":`...), m.body)
	return append(b, '}')
}

// traffic says who is texted next, and what. One goroutine at a time uses it.
type traffic struct {
	mix     bool
	program string // of messages that are no mixture
	rng     *rand.Rand
	// Recipients from oldest up to before newest were texted before.
	oldest, newest int
}

// remembered is what a later run over a ledger must know of the traffic in it: recipients from Oldest up to before
// Newest of a mixture, or of none, are in the ledger.
type remembered struct {
	Mix    bool `json:"mix"`
	Oldest int  `json:"oldest"`
	Newest int  `json:"newest"`
}

const rememberedFile = "traffic.json"

// newTraffic goes on with the traffic of the ledger in dir.
func newTraffic(c *Cmd, dir string) (*traffic, error) {
	t := &traffic{mix: c.Mix, program: c.Purpose}
	raw, err := os.ReadFile(filepath.Join(dir, rememberedFile))
	if err == nil {
		var r remembered
		if err := json.Unmarshal(raw, &r); err != nil {
			return nil, fmt.Errorf("%s: %w", rememberedFile, err)
		}
		if t.oldest, t.newest = r.Oldest, r.Newest; r.Mix != c.Mix {
			t.oldest = r.Newest // those of the other kind have other numbers
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	t.rng = rand.New(rand.NewPCG(c.Seed, uint64(t.newest)))
	return t, nil
}

// remember is for a later newTraffic.
func (t *traffic) remember(dir string) error {
	raw, err := json.Marshal(remembered{Mix: t.mix, Oldest: t.oldest, Newest: t.newest})
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, rememberedFile), append(raw, '\n'), 0o600)
}

// known is how many recipients were texted before.
func (t *traffic) known() int { return t.newest - t.oldest }

// next is the next message. It is for no recipient that is busy; nil: none is.
func (t *traffic) next(busy func(to string) bool) message {
	if !t.mix {
		n := t.newest
		t.newest++
		return message{recipient: n, to: Number(n), program: t.program, body: "Your statement for November is ready. Sign in to read it: example.com/s"}
	}
	n, isKnown := t.newest, false
	if t.known() > 0 && t.rng.IntN(100) < knownShare {
		n, isKnown = t.oldest+t.rng.IntN(t.known()), true
		for tries := 0; busy != nil && busy(number(n)) && isKnown; tries++ {
			if n = t.oldest + t.rng.IntN(t.known()); tries == 10 {
				n, isKnown = t.newest, false
			}
		}
	}
	if !isKnown {
		t.newest++
	}
	m := message{recipient: n, to: number(n), program: "marketing"}
	order := t.rng.IntN(900_000) + 100_000
	two := t.rng.IntN(100) < longShare
	switch {
	case inCodes(n):
		m.program = "otp"
		m.body = fmt.Sprintf("%d is your code to sign in to Example Bank. It is valid for 10 minutes. We never ask for it.", order)
	case two:
		m.body = fmt.Sprintf("Example Bank: this week our savings account pays 3 %% in the first year, and the card that belongs to it costs nothing. Offer %d ends on Sunday. Read more at example.com/o or in each branch. Reply STOP to end these texts.", order)
	default:
		m.body = fmt.Sprintf("Example Bank: offer %d of this week, a card that costs nothing in its first year. Read more: example.com/o Reply STOP to end", order)
	}
	if t.rng.IntN(100) < keyedShare {
		m.key = fmt.Sprintf("order-%d-%016x", order, t.rng.Uint64())
	}
	return m
}

// number is the phone number of a recipient of a mixture.
func number(recipient int) string {
	return countries[recipient%len(countries)](recipient / len(countries))
}
