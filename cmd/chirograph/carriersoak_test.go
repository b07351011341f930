package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/linxGnu/gosmpp/data"
	"github.com/linxGnu/gosmpp/pdu"

	"github.com/chirograph/chirograph/adapters/smpp/smsc"
	"github.com/chirograph/chirograph/adapters/smpp/wire"
	"github.com/chirograph/chirograph/api/door"
)

// carrierSoakEnv says how long TestCarrierSurvives cuts binds under load, such as 30m.
const carrierSoakEnv = "CHIROGRAPH_SOAK_SMPP"

// The load of the soak, messages a second; and how many of a hundred messages are of three parts.
const (
	carrierSoakRate = 1500
	carrierSoakLong = 20
)

// soakBinds is how many binds the node has of the account.
const soakBinds = 4

// soakSender is the sender that texts are sent from, and that handsets answer to.
const soakSender = "+12025550101"

// soakMessage is what is known of one message. Its place in the list is in its recipient's number.
type soakMessage struct {
	id       string // "" until the 202
	parts    int8
	taken    [3]int8 // how often the centre took each part
	answered [3]bool // its receipt was acknowledged
	stop     stopState
	status   string // at the end; "" is delivered
}

// stopState is how far a recipient's STOP is.
type stopState int8

const (
	noStop stopState = iota
	stopSent
	stopAcknowledged
)

// carrierSoak is a soak under way.
type carrierSoak struct {
	t    *testing.T
	addr string
	http *http.Client

	mu       sync.Mutex
	messages []soakMessage
	receipts []int // by the centre's id, from 1: the message and the part, as 3·message + part - 1
	// twice are the parts that the centre took more than once, so too.
	twice []int
	stops int // how many were acknowledged

	accepted, retried atomic.Int64
}

// TestCarrierSurvives cuts the binds of a carrier under load, at random, for as long as CHIROGRAPH_SOAK_SMPP says
// (make soak-smpp). At the end every message that was accepted has reached a state that fits what the centre knows of
// it; no part was taken twice; what was acknowledged to the centre is in the ledger; and the memory did not grow.
func TestCarrierSurvives(t *testing.T) {
	long, err := time.ParseDuration(os.Getenv(carrierSoakEnv))
	if err != nil {
		t.Skipf("left out: %s does not say how long binds are cut, such as 30m; `make soak-smpp` does", carrierSoakEnv)
	}
	s := &carrierSoak{t: t, addr: free(t), messages: make([]soakMessage, int(long.Seconds()*carrierSoakRate)),
		http: &http.Client{Timeout: 40 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: soakWorkers + 8}}}
	defer s.http.CloseIdleConnections()
	centre, cuts, stopCentre := s.startCentre()
	defer stopCentre()
	p, dir := s.startNode(cuts.Addr().String())

	began := time.Now()
	before := s.metrics()
	loaded, stopAll := context.WithCancel(context.Background())
	defer stopAll()
	var sides sync.WaitGroup
	sides.Go(func() { s.cutBinds(loaded, cuts) })
	sides.Go(func() { s.sendStops(loaded, centre) })
	var memory []float64
	sides.Go(func() { memory = s.watchMemory(loaded, long) })
	s.load(began)
	took := time.Since(began)
	stopAll()
	sides.Wait()
	s.settle()
	after := s.metrics()

	s.readStatuses()
	doubtful := s.checkMessages()
	s.checkStops()
	s.checkReceipts(after)
	if code := p.stop(); code != 0 {
		t.Errorf("the node's exit code is %d: %s", code, tail(p.text(), 2000))
	}
	if out, code := command(t, dir, "audit", "verify", "--config", "node.yaml"); code != 0 {
		t.Errorf("audit verify: exit %d\n%s", code, tail(out, 4000))
	}
	quarters := s.checkMemory(memory, long)
	s.print(took, cuts, before, after, doubtful, quarters)
}

