package client

import (
	"fmt"
	"testing"
	"time"

	"github.com/linxGnu/gosmpp/data"
	"github.com/linxGnu/gosmpp/pdu"

	"github.com/chirograph/chirograph/adapters/smpp/wire"
)

// centreModel answers the submits of an account in simulated time, after a fixed time each. With a
// limit it throttles what comes faster.
type centreModel struct {
	a      *account
	answer time.Duration
	limit  float64

	open      []openAt
	tokens    float64
	last      time.Time
	taken     []time.Time
	order     []uint32
	throttled int
}

type openAt struct {
	s      *session
	seq    int32
	status data.CommandStatusType
	at     time.Time
}

// boundAccount is an account whose binds are all up at epoch.
func boundAccount(t testing.TB, cfg Config) *account {
	t.Helper()
	a := newAccount(cfg)
	for _, s := range a.sessions {
		s.connected(epoch)
		out := write(s, epoch)
		s.receive(response(wire.Response(out[0].CommandID), 0, out[0].SequenceNumber, ""), nil, epoch)
		if s.phase != bound {
			t.Fatalf("phase %d", s.phase)
		}
	}
	a.take()
	return a
}

// step writes what there is to write, and answers what is due.
func (c *centreModel) step(now time.Time) {
	rest := c.open[:0]
	for _, o := range c.open {
		if o.at.After(now) {
			rest = append(rest, o)
			continue
		}
		o.s.receive(response(data.SUBMIT_SM_RESP, o.status, o.seq, fmt.Sprint(o.seq)), nil, now)
	}
	c.open = rest
	c.a.flow(now)
	for _, s := range c.a.sessions {
		buf, _ := s.flush(nil, now)
		if len(buf) > 0 {
			s.wrote(len(buf), nil, now)
		}
		for _, p := range frames(buf) {
			if p.CommandID != data.SUBMIT_SM {
				continue
			}
			status := data.ESME_ROK
			if c.limit > 0 {
				c.tokens = min(c.tokens+now.Sub(c.last).Seconds()*c.limit, max(1, c.limit/10))
				if c.last = now; c.tokens < 1 {
					status = data.ESME_RTHROTTLED
					c.throttled++
				} else {
					c.tokens--
				}
			}
			if status == data.ESME_ROK {
				c.taken = append(c.taken, now)
				b := p.Message.TLVs[pdu.TagUserMessageReference].Data
				c.order = append(c.order, uint32(b[0])<<8|uint32(b[1]))
			}
			c.open = append(c.open, openAt{s, p.SequenceNumber, status, now.Add(c.answer)})
		}
		s.tick(now)
	}
	for _, x := range c.a.take().answers {
		x.done(x.result)
	}
}

