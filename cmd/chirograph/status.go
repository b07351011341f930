package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// StatusCmd shows a message's whole life.
type StatusCmd struct {
	ID      string        `arg:"" name:"id" help:"The message's id."`
	Wait    bool          `help:"Wait until the message is over."`
	WaitFor time.Duration `help:"How long --wait waits at most." default:"1m"`
	Events  bool          `help:"Show what the ledger holds about it, in the order of the log, void events too."`
}

// Run reads and shows.
func (c *StatusCmd) Run(g *Globals) error {
	ctx, stop := interruptible()
	defer stop()
	cl, err := g.client()
	if err != nil {
		return err
	}
	within := time.Duration(0)
	if c.Wait {
		within = c.WaitFor
	}
	m, raw, err := await(ctx, cl, c.ID, "", within)
	if err != nil {
		return g.failed(err)
	}
	if !c.Events || !g.JSON {
		if err := g.showMessage(m, raw); err != nil {
			return err
		}
	}
	if c.Events {
		raw, err := cl.do(ctx, call{method: http.MethodGet, path: "/v1/messages/" + url.PathEscape(c.ID) + "/events", reads: true})
		if err != nil {
			return g.failed(err)
		}
		if err := g.showEvents(raw); err != nil {
			return err
		}
	}
	if _, over := endStates[m.Status]; c.Wait && !over {
		return ended(m)
	}
	return nil
}

// message is the API's view, as far as it is shown.
type message struct {
	ID           string            `json:"id"`
	Status       string            `json:"status"`
	Position     string            `json:"position"`
	To           string            `json:"to"`
	Body         *string           `json:"body"`
	Erased       bool              `json:"erased"`
	Reference    string            `json:"reference"`
	Metadata     map[string]string `json:"metadata"`
	Program      string            `json:"program"`
	Purpose      string            `json:"purpose"`
	Priority     int               `json:"priority"`
	From         string            `json:"from"`
	SentFrom     string            `json:"sent_from"`
	Encoding     string            `json:"encoding"`
	Segments     int               `json:"segments"`
	Parts        []sentPart        `json:"parts"`
	Recipient    recipientView     `json:"recipient"`
	Decision     *decision         `json:"decision"`
	Decisions    int               `json:"decisions"`
	Carrier      string            `json:"carrier"`
	Attempts     []attempt         `json:"attempts"`
	ReceiptGrade string            `json:"receipt_grade"`
	Answers      string            `json:"answers"`
	By           string            `json:"by"`
	Times        times             `json:"times"`
}

type sentPart struct {
	Part int    `json:"part"`
	Text string `json:"text"`
}

type recipientView struct {
	Country    string   `json:"country"`
	Places     []string `json:"places"`
	LocalTimes []struct {
		Zone string `json:"zone"`
		Time string `json:"time"`
	} `json:"local_times"`
}

type decision struct {
	Outcome string     `json:"outcome"`
	Until   *time.Time `json:"until"`
	At      time.Time  `json:"at"`
	Event   string     `json:"event"`
	Reasons []struct {
		Check    string   `json:"check"`
		Outcome  string   `json:"outcome"`
		Rule     string   `json:"rule"`
		Text     string   `json:"text"`
		Citation string   `json:"citation"`
		OptOuts  []string `json:"opt_outs"`
	} `json:"reasons"`
	Policy struct {
		Revision string `json:"revision"`
		Digest   string `json:"digest"`
	} `json:"policy"`
}

type attempt struct {
	Number    int           `json:"number"`
	Carrier   string        `json:"carrier"`
	From      string        `json:"from"`
	StartedAt time.Time     `json:"started_at"`
	CallBy    time.Time     `json:"call_by"`
	AnswerBy  time.Time     `json:"answer_by"`
	Duplicate bool          `json:"duplicate"`
	Parts     []attemptPart `json:"parts"`
}

type attemptPart struct {
	Part       int        `json:"part"`
	Status     string     `json:"status"`
	CarrierID  string     `json:"carrier_id"`
	AnsweredAt *time.Time `json:"answered_at"`
	NotCalled  bool       `json:"not_called"`
	Code       string     `json:"code"`
	Reason     string     `json:"reason"`
	Receipt    *struct {
		State string     `json:"state"`
		Final bool       `json:"final"`
		Grade string     `json:"grade"`
		Match string     `json:"match"`
		Error string     `json:"error"`
		At    *time.Time `json:"at"`
		Count int        `json:"count"`
	} `json:"receipt"`
}

type times struct {
	Accepted        time.Time  `json:"accepted"`
	SendAt          *time.Time `json:"send_at"`
	ValidUntil      time.Time  `json:"valid_until"`
	CancelRequested *time.Time `json:"cancel_requested"`
	Decided         *time.Time `json:"decided"`
	Started         *time.Time `json:"started"`
	Sent            *time.Time `json:"sent"`
	Settled         *time.Time `json:"settled"`
	Changed         time.Time  `json:"changed"`
}