// startCentre runs the simulated centre in this process.
func (s *carrierSoak) startCentre() (*smsc.Server, *cutter, func()) {
	s.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	var owed sync.Map // by connection and sequence number: what a deliver_sm is
	type request struct {
		c        *cutConn
		sequence int32
	}
	cuts := &cutter{Listener: l, conns: map[*cutConn]bool{}}
	cuts.watch = func(c *cutConn, esme bool, frame []byte) {
		h := pdu.ParseHeader([wire.HeaderLen]byte(frame))
		key := request{c, h.SequenceNumber}
		switch {
		case !esme && h.CommandID == data.DELIVER_SM:
			p, _ := wire.Parse(frame)
			owed.Store(key, p.Message)
		case esme && h.CommandID == data.DELIVER_SM_RESP:
			if m, ok := owed.LoadAndDelete(key); ok && h.CommandStatus == data.ESME_ROK {
				s.acknowledged(m.(*wire.Message))
			}
		}
	}
	// What a slow node does not acknowledge in time is delivered once more, and not often.
	centre := smsc.New(smsc.Config{FirstID: 1, OnMessage: s.arrived, RedeliverAfter: 5 * time.Second, Redeliveries: 10_000})
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- centre.Serve(ctx, cuts) }()
	return centre, cuts, sync.OnceFunc(func() {
		cancel()
		if err := <-served; err != nil {
			s.t.Errorf("the centre: %v", err)
		}
	})
}

// startNode runs the program with a carrier account at an address, and waits until it is ready.
func (s *carrierSoak) startNode(carrier string) (*proc, string) {
	s.t.Helper()
	dir := s.t.TempDir()
	binds := fmt.Sprintf(", binds_per_node: %d", soakBinds)
	config := fmt.Sprintf(`data: data
listen: %s
tenants: [bank]
api_keys:
  - {id: test, sha256: %q, tenant: bank, scopes: [%s]}
carriers:
  - {account: sim, addr: %q, system_id: bank, response_timeout: 2s, enquire_link: 2s%s}
routes:
  - {rule: all, carrier: sim}
programs:
  - {tenant: bank, name: account, legal_entity: Example Bank Ltd, purposes: [account], countries: ["*"], senders: [%q], default: true}
`, s.addr, door.HashKey(clusterKey), strings.Join(door.Scopes(), ", "), carrier, binds, soakSender)
	if err := os.WriteFile(filepath.Join(dir, "node.yaml"), []byte(config), 0o600); err != nil {
		s.t.Fatal(err)
	}
	if out, code := command(s.t, dir, "config", "apply", "node.yaml"); code != 0 {
		s.t.Fatalf("config apply: exit %d\n%s", code, out)
	}
	p := spawn(s.t, dir, "serve", "--config", "node.yaml")
	within(s.t, "the node is ready", func() bool {
		if p.eofed() {
			s.t.Fatalf("the node ended: %s", tail(p.text(), 2000))
		}
		return s.call(http.MethodGet, "/readyz", "").status == http.StatusOK
	})
	return p, dir
}

func (s *carrierSoak) call(method, path, body string, header ...string) httpAnswer {
	return ask(s.t, s.http, s.addr, clusterKey, method, path, body, header...)
}

// soakAreas are area codes in the United States, and soakExchanges what may follow one.
var (
	soakAreas     = []string{"212", "312", "415", "602", "713", "404", "617", "206", "303", "305"}
	soakExchanges = exchanges()
)

func exchanges() (out []int) {
	for n := 220; n < 920; n++ {
		if n%100 != 11 && n != 555 {
			out = append(out, n)
		}
	}
	return out
}

// soakNumber is the recipient of a message, and soakIndex the message of a recipient: each has one of its own.
func soakNumber(n int) string {
	line, rest := n%10_000, n/10_000
	return fmt.Sprintf("+1%s%03d%04d", soakAreas[rest/len(soakExchanges)%len(soakAreas)], soakExchanges[rest%len(soakExchanges)], line)
}

// soakIndex is -1 for a number that is no recipient's.
func soakIndex(number string) int {
	number = strings.TrimPrefix(number, "+")
	if len(number) != 11 {
		return -1
	}
	area := slices.Index(soakAreas, number[1:4])
	exchange, _ := strconv.Atoi(number[4:7])
	at, ok := slices.BinarySearch(soakExchanges, exchange)
	line, err := strconv.Atoi(number[7:])
	if area < 0 || !ok || err != nil {
		return -1
	}
	return (area*len(soakExchanges)+at)*10_000 + line
}

// The texts of the messages: of one part, and of three.
const soakShort = "Your statement for November is ready. Sign in to read it: example.com/s"