// TestRates offers nine messages at once, each granted as the dispatcher does it: as soon as its first
// part can go. They must leave in order, completely, and within 5 % of the ideal time (and what one
// step of the simulation takes for each answer that a window waits for).
func TestRates(t *testing.T) {
	const messages, tick, answer = 9, time.Millisecond, 20 * time.Millisecond
	for _, tps := range []float64{1, 2, 5, 10, 40, 100, 200} {
		for parts := 1; parts <= 6; parts++ {
			for _, window := range []int{1, 2, 10} {
				for _, binds := range []int{1, 4} {
					cfg := testConfig()
					cfg.TPS, cfg.Window, cfg.Binds = tps, window, binds
					c := &centreModel{a: boundAccount(t, cfg), answer: answer}
					next, done := 0, 0
					now := epoch
					for ; done < messages*parts; now = now.Add(tick) {
						if now.Sub(epoch) > time.Hour {
							t.Fatalf("%v a second, %d parts, window %d: %d of %d after an hour", tps, parts, window, done, messages*parts)
						}
						for next < messages {
							ok, at := c.a.takes(0, now)
							if !ok {
								if !at.IsZero() && at.Sub(now) > time.Duration(float64(parts)/tps*float64(time.Second))+time.Second {
									t.Fatalf("asked to look in %v", at.Sub(now))
								}
								break
							}
							if pace := c.a.pace(parts, now); pace < 0 || pace > time.Duration(float64(parts+len(c.a.queue)+1)/tps*float64(time.Second))+ahead+time.Duration(parts+1)*answer*2 {
								t.Fatalf("%v a second, %d parts: a pace of %v", tps, parts, pace)
							}
							for i := range parts {
								h := handoff(next*parts + i)
								octets, err := submitSM(h, cfg)
								if err != nil {
									t.Fatal(err)
								}
								c.a.submit(&submit{octets: octets, callBy: now.Add(time.Hour), answerBy: now.Add(2 * time.Hour), done: func(r result) {
									if r.outcome != accepted {
										t.Fatalf("%+v", r)
									}
									done++
								}}, now)
							}
							next++
						}
						c.step(now)
					}
					total := messages * parts
					byRate := time.Duration(float64(total-1) / tps * float64(time.Second))
					byWindow := time.Duration((total-1)/(window*binds)) * answer
					ideal := max(byRate, byWindow)
					took := c.taken[len(c.taken)-1].Sub(epoch)
					if slack := ideal/20 + time.Duration(total/(window*binds)+2)*tick; took > ideal+slack || byRate > 0 && took < byRate-burst-tick {
						t.Errorf("%v a second, %d parts, window %d of %d: took %v, ideal %v", tps, parts, window, binds, took, ideal)
					}
					for i, ref := range c.order {
						if int(ref) != i && binds == 1 { // several binds have no order among them
							t.Fatalf("part %d left as number %d", ref, i)
						}
					}
					// No second has more than the rate and what a bucket holds.
					for i, at := range c.taken {
						n := 0
						for _, other := range c.taken[i:] {
							if other.Sub(at) < time.Second {
								n++
							}
						}
						if most := tps + max(1, tps*burst.Seconds()); float64(n) > most {
							t.Fatalf("%v a second: %d within one", tps, n)
						}
					}
				}
			}
		}
	}
}

// TestThrottledRates: a carrier that takes less than the configuration says, or than no limit, is offered what it
// takes and a little more, and the node comes back to the rate that it had.
func TestThrottledRates(t *testing.T) {
	const tick, lasts = 5 * time.Millisecond, 2 * time.Minute
	for _, limit := range []float64{1, 5, 20, 100, 200} {
		for _, configured := range []float64{0, 2 * limit} {
			cfg := testConfig()
			cfg.TPS, cfg.Window = configured, 50
			c := &centreModel{a: boundAccount(t, cfg), answer: 20 * time.Millisecond, limit: limit}
			now := epoch
			offer := func(until time.Time) {
				for ; now.Before(until); now = now.Add(tick) {
					if ok, _ := c.a.takes(0, now); ok && len(c.a.queue) < 5 {
						octets, _ := submitSM(handoff(1), cfg)
						c.a.submit(&submit{octets: octets, callBy: now.Add(time.Hour), answerBy: now.Add(2 * time.Hour), done: func(result) {}}, now)
					}
					c.step(now)
				}
			}
			offer(epoch.Add(10 * time.Second)) // to find the rate
			c.taken, c.throttled = nil, 0
			offer(now.Add(lasts))
			share := float64(len(c.taken)) / (limit * lasts.Seconds())
			refused := float64(c.throttled) / float64(len(c.taken)+c.throttled)
			t.Logf("the carrier takes %v a second, configured %v: %.0f %% of it used, %.0f %% of submits throttled", limit, configured, 100*share, 100*refused)
			if share < 0.65 || refused > 0.15 {
				t.Errorf("the carrier takes %v a second, configured %v: %.0f %% of it used, %.0f %% of submits throttled", limit, configured, 100*share, 100*refused)
			}
			c.limit = 0
			offer(now.Add(2 * time.Minute))
			if c.a.rate.limit != configured {
				t.Errorf("two minutes after the last throttling the limit is %v, it was %v", c.a.rate.limit, configured)
			}
		}
	}
}