// meanings says every status in a few words.
var meanings = map[string]string{
	"accepted":            "it is in the ledger and will be decided",
	"scheduled":           "its time to be sent has not come",
	"denied":              "a rule refused it",
	"deferred":            "a rule says later",
	"held":                "a fault or a pause holds it",
	"allowed":             "it may leave and waits for the carrier",
	"sending":             "the carrier has not answered in full",
	"sent":                "the carrier took it; no receipt yet",
	"delivered":           "a receipt says so",
	"undelivered":         "a receipt says that it did not arrive",
	"rejected":            "a receipt says that the network refused it",
	"expired":             "a receipt says that its time ran out in the network",
	"partially_delivered": "receipts say that some of its parts arrived",
	"unconfirmed":         "the carrier took it; no receipt came in time",
	"failed":              "the carrier refused it",
	"in_doubt":            "the carrier did not answer; it is not sent again blindly",
	"cancelled":           "you cancelled it",
	"expired_unsent":      "its validity ended before it left",
}

// idleUntil is the earliest time at which a message that waits for one can move.
func (m *message) idleUntil() time.Time {
	switch {
	case m.Status == "scheduled" && m.Times.SendAt != nil:
		return *m.Times.SendAt
	case m.Status == "deferred" && m.Decision != nil && m.Decision.Until != nil:
		return *m.Decision.Until
	}
	return time.Time{}
}

// sentence says a decision in words.
func (d *decision) sentence() string {
	until := ""
	if d.Until != nil {
		until = instant(*d.Until)
	}
	switch d.Outcome {
	case "allow":
		if until == "" {
			return "Allowed."
		}
		return "Allowed: it may leave until " + until + "."
	case "deny":
		return "Denied: it will not leave."
	case "defer":
		return "Deferred: decided again at " + until + "."
	case "hold":
		if until == "" {
			return "Held: decided again when the cause is gone."
		}
		return "Held: decided again at " + until + "."
	}
	return plain(d.Outcome)
}

// rows writes lines of a name and a text, the names in one column.
type rows struct {
	w    io.Writer
	last string
}

const nameWidth = 11

// row writes a line; a name that is the same as the one before is left out.
func (r *rows) row(name, format string, a ...any) {
	if name == r.last {
		name = ""
	} else {
		r.last = name
	}
	fmt.Fprintf(r.w, "%s\n", strings.TrimRight(fmt.Sprintf("%-*s %s", nameWidth, name, fmt.Sprintf(format, a...)), " "))
}

func (g *Globals) showMessage(m *message, raw []byte) error {
	if g.JSON {
		return g.printJSON(raw)
	}
	var b strings.Builder
	m.write(&b, terminal(g.Stdout))
	_, err := io.WriteString(g.Stdout, b.String())
	return err
}