var soakLong = soakShort + strings.Repeat(" It lists every payment of the month, with its date.", 5)

// arrived is called by the centre with each submit_sm that it takes.
func (s *carrierSoak) arrived(m smsc.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id, err := strconv.Atoi(m.ID)
	if err != nil {
		s.t.Errorf("the centre took a message as %q", m.ID)
		return
	}
	for len(s.receipts) <= id {
		s.receipts = append(s.receipts, -1)
	}
	n := soakIndex(m.To)
	if m.Parts == 1 && m.Text != soakShort {
		return // it confirms a STOP
	}
	if n < 0 || n >= len(s.messages) || m.Part > 3 {
		s.t.Errorf("the centre received part %d of a message that nobody sent", m.Part)
		return
	}
	part := &s.messages[n].taken[m.Part-1]
	if *part++; *part == 2 {
		s.twice = append(s.twice, 3*n+m.Part-1)
	}
	s.receipts[id] = 3*n + m.Part - 1
}

// acknowledged is called when a deliver_sm was answered with ESME_ROK.
func (s *carrierSoak) acknowledged(m *wire.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, isReceipt := m.TLVs[pdu.TagReceiptedMessageID]
	if !isReceipt {
		if n := soakIndex(m.Source.Octets); n >= 0 && n < len(s.messages) && s.messages[n].stop == stopSent {
			s.messages[n].stop = stopAcknowledged
			s.stops++
		}
		return
	}
	id, err := strconv.Atoi(strings.TrimRight(string(f.Data), "\x00"))
	if err != nil || id >= len(s.receipts) {
		s.t.Errorf("a receipt of an unknown message, %q, was acknowledged", f.Data)
		return
	}
	if at := s.receipts[id]; at >= 0 {
		s.messages[at/3].answered[at%3] = true
	}
}

// soakWorkers is how many requests may be unanswered.
const soakWorkers = 96

// load submits every message when it is due, each until it is accepted.
func (s *carrierSoak) load(began time.Time) {
	due := make(chan int)
	var workers sync.WaitGroup
	for range soakWorkers {
		workers.Go(func() {
			for n := range due {
				s.submit(n)
			}
		})
	}
	end := time.NewTimer(time.Duration(len(s.messages)) * time.Second / carrierSoakRate)
	defer end.Stop()
feed:
	for n := range s.messages {
		wait := time.NewTimer(time.Until(began.Add(time.Duration(n) * time.Second / carrierSoakRate)))
		select {
		case <-wait.C:
		case <-end.C:
			wait.Stop()
			break feed
		}
		select {
		case due <- n:
		case <-end.C: // the node is slower than the load
			break feed
		}
	}
	close(due)
	workers.Wait()
}

// submit submits a message until it is accepted, under one key.
func (s *carrierSoak) submit(n int) {
	to, body, parts := soakNumber(n), soakShort, int8(1)
	if n%100 < carrierSoakLong {
		body, parts = soakLong, 3
	}
	request := `{"to":"` + to + `","body":"` + body + `"}`
	for tries := 0; ; tries++ {
		a := s.call(http.MethodPost, "/v1/messages", request, "Idempotency-Key", "soak-"+strconv.Itoa(n))
		switch {
		case a.err == nil && a.status == http.StatusAccepted:
			var v struct {
				ID       string
				Segments int8
			}
			a.into(s.t, &v)
			s.mu.Lock()
			s.messages[n].id, s.messages[n].parts = v.ID, parts
			s.mu.Unlock()
			if v.Segments != parts {
				s.t.Errorf("a message of %d parts was accepted as one of %d", parts, v.Segments)
			}
			s.accepted.Add(1)
			return
		case a.err == nil && a.status != http.StatusServiceUnavailable && a.status != http.StatusGatewayTimeout && a.status != http.StatusTooManyRequests:
			s.t.Errorf("a submit was answered %d %s", a.status, a.body)
			return
		case tries > 1000:
			s.t.Errorf("a submit was not accepted after %d tries: %d %v", tries, a.status, a.err)
			return
		}
		s.retried.Add(1)
		<-time.After(50 * time.Millisecond) // as its sender would
	}
}

// cutBinds cuts a bind every 2 to 5 seconds.
func (s *carrierSoak) cutBinds(ctx context.Context, cuts *cutter) {
	for {
		select {
		case <-time.After(2*time.Second + time.Duration(rand.Int64N(int64(3*time.Second)))):
			cuts.cut()
		case <-ctx.Done():
			return
		}
	}
}

// sendStops has a recipient of a message answer STOP every second.
func (s *carrierSoak) sendStops(ctx context.Context, centre *smsc.Server) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		s.mu.Lock()
		n := rand.IntN(max(int(s.accepted.Load()), 1))
		m := &s.messages[n]
		ok := m.parts > 0 && m.stop == noStop && m.taken[m.parts-1] > 0
		if ok {
			m.stop = stopSent
		}
		s.mu.Unlock()
		if !ok {
			continue
		}
		if err := centre.Inject(soakNumber(n), soakSender, "STOP"); errors.Is(err, smsc.ErrNoBind) {
			s.mu.Lock()
			m.stop = noStop
			s.mu.Unlock()
		} else if err != nil {
			s.t.Errorf("a STOP could not be sent: %v", err)
		}
	}
}

// metrics are the node's figures, those with labels too, by name and labels as /metrics writes them.
func (s *carrierSoak) metrics() map[string]float64 {
	out := map[string]float64{}
	a := s.call(http.MethodGet, "/metrics", "")
	if a.err != nil {
		return out
	}
	for line := range strings.Lines(string(a.body)) {
		if i := strings.LastIndexByte(strings.TrimSpace(line), ' '); i > 0 && line[0] != '#' {
			if v, err := strconv.ParseFloat(strings.TrimSpace(line[i:]), 64); err == nil {
				out[line[:i]] = v
			}
		}
	}
	return out
}

// sum adds up the figures of a name, whatever their labels.
func sum(metrics map[string]float64, name string) (total float64) {
	for k, v := range metrics {
		if k == name || strings.HasPrefix(k, name+"{") {
			total += v
		}
	}
	return total
}

// watchMemory reads the node's resident memory every ten seconds, in a short soak more often.
func (s *carrierSoak) watchMemory(ctx context.Context, long time.Duration) (samples []float64) {
	tick := time.NewTicker(min(10*time.Second, long/40))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if rss := s.metrics()["process_resident_memory_bytes"]; rss > 0 {
				samples = append(samples, rss)
			}
		case <-ctx.Done():
			return samples
		}
	}
}

// settle waits, with the load ended, until no message is on its way, and every STOP was acknowledged. It gives up when
// the node has read no event for some minutes.
func (s *carrierSoak) settle() {
	s.t.Helper()
	const enough = 3 * time.Minute
	last, since := 0.0, time.Now()
	for {
		open := ""
		for _, status := range []string{"accepted", "scheduled", "deferred", "held", "allowed", "sending", "sent"} {
			var page struct{ Messages []view }
			a := s.call(http.MethodPost, "/v1/messages/search", `{"status":"`+status+`","limit":1}`)
			if a.err != nil || a.status != http.StatusOK {
				open = fmt.Sprintf("a search was answered %d %v", a.status, a.err)
				break
			}
			if a.into(s.t, &page); len(page.Messages) > 0 {
				open = "message " + page.Messages[0].ID + " is " + status
				break
			}
		}
		s.mu.Lock()
		for n := range s.messages {
			if s.messages[n].stop == stopSent {
				open = cmp.Or(open, "a STOP was not acknowledged")
			}
		}
		s.mu.Unlock()
		if open == "" {
			return
		}
		if events := sum(s.metrics(), "chirograph_events_total"); events != last {
			last, since = events, time.Now()
		}
		if time.Since(since) > enough {
			s.t.Errorf("nothing goes on, and %s", open)
			return
		}
		<-time.After(100 * time.Millisecond) // between two looks at another process
	}
}