func (m *message) write(w io.Writer, colours bool) {
	r := &rows{w: w}
	r.row("Message", "%s", plain(m.ID))
	status := plain(m.Status)
	if colours {
		colour := "33"
		if code, over := endStates[m.Status]; over {
			colour = map[int]string{0: "32", exitFailed: "31", exitUnknown: "33"}[code]
		}
		status = "\x1b[1;" + colour + "m" + status + "\x1b[0m"
	}
	if means := meanings[m.Status]; means != "" {
		status += ": " + means
	}
	r.row("Status", "%s", status)
	if m.Erased {
		r.row("To", "erased: the personal data was destroyed")
	} else {
		to := plain(m.To)
		if m.Recipient.Country != "" {
			to += " (" + plain(m.Recipient.Country) + ")"
		}
		r.row("To", "%s", to)
	}
	from := plain(m.From)
	if m.SentFrom != "" && m.SentFrom != m.From {
		from += ", sent from " + plain(m.SentFrom)
	}
	r.row("From", "%s", from)
	program := plain(m.Program) + ", purpose " + plain(m.Purpose)
	if m.Priority > 0 {
		program += ", priority " + strconv.Itoa(m.Priority)
	}
	r.row("Program", "%s", program)
	if m.Body != nil {
		r.row("Text", "%q", *m.Body)
	}
	r.row("Text", "%s, %s", plain(m.Encoding), count(m.Segments, "segment"))
	if len(m.Parts) > 1 {
		for _, p := range m.Parts {
			r.row("Text", "part %d  %q", p.Part, p.Text)
		}
	}
	if m.Reference != "" {
		r.row("Reference", "%s", plain(m.Reference))
	}
	for _, k := range slices.Sorted(maps.Keys(m.Metadata)) {
		r.row("Metadata", "%s = %s", plain(k), plain(m.Metadata[k]))
	}
	if m.Answers != "" {
		r.row("Answers", "%s", plain(m.Answers))
	}
	r.row("By", "%s", plain(m.By))

	if d := m.Decision; d != nil {
		fmt.Fprintln(w)
		r.row("Decision", "%s", d.sentence())
		for _, x := range d.Reasons {
			r.row("Decision", "- %s", plain(x.Text))
			r.row("Decision", "  rule %s", plain(x.Rule))
			if x.Citation != "" {
				r.row("Decision", "  citing %s", plain(x.Citation))
			}
			for _, o := range x.OptOuts {
				r.row("Decision", "  opt-out %s", plain(o))
			}
		}
		r.row("Decided", "at %s, event %s", instant(d.At), plain(d.Event))
		for _, l := range m.Recipient.LocalTimes {
			r.row("Decided", "at %s in %s", plain(strings.Replace(l.Time, "T", " ", 1)), plain(l.Zone))
		}
		if d.Policy.Revision != "" {
			r.row("Decided", "under policies %s, digest %s", plain(d.Policy.Revision), plain(d.Policy.Digest))
		}
		if m.Decisions > 1 {
			r.row("Decided", "%d times in all", m.Decisions)
		}
	}
	if len(m.Recipient.Places) > 0 {
		r.row("Places", "%s", plain(strings.Join(m.Recipient.Places, "; ")))
	}

	for _, a := range m.Attempts {
		fmt.Fprintln(w)
		name := "Attempt " + strconv.Itoa(a.Number)
		r.row(name, "to carrier %s as %s, started %s", plain(a.Carrier), plain(a.From), instant(a.StartedAt))
		if a.Duplicate {
			r.row(name, "a second message: the one before is in doubt, and the program prefers two to none")
		}
		for _, p := range a.Parts {
			text := "part " + strconv.Itoa(p.Part) + "  " + plain(p.Status)
			if p.CarrierID != "" {
				text += ", carrier's id " + plain(p.CarrierID)
			}
			if p.NotCalled {
				text += ", carrier not called"
			}
			if p.Code != "" {
				text += ", " + plain(p.Code)
			}
			if p.Reason != "" {
				text += ": " + strings.TrimSuffix(plain(p.Reason), ".")
			}
			if p.AnsweredAt != nil {
				text += ", " + instant(*p.AnsweredAt)
			} else if p.Status == "open" {
				text += ", in doubt after " + instant(a.AnswerBy)
			}
			r.row(name, "%s", text)
			if x := p.Receipt; x != nil {
				text := "        receipt: " + plain(x.State)
				if !x.Final {
					text += " for now"
				}
				if x.Error != "" {
					text += ", network's error " + plain(x.Error)
				}
				if x.Grade != "" {
					text += ", grade " + plain(x.Grade)
				}
				if x.Match != "" {
					text += ", matched by " + plain(x.Match)
				}
				if x.At != nil {
					text += ", " + instant(*x.At)
				}
				if x.Count > 1 {
					text += ", " + count(x.Count, "receipt") + " in all"
				}
				r.row(name, "%s", text)
			}
		}
	}

	fmt.Fprintln(w)
	at := func(name string, t *time.Time) {
		if t != nil {
			r.row("Times", "%-16s %s", name, instant(*t))
		}
	}
	at("accepted", &m.Times.Accepted)
	at("send at", m.Times.SendAt)
	at("decided", m.Times.Decided)
	at("started", m.Times.Started)
	at("sent", m.Times.Sent)
	at("cancel requested", m.Times.CancelRequested)
	at("settled", m.Times.Settled)
	at("valid until", &m.Times.ValidUntil)
	r.row("Position", "%s", plain(m.Position))
}

type eventsView struct {
	Events []struct {
		ID        string    `json:"id"`
		Type      string    `json:"type"`
		Time      time.Time `json:"time"`
		Position  string    `json:"position"`
		Effective bool      `json:"effective"`
		Void      string    `json:"void"`
	} `json:"events"`
}

func (g *Globals) showEvents(raw []byte) error {
	if g.JSON {
		return g.printJSON(raw)
	}
	var v eventsView
	if err := json.Unmarshal(raw, &v); err != nil {
		return errors.New("the answer is not that of Chirograph's API")
	}
	fmt.Fprintln(g.Stdout)
	t := table(g.Stdout)
	fmt.Fprintln(t, "POSITION\tTIME\tEVENT\tEFFECT\tID")
	for _, e := range v.Events {
		effect := "effective"
		if !e.Effective {
			effect = "void: " + plain(e.Void)
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", plain(e.Position), instant(e.Time), plain(e.Type), effect, plain(e.ID))
	}
	return t.Flush()
}