// readStatuses reads the status of every message. One that is accepted must be there.
func (s *carrierSoak) readStatuses() {
	s.t.Helper()
	found := make([]bool, len(s.messages))
	for cursor := ""; ; {
		body := `{"limit":200}`
		if cursor != "" {
			body = `{"limit":200,"cursor":"` + cursor + `"}`
		}
		var page struct {
			Messages   []struct{ ID, To, Status string }
			NextCursor string `json:"next_cursor"`
		}
		s.call(http.MethodPost, "/v1/messages/search", body).into(s.t, &page)
		for _, m := range page.Messages {
			n := soakIndex(m.To)
			if n < 0 || n >= len(s.messages) || s.messages[n].id != m.ID {
				continue // it confirms a STOP
			}
			found[n] = true
			if m.Status != "delivered" {
				s.messages[n].status = m.Status
			}
		}
		if cursor = page.NextCursor; cursor == "" {
			break
		}
	}
	missing := 0
	for n := range s.messages {
		if s.messages[n].id != "" && !found[n] {
			missing++
		}
	}
	if missing > 0 {
		s.t.Errorf("%d messages were accepted and are not there", missing)
	}
}

// untaken are the statuses of a message of which the centre need not have every part.
var untaken = []string{"in_doubt", "failed", "denied", "cancelled", "expired_unsent"}

// finals are the statuses in which a message may end here.
var finals = append([]string{"undelivered", "rejected", "expired", "partially_delivered", "unconfirmed"}, untaken...)

// checkMessages compares what became of each message with what the centre took and was told. It returns how many parts
// are in doubt at the end.
func (s *carrierSoak) checkMessages() (doubtful int) {
	s.t.Helper()
	bad := 0
	wrong := func(n int, format string, a ...any) {
		if bad++; bad <= 20 {
			s.t.Errorf("message %s: %s", s.messages[n].id, fmt.Sprintf(format, a...))
		}
	}
	for n := range s.messages {
		m := &s.messages[n]
		if m.id == "" {
			continue
		}
		all, told := true, true
		for i := range m.parts {
			all, told = all && m.taken[i] > 0, told && m.answered[i]
		}
		switch {
		case m.status != "" && !slices.Contains(finals, m.status):
			wrong(n, "it has reached no end and is %s", m.status)
		case !all && !slices.Contains(untaken, m.status):
			wrong(n, "it is %s, and the centre took the parts %v", cmp.Or(m.status, "delivered"), m.taken)
		case told && m.status != "":
			wrong(n, "it is %s, and a receipt of each part, which says delivered, was acknowledged", m.status)
		}
		if m.status == "in_doubt" {
			var v soakView
			s.call(http.MethodGet, "/v1/messages/"+m.id, "").into(s.t, &v)
			for _, p := range v.last() {
				if p.Status == "in_doubt" {
					doubtful++
				}
			}
		}
	}
	for _, at := range s.twice {
		n, part := at/3, at%3+1
		var v soakView
		s.call(http.MethodGet, "/v1/messages/"+s.messages[n].id, "").into(s.t, &v)
		if !v.mayRepeat(part) {
			wrong(n, "the centre took part %d of it %d times, and no hand-off before was refused or not called: %+v", part, s.messages[n].taken[part-1], v.Attempts)
		}
	}
	if bad > 20 {
		s.t.Errorf("and %d more", bad-20)
	}
	return doubtful
}

// soakView is a message's attempts.
type soakView struct {
	Attempts []struct {
		Parts []soakPart
	}
}

type soakPart struct {
	Part      int
	Status    string
	NotCalled bool `json:"not_called"`
}

// last are the parts of the last attempt.
func (v *soakView) last() []soakPart {
	if len(v.Attempts) == 0 {
		return nil
	}
	return v.Attempts[len(v.Attempts)-1].Parts
}

// mayRepeat reports whether an attempt before the last one says that a part was refused or that the carrier was not
// called for it.
func (v *soakView) mayRepeat(part int) bool {
	for _, a := range v.Attempts[:max(len(v.Attempts)-1, 0)] {
		for _, p := range a.Parts {
			if p.Part == part && (p.NotCalled || p.Status == "retry" || p.Status == "refused") {
				return true
			}
		}
	}
	return false
}

// checkStops checks that each STOP that was acknowledged is in force.
func (s *carrierSoak) checkStops() {
	s.t.Helper()
	var numbers []string
	for n := range s.messages {
		if s.messages[n].stop == stopAcknowledged {
			numbers = append(numbers, strconv.Quote(soakNumber(n)))
		}
	}
	for some := range slices.Chunk(numbers, 1000) {
		var out struct {
			Results []struct {
				Number, State string
			}
		}
		within(s.t, "the opt-outs are known", func() bool {
			s.call(http.MethodPost, "/v1/opt-outs/check", `{"numbers":[`+strings.Join(some, ",")+`]}`).into(s.t, &out)
			return len(out.Results) == len(some) && out.Results[0].State != "unknown"
		})
		for _, r := range out.Results {
			if r.State != "opted_out" {
				s.t.Errorf("a STOP was acknowledged, and its number is %s", r.State)
			}
		}
	}
	if len(numbers) == 0 {
		s.t.Error("no STOP was acknowledged")
	}
}

// checkReceipts checks that the node has recorded as many receipts as it has acknowledged, or more: one whose
// acknowledgement was lost comes twice.
func (s *carrierSoak) checkReceipts(after map[string]float64) {
	s.t.Helper()
	acknowledged := 0
	for n := range s.messages {
		for _, a := range s.messages[n].answered {
			if a {
				acknowledged++
			}
		}
	}
	if recorded := sum(after, "chirograph_receipts_total"); recorded < float64(acknowledged) || acknowledged == 0 {
		s.t.Errorf("%d receipts were acknowledged, and %.0f recorded", acknowledged, recorded)
	}
}

// checkMemory compares the last quarter of the load with the second one. A soak of less than ten minutes is too short
// for that: the node's caches still fill.
func (s *carrierSoak) checkMemory(samples []float64, long time.Duration) (medians [4]float64) {
	s.t.Helper()
	if len(samples) < 8 {
		return medians // the system does not say
	}
	for q := range medians {
		quarter := slices.Sorted(slices.Values(samples[q*len(samples)/4 : (q+1)*len(samples)/4]))
		medians[q] = quarter[len(quarter)/2]
	}
	if medians[3] > 1.1*medians[1] && long >= 10*time.Minute {
		s.t.Errorf("the node's resident memory grew from %.0f to %.0f MB", medians[1]/(1<<20), medians[3]/(1<<20))
	}
	return medians
}

// print prints what the soak did.
func (s *carrierSoak) print(took time.Duration, cuts *cutter, before, after map[string]float64, doubtful int, quarters [4]float64) {
	parts, statuses := 0, map[string]int{}
	for n := range s.messages {
		m := &s.messages[n]
		for _, taken := range m.taken {
			parts += int(taken)
		}
		if m.id != "" {
			statuses[cmp.Or(m.status, "delivered")]++
		}
	}
	accepted := float64(max(s.accepted.Load(), 1))
	moved := func(name string) float64 { return sum(after, name) - sum(before, name) }
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	row := func(what, format string, a ...any) { fmt.Fprintf(w, "%s\t%s\n", what, fmt.Sprintf(format, a...)) }
	row("messages", "%.0f accepted, %d submits repeated; at the end %v", accepted, s.retried.Load(), statuses)
	row("rate", "%.0f messages a second of %d, %.0f parts", accepted/took.Seconds(), carrierSoakRate, float64(parts)/took.Seconds())
	row("binds cut", "%d: %d %s, %d %s, %d %s", cuts.cuts[cutAtOnce]+cuts.cuts[cutWithin]+cuts.cuts[cutSilently],
		cuts.cuts[cutAtOnce], cutAtOnce, cuts.cuts[cutWithin], cutWithin, cuts.cuts[cutSilently], cutSilently)
	unanswered := moved(`chirograph_handoffs_total{result="unknown"}`)
	row("parts not called", "%.0f, and called later", moved(`chirograph_handoffs_total{result="not_called"}`))
	row("parts in doubt", "%.0f had no answer; %d are in doubt at the end", unanswered, doubtful)
	row("settled late", "%.0f of them, by a receipt", unanswered-float64(doubtful))
	row("taken twice", "%d parts", len(s.twice))
	row("STOPs", "%d acknowledged", s.stops)
	row("resident memory", "%.0f, %.0f, %.0f, %.0f MB by quarter", quarters[0]/(1<<20), quarters[1]/(1<<20), quarters[2]/(1<<20), quarters[3]/(1<<20))
	row("CPU", "%.0f us a message", moved("process_cpu_seconds_total")*1e6/accepted)
	_ = w.Flush() // to a string
	s.t.Logf("%s of load\n%s", took.Round(time.Second), b.String())
}
